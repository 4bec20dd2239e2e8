"""The description of an ONNX file to publish."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model_store.manifest import Batching, Quality, Task
from model_store.tasks import Classes, Forecast, Generation, Image, Reconstruction


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxSpec:
    """An ONNX file on its way to the store, and what a server must know of it beyond its tensors."""

    name: str
    """Of the model in the store."""
    file: str | Path
    """The ONNX file; weights in other files lie beside it."""
    task: Task = "tensors"
    """The route that answers for it, or ``tensors``."""
    labels: tuple[str, ...] = ()
    """Of the classes, in their order."""
    classes: Classes | None = None
    """Which output holds the probabilities of the labels; or the logits, of which their probabilities are then made."""
    image: Image | None = None
    """How a picture becomes a row of an input."""
    forecast: Forecast | None = None
    """How a series is continued."""
    reconstruction: Reconstruction | None = None
    """What of the graph is the row anew."""
    generation: Generation | None = None
    """How rows are made from noise."""
    batching: Batching = field(default_factory=Batching)
    """What it wants other than the server's defaults."""

    samples: Mapping[str, np.ndarray] | None = None
    """Real inputs by name, for golden samples and reference statistics. None: made-up rows, and no statistics."""
    golden_rows: int = 8
    """Of the samples, for golden samples."""
    golden_atol: float | None = None
    """None: 1e-3, or a hundredth of the outputs' magnitude if that is less."""
    golden_rtol: float = 1e-3
    """For the provider that serves."""
    quality: Quality | None = None
    """As it was measured on held-out data."""
    data: str | None = None
    """What it was trained on, for the record."""
    seed: int | None = None
    """Of the training, for the record."""
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Of the training, for the record."""
    licence: str | None = None
    """Of the weights."""
    description: str = ""
    """For people."""
