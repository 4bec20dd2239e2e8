"""Tensors of requests and batches: checked against what a graph declares, joined into batches, and cut apart again."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

import numpy as np

from model_store.datatypes import DATATYPES, datatype_of
from model_store.graph import Graph, Tensor
from service.errors import InvalidInput, ModelFailure
from service.metrics.spans import RowsTrace

Arrays = Mapping[str, np.ndarray]
MAX_EMPTY: Final = 1 << 20
"""Limits the sizes of a tensor without elements: their product, with empty axes taken as 1."""


class Rows:
    """The checked inputs of a request, the number of its rows, and its key: requests of equal keys may share a batch.

    A ``whole`` request runs alone: it is neither cut nor joined to others. ``trace`` is set if it was sampled.
    """

    trace: RowsTrace | None = None

    def __init__(self, inputs: Arrays, number: int, key: Hashable, whole: bool = False) -> None:
        self.inputs = inputs
        self.number = number
        self.key = key
        self.whole = whole

    @property
    def row_elements(self) -> int:
        """How many elements a row has, in all inputs together."""
        return sum(array.size for array in self.inputs.values()) // max(1, self.number)


class Signature:
    """The inputs and outputs of a graph. If ``batches`` is False, each request is one run.

    ``fragile`` names what in the graph may crash on a tensor without elements; None if nothing does.
    ``has_fixed_key``: requests of equal shapes may always share a batch, because no input is shared by all rows.
    """

    def __init__(self, graph: Graph, fragile: str | None = None) -> None:
        self.graph = graph
        self.fragile = fragile
        self.inputs = {t.name: t for t in graph.inputs}
        self.outputs = {t.name: t for t in graph.outputs}
        self.public_inputs = {t.name: t for t in graph.inputs if not t.internal}
        self.public_outputs = {t.name: t for t in graph.outputs if not t.internal}
        self.output_names = list(self.outputs)
        self.axes = {t.name: t.batch_axis for t in graph.inputs}
        self.output_axes = [t.batch_axis for t in graph.outputs]
        self.batches = all(any(axis is not None for axis in each) for each in (self.axes.values(), self.output_axes))
        self._most_rows = graph.leading_rows or 0
        self.leads_with_rows = self._most_rows > 0
        if graph.leading_rows is None:
            self.leads_with_rows = self.batches and {*self.axes.values(), *self.output_axes} == {0}
        """Whether the first axis of every tensor is that of the rows."""
        self._optional = {t.name for t in graph.inputs if t.optional}
        self._shared = [t.name for t in graph.inputs if t.batch_axis is None] if self.batches else []
        self.has_fixed_key = not self._shared
        batch_names = {t.shape[t.batch_axis] for t in graph.inputs if t.batch_axis is not None}
        self._one_rows_name = self._most_rows > 0 or len(batch_names) <= 1
        self._free_axes = [
            (t, axis, size)
            for t in graph.inputs
            for axis, size in enumerate(t.shape)
            if isinstance(size, str) and axis != t.batch_axis
        ]
        """The axes, with their names, that are not the batch and may have any size."""
        self.is_dynamic = bool(self._free_axes)
        """Whether rows may have more than one size."""
        self._one_key: Hashable = None if self.is_dynamic or not self.batches or self._shared else "any"
        self.dtypes = {t.name: DATATYPES[t.datatype].dtype for t in graph.inputs}
        self._checks = [
            (t.name, t, DATATYPES[t.datatype], t.row_shape if t.batch_axis == 0 else None) for t in graph.inputs
        ]
        self._finite = [t.name for t in graph.inputs if t.finite and DATATYPES[t.datatype].is_float]
        self._bounded = [t for t in graph.inputs if (t.least, t.largest) != (None, None)]
        self.checks_values = bool(self._finite or self._bounded)

    def check(self, inputs: Arrays, *, may_be_empty: bool = False) -> Rows:
        """Check a request's arrays. Raises InvalidInput, which names the input, what was expected and what came.

        ``may_be_empty`` accepts tensors without elements: no rows, which ``answer_no_rows`` answers without a run, and
        empty axes if the graph survives them.
        """
        if inputs.keys() != self.inputs.keys():
            self.check_names(inputs, self.inputs)
        count = -1
        whole = False
        for name, tensor, datatype, row_shape in self._checks:
            if name not in inputs:
                continue
            array = inputs[name]
            shape = array.shape
            if array.dtype != datatype.dtype and datatype_of(array) is not datatype:
                raise InvalidInput(f"input {name!r}: expected {datatype.name}, got {datatype_of(array).name}")
            known = shape == tensor.shape if row_shape is None else shape[1:] == row_shape and shape
            if not known and not _fits(shape, tensor):
                raise InvalidInput(f"input {name!r}: expected shape {show_shape(tensor.shape)}, got {list(shape)}")
            if not array.size:
                self._check_empty(inputs, may_be_empty)
            if tensor.batch_axis is not None and count != shape[tensor.batch_axis]:
                if count >= 0:
                    if self._one_rows_name:
                        got = shape[tensor.batch_axis]
                        raise InvalidInput(f"input {name!r}: expected {count} rows like the other inputs, got {got}")
                    whole = True
                count = shape[tensor.batch_axis]
        if self._most_rows:
            self._check_rows(inputs)
        if self.is_dynamic:
            whole = self._check_axes(inputs) or whole
        self.check_values(inputs)
        if not self.batches:
            return Rows(inputs, 1, None)
        # An output that all rows share has a value even if there are no rows.
        if whole or (count == 0 and None in self.output_axes):
            self._check_empty_run(inputs)
            return Rows(inputs, 1, object(), whole=True)
        return Rows(inputs, count, self._one_key or self._key(inputs))

    def check_rows(self, outputs: Sequence[np.ndarray], rows: int) -> None:
        """Raises ModelFailure if an output of a batch does not have ``rows`` rows."""
        for number, (output, axis) in enumerate(zip(outputs, self.output_axes, strict=True)):
            if axis is not None and output.shape[axis] != rows:
                name = self.output_names[number]
                raise ModelFailure(f"output {name!r} has {output.shape[axis]} rows for a batch of {rows}")

    def check_names(self, inputs: Arrays, known: Mapping[str, Tensor]) -> None:
        """Raises InvalidInput if an input is unknown, or missing and not optional."""
        if inputs.keys() - known.keys() or known.keys() - inputs.keys() - self._optional:
            named = [name + (" (optional)" if name in self._optional else "") for name in known]
            raise InvalidInput(f"inputs: expected {', '.join(named) or 'none'}, got {', '.join(inputs)[:90] or 'none'}")

    def _check_rows(self, inputs: Arrays) -> None:
        """Raises InvalidInput if the first axes of the inputs differ, or exceed the model's max_batch_size."""
        leading = [name for name, t in self.public_inputs.items() if name in inputs and not t.optional]
        rows = {name: len(inputs[name]) for name in leading if inputs[name].ndim}
        if len(set(rows.values())) > 1:
            got = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise InvalidInput(f"inputs: expected as many rows in each, got {got}")
        count = next(iter(rows.values()), 0)
        if count > self._most_rows:
            raise InvalidInput(
                f"inputs: expected at most {self._most_rows} rows, the max_batch_size of the model's configuration, "
                f"got {count}"
            )

    def _key(self, inputs: Arrays) -> Hashable:
        """What must be equal in a batch: the shapes of rows, and the values of inputs that all rows share."""
        shapes = tuple(
            array.shape if (axis := self.axes[name]) is None else array.shape[:axis] + array.shape[axis + 1 :]
            for name, array in inputs.items()
        )
        if not self._shared:
            return shapes
        values = tuple((name, _value_of(inputs[name])) for name in self._shared if name in inputs)
        return (shapes, values)

    def _check_axes(self, inputs: Arrays) -> bool:
        """Whether the request must run alone, because rows are not proved independent at these sizes.

        Raises InvalidInput for a size out of range, and for axes of the same name whose sizes differ.
        """
        whole = False
        sizes: dict[str, list[tuple[str, int]]] = {}
        for tensor, axis, axis_name in self._free_axes:
            if tensor.name not in inputs:
                continue
            name, size = tensor.name, inputs[tensor.name].shape[axis]
            limit = self.graph.axis_ranges.get(axis_name)
            if limit is not None and not limit.allows(size):
                raise InvalidInput(
                    f"input {name!r}: expected a size {limit} on axis {axis} ({axis_name!r}), got {size}"
                )
            whole = whole or self.graph.proved_sizes.get(axis_name, size) != size
            if not (tensor.optional or tensor.internal):
                sizes.setdefault(axis_name, []).append((name, size))
        for axis_name, found in sizes.items():
            if any(size != found[0][1] for _, size in found):
                got = ", ".join(f"{name!r} {size}" for name, size in found)
                raise InvalidInput(f"inputs: expected one size of the axis {axis_name!r}, got {got}")
        return whole

    def check_values(self, inputs: Arrays) -> None:
        """Check the values of a request, even if its header was checked before. Raises InvalidInput.

        Floats must be finite if the model says so, and integers within their bounds.
        """
        for name in self._finite:
            if name in inputs and not are_finite(inputs[name]):
                bad = _show_first(inputs[name], ~np.isfinite(inputs[name]))
                raise InvalidInput(f"input {name!r}: expected finite numbers, got {bad}")
        for tensor in self._bounded:
            if tensor.name in inputs:
                _check_bounds(tensor, inputs[tensor.name])

    def _check_empty(self, inputs: Arrays, may_be_empty: bool) -> None:
        got = _show_shapes(inputs)
        if not may_be_empty:
            raise InvalidInput(f"inputs: expected at least one row and no empty axis, got {got}")
        if not self.batches or all(a is None or inputs[n].shape[a] for n, a in self.axes.items() if n in inputs):
            self._check_empty_run(inputs)
        # A tensor with an empty axis has no data, whatever its other sizes. But the outputs may be as large as these.
        if any(math.prod(size or 1 for size in a.shape) > MAX_EMPTY for a in inputs.values() if not a.size):
            raise InvalidInput(
                f"inputs: expected sizes beside an empty axis of at most {MAX_EMPTY} together, got {got}"
            )

    def _check_empty_run(self, inputs: Arrays) -> None:
        """Raises InvalidInput if the graph may crash on these tensors without elements."""
        if self.fragile is not None and not all(array.size for array in inputs.values()):
            raise InvalidInput(
                f"inputs: expected no empty axis, which ONNX Runtime may not survive in {self.fragile}, got "
                + _show_shapes(inputs)
            )

    def answer_no_rows(self, inputs: Arrays) -> Arrays:
        """The outputs for inputs without rows. Open sizes are those of the inputs' axes of the same name, or 0.

        No run is needed: rows are independent, and each output has an axis of rows.
        """
        sizes = {
            axis: size
            for name in inputs
            for axis, size in zip(self.inputs[name].shape, inputs[name].shape, strict=False)
        }
        empty = {}
        for name, tensor in self.outputs.items():
            shape = [size if isinstance(size, int) else sizes.get(size, 0) for size in tensor.shape]
            if tensor.batch_axis is not None:
                shape[tensor.batch_axis] = 0
            empty[name] = np.empty(shape, DATATYPES[tensor.datatype].dtype)
        return empty


def _value_of(array: np.ndarray) -> Hashable:
    return tuple(array.reshape(-1).tolist()) if array.dtype.hasobject else array.tobytes()


def _fits(shape: tuple[int, ...], tensor: Tensor) -> bool:
    """Whether a shape has the declared fixed sizes; the batch axis may have any size."""
    if tensor.any_shape:
        return True
    return len(shape) == len(tensor.shape) and all(
        isinstance(wanted, str) or wanted == got or axis == tensor.batch_axis
        for axis, (wanted, got) in enumerate(zip(tensor.shape, shape, strict=True))
    )


def show_shape(shape: Sequence[int | str]) -> str:
    """A declared shape for people: ``[batch, 1, 8, 8]``."""
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _show_shapes(inputs: Arrays) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())


def _show_first(array: np.ndarray, is_bad: np.ndarray) -> str:
    index = tuple(np.argwhere(is_bad)[0].tolist())
    return f"{array[index]} at {list(index)}"


def _check_bounds(tensor: Tensor, array: np.ndarray) -> None:
    """Raises InvalidInput, which names the first value out of the tensor's bounds."""
    if not array.size:
        return
    low, high = array.min(), array.max()
    least = low if tensor.least is None else tensor.least
    largest = high if tensor.largest is None else tensor.largest
    if least <= low and high <= largest:
        return
    bounds = f"from {least} to {largest}"
    if tensor.largest is None:
        bounds = f"of {least} or more"
    elif tensor.least is None:
        bounds = f"up to {largest}"
    outside = _show_first(array, (array < least) | (array > largest))
    raise InvalidInput(f"input {tensor.name!r}: expected integers {bounds}, got {outside}")


def are_finite(array: np.ndarray) -> bool:
    """Whether all floats are finite.

    If one is not, neither is their sum of squares, which is much faster to compute. But that may also overflow.
    """
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


_KEPT_SHAPES: Final = 16
_KEPT_BYTES: Final = 64 << 20
"""How many arrays a lane keeps, and how many bytes besides the newest: callers choose the sizes of open axes."""

_ALIGNED_BYTES: Final = 16
_CHECKED_FROM_BYTES: Final = 8192
"""Smaller views are copied without a check of their address, which would take longer."""


def is_aligned(array: np.ndarray) -> bool:
    """Whether an array is known to be aligned like the arrays that NumPy makes.

    Views of a request's body may begin anywhere. On unaligned ones kernels of ONNX Runtime sum in another order. So a
    request alone would get other bits than in a batch, or from plain ONNX Runtime.
    """
    if array.flags.owndata or array.nbytes < _CHECKED_FROM_BYTES:
        return array.flags.owndata
    return array.dtype.hasobject or not array.__array_interface__["data"][0] % _ALIGNED_BYTES


class BatchBuffer:
    """Arrays that a lane fills again and again, so that a batch costs one copy of its rows and no allocation.

    Only the last few shapes are kept, so that inputs of ever new lengths do not fill the memory. ``empty`` allocates
    the arrays: a GPU reads page-locked memory faster.
    """

    def __init__(self, empty: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.empty) -> None:
        self._empty = empty
        self._arrays: dict[tuple[str, tuple[int, ...], np.dtype], np.ndarray] = {}

    def join(self, name: str, parts: Sequence[np.ndarray], rows: int, axis: int = 0) -> np.ndarray:
        """Join parts along the batch ``axis`` to ``rows`` rows. A single aligned part is returned as it is.

        The result is valid until the next call with the same name and row shape. If ``rows`` exceeds the rows of the
        parts, the last row is repeated, to fill a bucket.
        """
        first = parts[0]
        if axis:
            return _join_inside(parts, rows, axis)
        if len(parts) == 1 and len(first) == rows and is_aligned(first):
            return first
        key = (name, first.shape[1:], first.dtype)
        buffer = self._arrays.get(key)
        if buffer is None or len(buffer) < rows:
            buffer = self._keep(key, self._empty((rows, *first.shape[1:]), first.dtype))
        batch = buffer[:rows]
        if len(parts) == 1 and len(first) == 1:
            batch[:] = first  # for one row, assignment takes a third of the time
            return batch
        filled = sum(map(len, parts))
        np.concatenate(parts, out=batch[:filled])
        if filled < rows:
            batch[filled:] = batch[filled - 1]
        return batch

    def _keep(self, key: tuple[str, tuple[int, ...], np.dtype], buffer: np.ndarray) -> np.ndarray:
        """Keep an array, and drop older ones if they are too many or too large beside it."""
        self._arrays.pop(key, None)
        kept_bytes = buffer.nbytes + sum(array.nbytes for array in self._arrays.values())
        while self._arrays and (kept_bytes > _KEPT_BYTES or len(self._arrays) >= _KEPT_SHAPES):
            kept_bytes -= self._arrays.pop(next(iter(self._arrays))).nbytes
        self._arrays[key] = buffer
        return buffer


def _join_inside(parts: Sequence[np.ndarray], rows: int, axis: int) -> np.ndarray:
    """Join parts along an axis that is not the first, with the last row repeated up to ``rows``."""
    filled = sum(part.shape[axis] for part in parts)
    if filled == rows:
        return parts[0] if len(parts) == 1 and is_aligned(parts[0]) else np.concatenate(parts, axis)
    last = np.take(parts[-1], [-1] * (rows - filled), axis)
    return np.concatenate([*parts, last], axis)


def cut_rows(array: np.ndarray, axis: int | None, begin: int, end: int) -> np.ndarray:
    """Rows ``begin`` to ``end`` along the batch axis; the array itself if all rows share it, or if these are all."""
    if axis is None or end - begin == array.shape[axis]:
        return array
    return array[begin:end] if axis == 0 else array[(slice(None),) * axis + (slice(begin, end),)]
