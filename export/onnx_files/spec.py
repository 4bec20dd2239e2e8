"""The description of an ONNX file to publish."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.spec.description import ModelDescription
from model_store.manifest import Quality


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxSpec(ModelDescription):
    """An ONNX file to publish, and what a server must know about it beyond its tensors."""

    file: str | Path
    """The ONNX file. Weights in other files lie beside it."""
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
    seed: int | None = None
    """The seed of the training, for the record."""
