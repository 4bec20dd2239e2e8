"""What a server must know about a model beyond its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from model_store.manifest import Batching, Task
from model_store.tasks import (
    Classes,
    Detection,
    Embedding,
    Forecast,
    Generation,
    Image,
    Loop,
    Reading,
    Reconstruction,
    Regression,
    Segmentation,
    Sound,
    Table,
    Tags,
    Text,
    Tokens,
    Writing,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelDescription:
    """The part of a spec that goes into the manifest unchanged."""

    name: str
    """The name of the model in the store."""
    task: Task = "tensors"
    """The task route that the model answers, or ``tensors``."""
    labels: tuple[str, ...] = ()
    """The names of the classes, in order."""
    classes: Classes | None = None
    """Which output holds the logits of the labels, or their probabilities."""
    image: Image | None = None
    """How a picture becomes a row of an input."""
    table: Table | None = None
    """How named columns become a row."""
    tokens: Tokens | None = None
    """How a text becomes a row of token ids."""
    sound: Sound | None = None
    """How a sound becomes a row."""
    detection: Detection | None = None
    """How boxes are read from the outputs."""
    segmentation: Segmentation | None = None
    """The output with a label for each pixel."""
    embedding: Embedding | None = None
    """The output that is a vector."""
    regression: Regression | None = None
    """The output with numbers."""
    loop: Loop | None = None
    """How the server runs ``main`` step by step, if it does."""
    forecast: Forecast | None = None
    """How a series is forecast."""
    text: Text | None = None
    """How a text is translated."""
    tags: Tags | None = None
    """The output with a label for each token."""
    writing: Writing | None = None
    """How the loop writes text, token by token."""
    reading: Reading | None = None
    """How a text is read from a picture or a sound."""
    reconstruction: Reconstruction | None = None
    """The output that is the reconstruction, its error and its anomalies."""
    generation: Generation | None = None
    """How rows are generated from noise."""
    batching: Batching = field(default_factory=Batching)
    """The batching that the model needs, if not the server's defaults."""
    licence: str | None = None
    """The licence of the weights."""
    description: str = ""
    """A description for people."""

    further_files: Mapping[str, bytes] = field(default_factory=dict)
    """Files that the description names, such as ``{"tokenizer.json": content}``."""
    data: str | None = None
    """The training data, for the record."""
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """The parameters of the training, for the record."""

    def as_fields(self) -> dict[str, Any]:
        """The fields of the description by name, for a spec that extends it."""
        return {f.name: getattr(self, f.name) for f in fields(ModelDescription)}

    def in_manifest(self) -> dict[str, Any]:
        """The fields of a manifest that are those of the description."""
        recorded = ("data", "parameters", "further_files")
        return {name: value for name, value in self.as_fields().items() if name not in recorded}
