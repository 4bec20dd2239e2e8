"""One graph of a model: its tensors, and how it is proved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from export.axes import BATCH, batch_axes, name_axes, spread_rows
from export.calling.nesting import take_inputs, take_tensors
from export.errors import SpecError
from export.spec.kinds import BATCHES, SEEDS, Sizes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphSpec:
    """One graph of a model. Raises SpecError if its parts contradict each other.

    The rows of a batch lie on the axis that ``dynamic`` calls ``batch``. An input without such an axis is shared by all
    rows. If no input has one, requests run one at a time.
    """

    name: str = "graph"
    """The name for messages. Further graphs of a model are named by the model."""
    module: Any
    """The trained model, on the CPU: a ``torch.nn.Module``, a function of tensors, an ``ExportedProgram``, a
    TorchScript module, the path of a ``.pt2`` or TorchScript file, or a function without arguments that builds one of
    these. Wrappers such as ``torch.compile``, ``DataParallel``, ``AveragedModel`` and training modules are removed."""
    export_as: torch.nn.Module | None = None
    """A module to export instead, if the model's own form cannot be exported. It is proved against ``module``."""
    inputs: Mapping[str, Any]
    """Sample inputs. Inputs named like parameters of ``forward`` are passed by name, in any order; parameters with
    defaults may be left out. If no input is named like a parameter, as with ``forward(input)`` of torch's own modules,
    all are passed in order. If only some are, the export is refused.

    A value may hold tensors in dictionaries, lists, tuples or dataclasses; the graph's inputs are then called
    ``batch.image`` or ``pair.0``. None, numbers and texts are passed to every call as they are. Free axes other than
    the batch must have sizes of 2 or more here. The spec keeps copies by flat name, with at least two rows.
    """
    outputs: tuple[str, ...]
    """Names for the tensors that ``forward`` returns. For a dictionary, dataclass or named tuple they are keys
    (``pooled``, or ``out.pooled`` if nested), and some may be left out. For anything else they are names in the order
    of the tensors."""
    output_keys: Mapping[str, str] = field(default_factory=dict)
    """``{output: key}`` to give an output another name than its key, which is needed if an input has that name."""
    dynamic: Mapping[str, Any] | None = None
    """The free axes, ``{input: {axis: name}}``, nested like the inputs or by flat name. The axis of the rows, whichever
    it is, is called ``batch``. None: axis 0 of every input is the batch, and nothing else is free."""
    finite: tuple[str, ...] = ()
    """Inputs in which NaN and infinities are refused before the model runs."""
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The least and largest value of integer inputs. Others are refused before the model runs."""
    bounds: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """``{axis: (least, largest)}``: the sizes of a dynamic axis for which the model is published; None: no largest.
    Parity tries both ends, and other sizes are refused before the model runs. Default: what torch and the graph
    accept."""
    padded: Mapping[str, str] = field(default_factory=dict)
    """``{input: lengths}``: rows of ``input`` are padded along its one dynamic axis other than the batch. ``lengths``,
    int64 [batch], has the number of valid places, 1 or more. Parity proves that the padding does not matter."""

    samples: Mapping[str, torch.Tensor] | None = None
    """Real inputs for parity, golden samples and reference statistics. None: random ones, and no statistics."""
    random_inputs: Callable[[Sizes, int], Mapping[str, torch.Tensor]] | None = None
    """Makes inputs from axis sizes and a seed. None: uniform over the range of the samples, in their datatype."""
    atol: float = 1e-5
    rtol: float = 1e-5
    """The tolerance against the original: ``|got - expected| <= atol + rtol * |expected|`` for every element, plus the
    measured rounding. So half precision, deep models and large numbers need no other values."""
    scale_tol: float = 0.0
    """Added to ``atol`` and ``row_atol`` of each output, as a share of its largest magnitude, for low precision."""
    kinks: float = 0.0
    """The share of the grid's rows that may differ more than the tolerance: at a kink (ReLU, max), rounding decides the
    slope of a gradient."""
    kink_tol: float = math.inf
    """The largest difference of these rows, as a share of the largest magnitude of an output."""
    row_atol: float | None = None
    """The tolerance for a row run alone (padded to two) against the same row in a batch. None: as against the original;
    0: equal bits."""
    proved_by_trial: bool = False
    """Set it for modules whose rows you know to be independent. True: rows share batches even if the analysis names a
    node that mixes them, as long as no comparison shows it. False: then each request runs alone."""
    batches: tuple[int, ...] = BATCHES
    """Numbers of rows for parity. The default uses fewer if a row takes long."""
    seeds: tuple[int, ...] = SEEDS
    """Seeds of the random inputs for parity. The default uses fewer if a row takes long."""
    lengths: tuple[Sizes, ...] | None = None
    """Sizes of the other dynamic axes for parity. None: the example's, about half and about twice; without the longest
    if a row takes long."""
    max_rows: int | None = None
    """The most rows of a batch in the server, if more would take too much memory. None: the limit of the model, or of
    an exported program."""
    opset: int = 20
    """The ONNX opset."""
    external_data_bytes: int | None = None
    """Weights of more bytes than this go to a file of their own. None: if one ONNX file, at most 2 GB, cannot hold
    them."""
    seed: int | None = None
    """The seed of the training, for the record."""

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
        """The axis of the rows of each input. Shared inputs are missing."""
        return batch_axes(self.axes)

    @property
    def batched(self) -> tuple[str, ...]:
        """The inputs that have a row for each example; none if the model has no batch."""
        return tuple(self.batch_axes)

    @property
    def padded_axes(self) -> Mapping[str, int]:
        """The axis along which the rows of each padded input are padded."""
        return {name: next(axis for axis, called in self.axes[name].items() if called != BATCH) for name in self.padded}

    @property
    def example_sizes(self) -> dict[str, int]:
        """The sizes of the dynamic axes in the sample inputs."""
        return {
            axis_name: self.inputs[name].shape[axis]
            for name, axes in self.axes.items()
            for axis, axis_name in axes.items()
        }


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
            f"{spec.name}: outputs: expected at least one name, without duplicates or names of inputs, got "
            f"{spec.outputs}: output_keys gives a returned key another name"
        )


def _check_grid(spec: GraphSpec) -> None:
    for field_name in ("atol", "rtol", "row_atol", "scale_tol", "kinks"):
        check_tolerance(spec, field_name)
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


def check_tolerance(spec: GraphSpec, field_name: str) -> None:
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
        for other, axes in spec.axes.items():
            if spec.axes[name][spec.padded_axes[name]] in axes.values() and spec.padded.get(other) != lengths:
                raise SpecError(f"{where}: expected {other!r}, with the same axis, to be padded to {lengths!r} too")
