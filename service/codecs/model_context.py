"""The model version that codecs and tasks work on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from model_store.graph import MAIN, Tensor
from model_store.manifest import Manifest
from model_store.texts.tokenizer import Tokenizer
from service.codecs.pictures.reader import CheckRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelContext:
    """Its name and number, for answers and messages, and its manifest."""

    name: str
    version: str
    manifest: Manifest
    row_checks: Mapping[str, CheckRow] = field(default_factory=dict)
    """By graph: a check of the size of a picture before it is decoded. It raises BodyTooLarge."""
    tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)
    """By the name of their file."""
    symbols: Sequence[str] = ()
    """Of a model that reads, in order."""
    count_tokens: Callable[[int, int], None] = lambda tokens, padding: None
    """Called with the tokens of the texts of a request, and those of their padding, for the metrics."""

    def inputs(self, graph: str = MAIN) -> Mapping[str, Tensor]:
        return {tensor.name: tensor for tensor in self.manifest.graphs[graph].inputs}

    def outputs(self, graph: str = MAIN) -> Mapping[str, Tensor]:
        return {tensor.name: tensor for tensor in self.manifest.graphs[graph].outputs}


def known(fact: T | None) -> T:
    """A part of the manifest that is always there for this task: the manifest's own checks see to it."""
    assert fact is not None  # noqa: S101
    return fact
