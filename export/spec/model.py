"""A model to publish: its graphs, its description, and what it must reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from export.errors import SpecError
from export.spec.description import ModelDescription
from export.spec.graph import GraphSpec, check_tolerance
from export.spec.kinds import MAIN, Precision, Predict
from model_store.manifest import ModelName, Quality, Task, describe
from model_store.tasks import Classes, Image, Sound


@dataclass(frozen=True, eq=False, kw_only=True)
class ExportSpec(ModelDescription, GraphSpec):
    """A model to publish: its graph ``main``, its description, and the quality that it must reach."""

    graphs: Mapping[str, GraphSpec] = field(default_factory=dict)
    """Further graphs by name, such as the decoder of an autoencoder. Each is proved like ``main``."""

    explain: bool | None = None
    """Whether a classifier gets a graph ``explain`` with gradients. None: if it can be made, and the model is a
    ``torch.nn.Module`` with one floating point input whose rows lie on axis 0."""
    explain_atol: float = 1e-4
    """``atol`` for that graph: gradients of calibrated scores are larger than the scores."""

    tile_pixels: int | None = None
    """The side of the tiles into which large pictures of ``reconstruction`` are cut. None: they run whole."""
    tile_overlap: int | None = None
    """How many pixels a tile extends beyond the part whose result is kept. None: as far as outputs depend on pixels."""
    golden_rows: int = 8
    """How many samples, or random rows, are stored as golden samples."""
    golden_atol: float | None = None
    """The absolute tolerance of the golden samples. None: 1e-3, or a hundredth of the outputs' magnitude if that is
    less."""
    golden_rtol: float = 1e-3
    """The relative tolerance of the golden samples, on the provider that serves. It is wider than for parity, because
    accelerators round convolutions to fewer bits. A tolerance that proves nothing is refused: see
    ``model_store/golden.py``."""
    low_precision: Mapping[Precision, float] = field(default_factory=dict)
    """``scale_tol`` of a second version in that precision, if the default does not fit: fp16 0.01, int8 0.1."""

    quality: Quality | Callable[[Predict], Quality] | None = None
    """The quality on held-out data. A function receives the exported graphs, so that it measures what will serve."""

    def __post_init__(self) -> None:
        _check_name(self)
        super().__post_init__()
        _check_facts(self)
        for name, graph in self.graphs.items():
            if name == MAIN or not name.isidentifier():
                raise SpecError(f"{self.name}: graphs: expected identifiers other than {MAIN!r}, got {name!r}")
            object.__setattr__(graph, "name", f"{self.name}:{name}")


def _check_name(spec: ExportSpec) -> None:
    try:
        TypeAdapter(ModelName).validate_python(spec.name)
        TypeAdapter(Task).validate_python(spec.task)
    except ValidationError as error:
        raise SpecError(f"name {spec.name!r}, task {spec.task!r}: {describe(error)}") from None


def _check_facts(spec: ExportSpec) -> None:
    for field_name in ("golden_atol", "golden_rtol", "explain_atol"):
        check_tolerance(spec, field_name)
    for precision, share in spec.low_precision.items():
        if precision not in get_args(Precision) or not (math.isfinite(share) and share >= 0):
            raise SpecError(
                f"{spec.name}: low_precision: expected a share of 0 or more for each of "
                f"{', '.join(get_args(Precision))}, got {share!r} for {precision!r}"
            )
    if spec.golden_rows < 1:
        raise SpecError(f"{spec.name}: golden_rows: expected 1 or more, got {spec.golden_rows}")
    if spec.tile_pixels is None and spec.tile_overlap is not None:
        raise SpecError(f"{spec.name}: tile_overlap: expected tile_pixels too, got none")
    if spec.tile_pixels is not None and (spec.tile_pixels < 1 or spec.reconstruction is None):
        raise SpecError(f"{spec.name}: tile_pixels: expected a side, and a reconstruction, got {spec.tile_pixels}")
    if spec.image:
        _check_place(spec, "image", spec.image)
    if spec.sound:
        _check_place(spec, "sound", spec.sound)
    if spec.task == "classify" and spec.tags is None and not (spec.labels and spec.classes):
        raise SpecError(
            f"{spec.name}: task classify needs labels and classes: say which output holds the logits, as "
            "Classes(logits=...), or the probabilities, as Classes(probabilities=...)"
        )
    if spec.classes and not lacks_probabilities(spec):
        for name in (spec.classes.probabilities, spec.classes.logits):
            if name is not None and name not in spec.outputs:
                raise SpecError(f"{spec.name}: classes: expected one of the outputs {spec.outputs}, got {name!r}")


def _check_place(spec: ExportSpec, field_name: str, facts: Image | Sound) -> None:
    graphs: Mapping[str, GraphSpec] = {MAIN: spec, **spec.graphs}
    if facts.graph not in graphs:
        raise SpecError(f"{spec.name}: {field_name}.graph: expected one of {list(graphs)}, got {facts.graph!r}")
    inputs = list(graphs[facts.graph].inputs)
    if facts.input not in inputs:
        raise SpecError(f"{spec.name}: {field_name}.input: expected one of {inputs}, got {facts.input!r}")


def lacks_probabilities(spec: ExportSpec) -> bool:
    """Whether the module only gives logits, so that probabilities are added to the graph."""
    classes = spec.classes
    return (
        classes is not None
        and classes.logits in spec.outputs
        and classes.probabilities == Classes().probabilities
        and classes.probabilities not in (*spec.outputs, *spec.inputs)
    )
