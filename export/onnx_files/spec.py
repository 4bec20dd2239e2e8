"""The description of an ONNX file to publish."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.errors import SpecError
from export.spec.description import ModelDescription
from model_store.graph import MAIN
from model_store.manifest import Quality


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxSpec(ModelDescription):
    """An ONNX file to publish, and what a server must know about it beyond its tensors."""

    file: str | Path
    """The ONNX file. Weights in other files lie beside it."""
    graphs: Mapping[str, str | Path] = field(default_factory=dict)
    """The files of further graphs by name, such as ``{"encode": "encoder.onnx"}``."""
    samples: Mapping[str, np.ndarray] | None = None
    """Real inputs by name, for golden samples and reference statistics. None: made-up rows, and no statistics; for a
    loop that writes, the inputs of a step after a few tokens."""
    graph_samples: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """Real inputs of further graphs, by graph and by name. The loop begins with the inputs of its start graph."""
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

    def __post_init__(self) -> None:
        for name in self.graphs:
            if name == MAIN or not name.isidentifier():
                raise SpecError(f"{self.name}: graphs: expected identifiers other than {MAIN!r}, got {name!r}")
        for name in self.graph_samples:
            if name not in self.graphs:
                raise SpecError(
                    f"{self.name}: graph_samples: expected names of graphs {list(self.graphs)}, got {name!r}"
                )
