"""Tensors of requests and batches: checked against what a graph declares, joined into batches, cut apart again."""

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
"""The elements that a tensor without any may have if its empty axes are taken as 1."""


class Rows:
    """Checked inputs of one request, the number of its rows, and the key of requests that may share a batch.

    ``whole`` marks a request that is one run of its own: it is neither cut nor joined to others. ``trace`` is set if
    the request was sampled.
    """

    trace: RowsTrace | None = None

    def __init__(self, inputs: Arrays, number: int, key: Hashable, whole: bool = False) -> None:
        self.inputs = inputs
        self.number = number
        self.key = key
        self.whole = whole

    @property
    def row_elements(self) -> int:
        """How many elements a row has in all inputs together."""
        return sum(array.size for array in self.inputs.values()) // max(1, self.number)


class Signature:
    """What a graph takes and gives. Where ``batches`` is False each request is one run.

    ``fragile`` says what in the graph may not survive a tensor without elements; None if everything does.
    ``has_fixed_key``: two requests of equal shapes may always share a batch, because no input is shared by all rows.
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
        """Axes that are not the batch and may have any size, with their names."""
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

        ``may_be_empty`` lets tensors without elements pass: no rows, which must not run but have an answer without it
        (``answer_no_rows``), and empty axes where the graph survives them.
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
        # An output that is the same for every row has a value also where there are no rows.
        if whole or (count == 0 and None in self.output_axes):
            self._check_empty_run(inputs)
            return Rows(inputs, 1, object(), whole=True)
        return Rows(inputs, count, self._one_key or self._key(inputs))

    def check_rows(self, outputs: Sequence[np.ndarray], rows: int) -> None:
        """Raises ModelFailure where the outputs of a batch of so many rows have others."""
        for number, (output, axis) in enumerate(zip(outputs, self.output_axes, strict=True)):
            if axis is not None and output.shape[axis] != rows:
                name = self.output_names[number]
                raise ModelFailure(f"output {name!r} has {output.shape[axis]} rows for a batch of {rows}")

    def check_names(self, inputs: Arrays, known: Mapping[str, Tensor]) -> None:
        """Raises InvalidInput where an input is missing that has no value of its own, or one is not known."""
        if inputs.keys() - known.keys() or known.keys() - inputs.keys() - self._optional:
            named = [name + (" (optional)" if name in self._optional else "") for name in known]
            raise InvalidInput(f"inputs: expected {', '.join(named) or 'none'}, got {', '.join(inputs)[:90] or 'none'}")

    def _check_rows(self, inputs: Arrays) -> None:
        """The first axis of every input has the rows of the request, as many as its configuration allows."""
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
        """Requests share a batch where the shapes of their rows are equal, and the values that all rows share."""
        shapes = tuple(
            array.shape if (axis := self.axes[name]) is None else array.shape[:axis] + array.shape[axis + 1 :]
            for name, array in inputs.items()
        )
        if not self._shared:
            return shapes
        values = tuple((name, _value_of(inputs[name])) for name in self._shared if name in inputs)
        return (shapes, values)

    def _check_axes(self, inputs: Arrays) -> bool:
        """Whether rows are not known to be independent at these sizes.

        Raises InvalidInput outside of the ranges, and where axes of one name differ, whichever inputs they are in.
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
        """What is to be looked at in each request, even if all else is declared as before: finite, within bounds."""
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
        # Its other sizes cost a request nothing, but the model makes outputs of them.
        if any(math.prod(size or 1 for size in a.shape) > MAX_EMPTY for a in inputs.values() if not a.size):
            raise InvalidInput(
                f"inputs: expected sizes beside an empty axis of at most {MAX_EMPTY} together, got {got}"
            )

    def _check_empty_run(self, inputs: Arrays) -> None:
        """Raises InvalidInput where the graph may not survive a run on tensors without elements."""
        if self.fragile is not None and not all(array.size for array in inputs.values()):
            raise InvalidInput(
                f"inputs: expected no empty axis, which ONNX Runtime may not survive in {self.fragile}, got "
                + _show_shapes(inputs)
            )

    def answer_no_rows(self, inputs: Arrays) -> Arrays:
        """The outputs for no rows: none, for rows are independent, and each output has an axis of rows.

        Open sizes are those of the inputs' axes, or 0.
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
    """Whether a shape has the declared sizes wherever these are fixed; the batch axis is free."""
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
    """Raises InvalidInput, which names the first value outside of the tensor's bounds."""
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
    """Whether all of these floats are finite.

    Their sum of squares is not finite if one is not, and much faster; it may also just have overflowed.
    """
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


_KEPT_SHAPES: Final = 16
_KEPT_BYTES: Final = 64 << 20
"""Of the arrays of one lane for one graph besides the newest: callers choose the sizes of free axes."""

_ALIGNED_BYTES: Final = 16
_LOOKED_AT_BYTES: Final = 8192
"""Smaller views are copied without a look at their address, which takes longer."""


def is_aligned(array: np.ndarray) -> bool:
    """Whether an array is known to begin where arrays that NumPy makes begin.

    Views of a request's body begin anywhere. On such ones kernels of ONNX Runtime sum in another order, so a request
    alone would get other bits than in a batch, and than from plain ONNX Runtime.
    """
    if array.flags.owndata or array.nbytes < _LOOKED_AT_BYTES:
        return array.flags.owndata
    return array.dtype.hasobject or not array.__array_interface__["data"][0] % _ALIGNED_BYTES


class BatchBuffer:
    """Arrays that a lane fills again and again, so that a batch costs one copy of its rows and no allocation.

    The last few shapes are kept, and so many bytes in all, so that inputs of ever new lengths do not fill the memory.
    ``empty`` allocates them: a GPU reads page-locked memory faster.
    """

    def __init__(self, empty: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.empty) -> None:
        self._empty = empty
        self._arrays: dict[tuple[str, tuple[int, ...], np.dtype], np.ndarray] = {}

    def join(self, name: str, parts: Sequence[np.ndarray], rows: int, axis: int = 0) -> np.ndarray:
        """The parts behind each other along the batch ``axis``, ``rows`` in all; a single aligned part stays as it is.

        The result is valid until the next call with the same name and row shape. ``rows`` may exceed the rows of the
        parts: then the last row is repeated, to fill a bucket.
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
        """Remember an array, in place of older ones where there are too many or they are too large beside it."""
        self._arrays.pop(key, None)
        kept_bytes = buffer.nbytes + sum(array.nbytes for array in self._arrays.values())
        while self._arrays and (kept_bytes > _KEPT_BYTES or len(self._arrays) >= _KEPT_SHAPES):
            kept_bytes -= self._arrays.pop(next(iter(self._arrays))).nbytes
        self._arrays[key] = buffer
        return buffer


def _join_inside(parts: Sequence[np.ndarray], rows: int, axis: int) -> np.ndarray:
    """Parts joined along an axis that is not the first, the last row repeated up to ``rows``."""
    filled = sum(part.shape[axis] for part in parts)
    if filled == rows:
        return parts[0] if len(parts) == 1 and is_aligned(parts[0]) else np.concatenate(parts, axis)
    last = np.take(parts[-1], [-1] * (rows - filled), axis)
    return np.concatenate([*parts, last], axis)


def cut_rows(array: np.ndarray, axis: int | None, begin: int, end: int) -> np.ndarray:
    """Rows of an array along its batch axis; the array itself where every row shares it, or if these are all rows."""
    if axis is None or end - begin == array.shape[axis]:
        return array
    return array[begin:end] if axis == 0 else array[(slice(None),) * axis + (slice(begin, end),)]
