"""The description of an ONNX file to publish."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model_store.manifest import Batching, Quality, Task
from model_store.tasks import Classes, Forecast, Generation, Image, Reconstruction


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxSpec:
    """An ONNX file to publish, and what a server must know about it beyond its tensors."""

    name: str
    """The name of the model in the store."""
    file: str | Path
    """The ONNX file. Weights in other files lie beside it."""
    task: Task = "tensors"
    """The task route that the model answers, or ``tensors``."""
    labels: tuple[str, ...] = ()
    """The names of the classes, in order."""
    classes: Classes | None = None
    """Which output holds the probabilities of the labels, or the logits from which they are computed."""
    image: Image | None = None
    """How a picture becomes a row of an input."""
    forecast: Forecast | None = None
    """How a series is forecast."""
    reconstruction: Reconstruction | None = None
    """The output that is the reconstruction, its error and its anomalies."""
    generation: Generation | None = None
    """How rows are generated from noise."""
    batching: Batching = field(default_factory=Batching)
    """The batching that the model needs, if not the server's defaults."""

    samples: Mapping[str, np.ndarray] | None = None
    """Real inputs by name, for golden samples and reference statistics. None: made-up rows, and no statistics."""
    golden_rows: int = 8
    """How many of the samples become golden samples."""
    golden_atol: float | None = None
    """The absolute tolerance of the golden samples. None: 1e-3, or a hundredth of the outputs' magnitude if that is
    less."""
    golden_rtol: float = 1e-3
    """The relative tolerance of the golden samples, on the provider that serves."""
    quality: Quality | None = None
    """What was measured on held-out data."""
    data: str | None = None
    """The training data, for the record."""
    seed: int | None = None
    """The seed of the training, for the record."""
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """The parameters of the training, for the record."""
    licence: str | None = None
    """The licence of the weights."""
    description: str = ""
    """A description for people."""
