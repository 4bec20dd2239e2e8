"""Tensors of requests and batches: checked against what a graph declares, joined into batches, cut apart again."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_store.datatypes import DATATYPES, datatype_of
from model_store.manifest import Graph, Tensor
from service.errors import InvalidInput

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked inputs of one request: ``count`` rows of every array, and the key of requests that may share a batch."""

    inputs: Arrays
    count: int
    key: Hashable


class Signature:
    """What a graph takes and gives. Without a batch axis (``batches`` is False) it runs request by request."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs = {t.name: t for t in graph.inputs}
        self.outputs = {t.name: t for t in graph.outputs}
        self.output_names = [t.name for t in graph.outputs]
        self.batches = bool(graph.inputs) and all(t.batch_axis == 0 for t in (*graph.inputs, *graph.outputs))
        dynamic = any(isinstance(size, str) for t in graph.inputs for size in t.row_shape)
        self._one_key: Hashable = None if dynamic or not self.batches else "any"
        self._checks = [(t.name, t, DATATYPES[t.datatype], self._pattern(t)) for t in graph.inputs]

    def _pattern(self, tensor: Tensor) -> tuple[int | None, ...]:
        """The shape with None for every size that a request may choose."""
        return tuple(
            None if isinstance(size, str) or (self.batches and axis == 0) else size
            for axis, size in enumerate(tensor.shape)
        )

    def check(self, inputs: Arrays) -> Rows:
        """Check a request's arrays. Raises InvalidInput, which names the input, what was expected and what came."""
        if len(inputs) != len(self._checks) or any(name not in inputs for name, *_ in self._checks):
            self._refuse_names(inputs)
        count = -1
        for name, tensor, datatype, pattern in self._checks:
            array = inputs[name]
            if array.dtype != datatype.dtype and datatype_of(array) is not datatype:
                raise InvalidInput(f"input {name!r}: expected {datatype.name}, got {datatype_of(array).name}")
            shape = array.shape
            if len(shape) != len(pattern) or any(w is not None and w != g for w, g in zip(pattern, shape, strict=True)):
                raise InvalidInput(f"input {name!r}: expected shape {show_shape(tensor.shape)}, got {list(shape)}")
            if self.batches:
                if count not in (-1, shape[0]):
                    raise InvalidInput(f"input {name!r}: expected {count} rows like the other inputs, got {shape[0]}")
                count = shape[0]
            if tensor.finite and not np.isfinite(array).all():
                raise InvalidInput(f"input {name!r}: expected finite numbers, got {_first_bad(array)}")
        if 0 in (size for array in inputs.values() for size in array.shape):
            self._refuse_empty(inputs)
        if not self.batches:
            return Rows(inputs, 1, None)
        return Rows(inputs, count, self._one_key or tuple(inputs[name].shape[1:] for name, *_ in self._checks))

    def _refuse_names(self, inputs: Arrays) -> None:
        expected, got = list(self.inputs), list(inputs)
        raise InvalidInput(f"inputs: expected {', '.join(expected)}, got {', '.join(got) or 'none'}")

    def _refuse_empty(self, inputs: Arrays) -> None:
        # ONNX Runtime's recurrent kernels abort the process on an empty batch, so no empty tensor reaches a graph.
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in inputs.items())
        raise InvalidInput(f"inputs: expected at least one row and no empty axis, got {shapes}")


def show_shape(shape: Sequence[int | str]) -> str:
    """A declared shape for people: ``[batch, 1, 8, 8]``."""
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _first_bad(array: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"{array[index]} at {list(index)}"


class BatchBuffer:
    """Arrays that a lane fills again and again, so that a batch costs one copy of its rows and no allocation."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, tuple[int, ...], np.dtype], np.ndarray] = {}

    def join(self, name: str, parts: Sequence[np.ndarray], rows: int) -> np.ndarray:
        """The parts below each other, ``rows`` in all; a single part is passed on as it is, without a copy.

        The result is valid until the next call with the same name and row shape. ``rows`` may exceed the rows of the
        parts: then the last row is repeated, to fill a bucket.
        """
        first = parts[0]
        if len(parts) == 1 and len(first) == rows:
            return first
        key = (name, first.shape[1:], first.dtype)
        buffer = self._arrays.get(key)
        if buffer is None or len(buffer) < rows:
            buffer = self._arrays[key] = np.empty((rows, *first.shape[1:]), first.dtype)
        filled = 0
        for part in parts:
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        if filled < rows:
            buffer[filled:rows] = buffer[filled - 1]
        return buffer[:rows]
