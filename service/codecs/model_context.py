"""What codecs and tasks know about a model version."""

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
    """A model version: its name and number, for answers and messages, its manifest, and what was loaded with it."""

    name: str
    version: str
    manifest: Manifest
    row_checks: Mapping[str, CheckRow] = field(default_factory=dict)
    """Graph -> a check of the size of a row before it is decoded. It raises BodyTooLarge."""
    tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)
    """Name of a tokenizer file -> the tokenizer."""
    symbols: Sequence[str] = ()
    """The symbols of a model that reads text, in order."""
    count_tokens: Callable[[int, int], None] = lambda tokens, padding: None
    """Called for the metrics with the number of tokens of a request, and of padding tokens."""

    def inputs(self, graph: str = MAIN) -> Mapping[str, Tensor]:
        return {tensor.name: tensor for tensor in self.manifest.graphs[graph].inputs}

    def outputs(self, graph: str = MAIN) -> Mapping[str, Tensor]:
        return {tensor.name: tensor for tensor in self.manifest.graphs[graph].outputs}


def known(fact: T | None) -> T:
    """A part of the manifest that is not None: the manifest was checked to have it for this task."""
    assert fact is not None  # noqa: S101
    return fact
