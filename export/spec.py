"""The description of a model to export: what it is, what it takes and gives, and what it must reach to be published."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from pydantic import TypeAdapter, ValidationError

from export.axes import BATCH as BATCH
from export.axes import batch_axes, name_axes, spread_rows
from export.calling.nesting import take_inputs, take_tensors
from export.errors import SpecError
from model_store.manifest import Batching, ModelName, Quality, Task, describe
from model_store.tasks import Classes, Forecast, Generation, Image, Loop, Reconstruction, Text

if TYPE_CHECKING:
    import torch

Sizes = Mapping[str, int]
"""The size of each dynamic axis by its name: ``{"batch": 17, "time": 50}``."""
Arrays = Mapping[str, np.ndarray]
Progress = Callable[[str], None]
"""Told each step in words, ``stage: detail``; ``note: text`` is no step, but something to know of the version."""
Precision = Literal["fp16", "int8"]
"""Of a second version: half precision floats; or 8 bit integers, calibrated on the samples."""
MAIN = "main"
BATCHES = (1, 2, 3, 17, 64)
SEEDS = (0, 1, 2)
"""As long as a spec does not say otherwise: ``proof/grid.py`` takes fewer where a row takes long."""


class Predict(Protocol):
    """An exported graph on ONNX Runtime: inputs by name -> outputs by name, for one row or any number."""

    def __call__(self, inputs: Arrays, graph: str = MAIN) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphSpec:
    """One graph of a model. Raises SpecError where the parts contradict each other.

    The rows of a batch lie on the axis that ``dynamic`` calls ``batch``. An input without such an axis is shared by
    all rows; a model of which no input has one is served one request at a time.
    """

    name: str = "graph"
    """Whose it is, in messages. The model gives its further graphs theirs."""
    module: Any
    """The trained model, on the CPU: a ``torch.nn.Module``, a function of tensors, an ``ExportedProgram``, a
    TorchScript module, or the path of a ``.pt2`` or TorchScript file; or a function without arguments that builds one
    of these. What ``torch.compile``, ``DataParallel``, ``AveragedModel`` or a training module wrap is taken out."""
    export_as: torch.nn.Module | None = None
    """What is exported instead, where the module's own form cannot be; it is proved against the module."""
    inputs: Mapping[str, Any]
    """Sample inputs. Those that are named like parameters of ``forward`` are passed by name, in any order; parameters
    with defaults may be left out. Where no name is a parameter's, as with ``forward(input)`` of torch's own modules,
    all are passed in their order; where only some are, the spec is refused when it is exported.

    A value may hold tensors in dictionaries, lists, tuples or dataclasses; then the graph's inputs are called
    ``batch.image``, ``pair.0``. None, numbers and texts are passed to every call as they are. Free axes other than the
    batch have sizes of 2 or more here. The spec keeps copies by flat name, with two rows at least."""
    outputs: tuple[str, ...]
    """Names for the tensors that ``forward`` returns: keys of a dictionary, a dataclass or a named tuple (``pooled``,
    or ``out.pooled`` where that is nested), of which some may be left out; for all else, names in the order of the
    tensors."""
    output_keys: Mapping[str, str] = field(default_factory=dict)
    """``{output: key}`` where an output is to have another name than its key, as it must where an input has that."""
    dynamic: Mapping[str, Any] | None = None
    """The free axes, ``{input: {axis: name}}``, nested as the inputs are or by flat name. The axis of the rows is
    called ``batch``, whichever it is. None: axis 0 of every input is the batch, nothing else is free."""
    finite: tuple[str, ...] = ()
    """Inputs in which NaN and infinities are refused before they reach the model."""
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Least and largest value of integer inputs; others are refused before they reach the model."""
    bounds: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """``{axis: (least, largest)}``: the sizes of a dynamic axis that the model is published for; None: no largest.
    Parity goes to both, and others are refused before they reach the model. By default what torch and graph take."""
    padded: Mapping[str, str] = field(default_factory=dict)
    """``{input: lengths}``: rows of ``input`` are padded along its one dynamic axis other than the batch, and
    ``lengths``, int64 [batch], says how many places of it count, 1 or more; the server refuses less. Parity proves that
    the other places do not count."""

    samples: Mapping[str, torch.Tensor] | None = None
    """Real inputs for parity, golden samples and reference statistics. None: random ones, and no statistics."""
    random_inputs: Callable[[Sizes, int], Mapping[str, torch.Tensor]] | None = None
    """Makes inputs from axis sizes and a seed. None: uniform over the range of the samples, in their datatype."""
    atol: float = 1e-5
    rtol: float = 1e-5
    """Against the original: ``|got - expected| <= atol + rtol * |expected|`` for every element, and what rounding alone
    accounts for, which is measured: half precision, deep models and large numbers need no other values."""
    scale_tol: float = 0.0
    """Added to ``atol`` and ``row_atol`` of each output, in shares of its largest magnitude: for low precision."""
    kinks: float = 0.0
    """The share of all rows of the grid that may differ more: at a kink (ReLU, max) rounding decides which slope a
    gradient takes."""
    kink_tol: float = math.inf
    """What these may differ by all the same, in shares of the largest magnitude of an output."""
    row_atol: float | None = None
    """A row run alone (padded to two) against the same row in company. None: as against the original; 0: bit-equal."""
    proved_by_trial: bool = False
    """True: rows share batches though the analysis of the exported graph names a node that mixes them, which no trial
    has shown. Else each request runs alone then.
    For modules of which it is known for another reason that their rows are independent."""
    batches: tuple[int, ...] = BATCHES
    """Numbers of rows that parity goes through. Left at the default they are fewer where a row takes long."""
    seeds: tuple[int, ...] = SEEDS
    """Of its random inputs. Left at the default they are fewer where a row takes long."""
    lengths: tuple[Sizes, ...] | None = None
    """Sizes of the other dynamic axes that parity goes through. None: the example's, about half and about twice; not
    the longest where a row takes long."""
    max_rows: int | None = None
    """Of a batch in the server, where more would take too much memory. None: as many as of the model, or as a program
    was exported for."""
    opset: int = 20
    """Of ONNX."""
    external_data_bytes: int | None = None
    """Weights of more bytes than this go to a file of their own. None: what the 2 GB of one ONNX file cannot hold."""
    seed: int | None = None
    """Of the training, for the record."""

    def __post_init__(self) -> None:
        _check_module(self)
        inputs = take_inputs(self.name, self.inputs)
        axes = name_axes(self.name, inputs, self.dynamic)
        object.__setattr__(self, "inputs", spread_rows(inputs, axes))
        object.__setattr__(self, "dynamic", axes)
        if self.samples is not None:
            object.__setattr__(self, "samples", take_tensors(self.samples))
        _check_inputs(self)
        _check_outputs(self)
        _check_grid(self)
        _check_samples(self)
        _check_padded(self)

    @property
    def axes(self) -> Mapping[str, Mapping[int, str]]:
        """The dynamic axes of every input: ``{input: {axis: name}}``."""
        given = self.dynamic or {}
        return {name: given.get(name, {}) for name in self.inputs}

    @property
    def batch_axes(self) -> Mapping[str, int]:
        """The axis on which the rows of each input lie; an input that all rows share is not in it."""
        return batch_axes(self.axes)

    @property
    def batched(self) -> tuple[str, ...]:
        """The inputs that carry one row per example; none for a model of fixed batch."""
        return tuple(self.batch_axes)

    @property
    def padded_axes(self) -> Mapping[str, int]:
        """The axis along which the rows of each padded input are padded."""
        return {name: next(axis for axis, called in self.axes[name].items() if called != BATCH) for name in self.padded}

    @property
    def example_sizes(self) -> dict[str, int]:
        """The sizes that the sample inputs have on the dynamic axes."""
        return {
            axis_name: self.inputs[name].shape[axis]
            for name, axes in self.axes.items()
            for axis, axis_name in axes.items()
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class ExportSpec(GraphSpec):
    """A model on its way to the store: its graph ``main``, what it is, and what it must reach to be published."""

    name: str
    """Of the model in the store."""
    task: Task
    """The route that answers for it, or ``tensors``."""
    graphs: Mapping[str, GraphSpec] = field(default_factory=dict)
    """Further graphs by name, such as the decoder of an autoencoder; each is proved like ``main``."""

    explain: bool | None = None
    """Whether a classifier gets a graph ``explain`` with gradients. None: if it is a ``torch.nn.Module`` with one
    floating point input whose rows lie on axis 0, and they can be had."""
    explain_atol: float = 1e-4
    """As ``atol``, for that graph: gradients of calibrated scores are larger than the scores."""

    labels: tuple[str, ...] = ()
    """Of the classes, in their order."""
    classes: Classes | None = None
    """Which output holds the logits of the labels, or their probabilities."""
    image: Image | None = None
    """How a picture becomes a row of an input."""
    loop: Loop | None = None
    """How the server runs ``main`` step by step, where it does."""
    forecast: Forecast | None = None
    """How a series is continued."""
    text: Text | None = None
    """How a text is translated."""
    reconstruction: Reconstruction | None = None
    """What of the graph is the row anew."""
    tile_pixels: int | None = None
    """The side of the tiles that large pictures of ``reconstruction`` are cut into. None: they run whole."""
    tile_overlap: int | None = None
    """How many pixels tiles have beyond those that they answer for. None: as far as the graph's outputs look."""
    generation: Generation | None = None
    """How rows are made from noise."""
    batching: Batching = field(default_factory=Batching)
    """What it wants other than the server's defaults."""
    golden_rows: int = 8
    """Of the samples, or of random rows, that are stored as golden samples."""
    golden_atol: float | None = None
    """None: 1e-3, or a hundredth of the outputs' magnitude if that is less."""
    golden_rtol: float = 1e-3
    """For the provider that serves; wider than parity, because accelerators round convolutions to fewer bits. What
    proves nothing is refused: see ``model_store/golden.py``."""
    low_precision: Mapping[Precision, float] = field(default_factory=dict)
    """``scale_tol`` of a second version in that precision, where the default is not right: fp16 0.01, int8 0.1."""

    quality: Quality | Callable[[Predict], Quality] | None = None
    """On held-out data. A function is given the exported graphs, so that what is measured is what will serve."""
    data: str | None = None
    """What it was trained on, for the record."""
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Of the training, for the record."""
    licence: str | None = None
    """Of the weights."""
    description: str = ""
    """For people."""

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


def _check_module(spec: GraphSpec) -> None:
    from export.calling.forms import EXPECTED, is_form

    if not is_form(spec.module):
        raise SpecError(f"{spec.name}: module: expected {EXPECTED}, or a function that builds one, got {spec.module!r}")


def _check_inputs(spec: GraphSpec) -> None:
    import torch

    if not spec.inputs:
        raise SpecError(f"{spec.name}: inputs: expected at least one sample tensor, got none")
    for name, (least, largest) in spec.ranges.items():
        kind = spec.inputs[name].dtype if name in spec.inputs else None
        if kind is None or kind.is_floating_point or kind == torch.bool or least > largest:
            raise SpecError(
                f"{spec.name}: ranges: expected a least and a largest value of an integer input of "
                f"{list(spec.inputs)}, got {name!r}: {(least, largest)}"
            )
    for name in spec.finite:
        if name not in spec.inputs or not spec.inputs[name].is_floating_point():
            raise SpecError(f"{spec.name}: finite: expected an input of floats of {list(spec.inputs)}, got {name!r}")


def _check_outputs(spec: GraphSpec) -> None:
    if unknown := spec.output_keys.keys() - set(spec.outputs):
        raise SpecError(f"{spec.name}: output_keys: expected names of {spec.outputs}, got {', '.join(sorted(unknown))}")
    names = [*spec.inputs, *spec.outputs]
    if not spec.outputs or len(set(names)) < len(names) or not all(names):
        raise SpecError(
            f"{spec.name}: outputs: expected at least one name, none twice and none of an input, got {spec.outputs}: "
            "output_keys gives a returned key another name"
        )


def _check_facts(spec: ExportSpec) -> None:
    for field_name in ("golden_atol", "golden_rtol", "explain_atol"):
        _check_tolerance(spec, field_name)
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
    if spec.image and spec.image.input not in spec.inputs:
        raise SpecError(f"{spec.name}: image.input: expected one of {list(spec.inputs)}, got {spec.image.input!r}")
    if spec.task == "classify" and not (spec.labels and spec.classes):
        raise SpecError(
            f"{spec.name}: task classify needs labels and classes: say which output holds the logits, as "
            "Classes(logits=...), or the probabilities, as Classes(probabilities=...)"
        )
    if spec.classes and not lacks_probabilities(spec):
        for name in (spec.classes.probabilities, spec.classes.logits):
            if name is not None and name not in spec.outputs:
                raise SpecError(f"{spec.name}: classes: expected one of the outputs {spec.outputs}, got {name!r}")


def lacks_probabilities(spec: ExportSpec) -> bool:
    """Whether the module gives logits alone, so that their probabilities are added to the graph."""
    classes = spec.classes
    return (
        classes is not None
        and classes.logits in spec.outputs
        and classes.probabilities == Classes().probabilities
        and classes.probabilities not in (*spec.outputs, *spec.inputs)
    )


def _check_grid(spec: GraphSpec) -> None:
    for field_name in ("atol", "rtol", "row_atol", "scale_tol", "kinks"):
        _check_tolerance(spec, field_name)
    if spec.external_data_bytes is not None and spec.external_data_bytes < 0:
        raise SpecError(f"{spec.name}: external_data_bytes: expected 0 or more, got {spec.external_data_bytes}")
    if not spec.batches or min(spec.batches) < 1 or max(spec.batches) < 2:
        raise SpecError(f"{spec.name}: batches: expected sizes from 1 with at least one above 1, got {spec.batches}")
    if spec.max_rows is not None and spec.max_rows < 1:
        raise SpecError(f"{spec.name}: max_rows: expected 1 or more, got {spec.max_rows}")
    if not spec.seeds:
        raise SpecError(f"{spec.name}: seeds: expected one or more, got none")
    _check_bounds(spec)
    others = set(spec.example_sizes) - {BATCH}
    for sizes in spec.lengths if spec.lengths is not None else ():
        if set(sizes) != others:
            raise SpecError(f"{spec.name}: lengths: expected sizes of {sorted(others)}, got {dict(sizes)}")
    if spec.lengths == ():
        raise SpecError(f"{spec.name}: lengths: expected at least one set of sizes, got none: leave it at None")


def _check_bounds(spec: GraphSpec) -> None:
    sizes = {name: size for name, size in spec.example_sizes.items() if name != BATCH}
    for name, (least, largest) in spec.bounds.items():
        end = math.inf if largest is None else largest
        if name not in sizes or not 1 <= least <= sizes[name] <= end:
            raise SpecError(
                f"{spec.name}: bounds: expected a least size of 1 or more and a largest one of a dynamic axis of "
                f"{sorted(sizes)}, and the example's within them, got {name!r}: {(least, largest)}"
            )
        for asked in spec.lengths or ():
            if not least <= asked.get(name, least) <= end:
                raise SpecError(f"{spec.name}: lengths: {name}={asked[name]} is outside its bounds {least}, {largest}")


def _check_tolerance(spec: GraphSpec, field_name: str) -> None:
    value = getattr(spec, field_name)
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise SpecError(f"{spec.name}: {field_name}: expected a number of 0 or more, got {value!r}")


def _check_samples(spec: GraphSpec) -> None:
    if spec.samples is None:
        return
    if set(spec.samples) != set(spec.inputs):
        raise SpecError(f"{spec.name}: samples: expected {sorted(spec.inputs)}, got {sorted(spec.samples)}")
    for name, got in spec.samples.items():
        if not hasattr(got, "shape"):
            raise SpecError(f"{spec.name}: samples of {name!r}: expected a torch.Tensor, got {type(got).__name__}")
    rows = {name: int(spec.samples[name].shape[axis]) for name, axis in spec.batch_axes.items()}
    if len(set(rows.values())) > 1 or 0 in rows.values():
        raise SpecError(f"{spec.name}: samples: expected equally many rows in every input, at least one, got {rows}")
    for name, sample in spec.inputs.items():
        got, free = spec.samples[name], spec.axes[name]
        same = len(got.shape) == len(sample.shape) and all(
            axis in free or a == b for axis, (a, b) in enumerate(zip(got.shape, sample.shape, strict=True))
        )
        if got.dtype != sample.dtype or not same:
            raise SpecError(
                f"{spec.name}: samples of {name!r}: expected {sample.dtype} like {tuple(sample.shape)} apart from axes "
                f"{sorted(free)}, got {got.dtype} {tuple(got.shape)}"
            )


def _check_padded(spec: GraphSpec) -> None:
    import torch

    for name, lengths in spec.padded.items():
        where = f"{spec.name}: padded: {name!r}"
        if name not in spec.batched or len(spec.axes[name]) != 2:
            raise SpecError(f"{where}: expected an input with two dynamic axes: the batch, and the one that is padded")
        if lengths not in spec.batched or spec.inputs[lengths].dtype != torch.int64 or spec.inputs[lengths].dim() != 1:
            raise SpecError(f"{where}: lengths: expected an input of torch.int64 [batch], got {lengths!r}")
        axis = spec.axes[name][spec.padded_axes[name]]
        for other, axes in spec.axes.items():
            if axis in axes.values() and spec.padded.get(other) != lengths:
                raise SpecError(
                    f"{where}: {other!r} has the axis {axis!r} too: expected it to be padded to the same {lengths!r}"
                )
