"""Candidates as rows of numbers, [batch, candidates, n]: the best of them, and an output for some columns of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_node

from export.importers.changes.change import (
    Arrays,
    add_constant,
    add_node,
    add_output,
    dims_of,
    find_output,
    free_name,
    replace_output,
)
from export.importers.changes.shapes import add_reduction

OPSET = 13
"""The oldest operators that these changes use."""


@dataclass(frozen=True)
class ColumnsLast:
    """[batch, n, candidates] becomes [batch, candidates, n]."""

    output: str
    new: str

    def __str__(self) -> str:
        return f"{self.new!r}: {self.output!r} with a row for each candidate"

    def apply(self, model: onnx.ModelProto) -> None:
        rows, columns, candidates = dims_of(find_output(model.graph, self.output))
        model.graph.node.append(make_node("Transpose", [self.output], [self.new], perm=[0, 2, 1]))
        replace_output(model.graph, self.output, self.new, [rows, candidates, columns])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        array = kept.pop(self.output)
        return {**kept, self.new: np.swapaxes(array, 1, 2)}


@dataclass(frozen=True)
class BestCandidates:
    """[batch, candidates, n] becomes [batch, count, n]: those with the highest scores, best first.

    The score of a candidate is the highest of its columns from ``start`` to ``stop``, times its column ``factor``.
    """

    output: str
    new: str
    start: int
    stop: int
    factor: int | None
    count: int
    sorts: ClassVar = True

    def __str__(self) -> str:
        return f"{self.new!r}: of {self.output!r} the {self.count} candidates with the highest scores, best first"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        rows, candidates, columns = dims_of(find_output(graph, self.output))
        scores = add_columns(graph, self.output, f"{self.new}_scores", self.start, self.stop)
        best = free_name(graph, f"{self.new}_best")
        add_reduction(model, "ReduceMax", scores, best, 2)
        if self.factor is not None:
            at = add_constant(graph, f"{self.new}_factor_at", np.array(self.factor))
            factor = add_node(graph, "Gather", [self.output, at], f"{self.new}_factor", axis=2)
            best = add_node(graph, "Mul", [best, factor], f"{self.new}_product")
        count = add_count(graph, best, self.count, candidates, self.new)
        values, order = free_name(graph, f"{self.new}_values"), free_name(graph, f"{self.new}_order")
        graph.node.append(make_node("TopK", [best, count], [values, order], axis=1))
        graph.node.append(make_node("GatherND", [self.output, add_tuples(graph, order)], [self.new], batch_dims=1))
        replace_output(graph, self.output, self.new, [rows, shorten(candidates, self.count), columns])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        array = kept.pop(self.output)
        best = array[..., self.start : self.stop].max(-1)
        if self.factor is not None:
            best = best * array[..., self.factor]
        order = np.argsort(-best, axis=1, kind="stable")[:, : self.count]
        return {**kept, self.new: np.take_along_axis(array, order[..., None], 1)}


@dataclass(frozen=True)
class Part:
    """Some columns of the candidates as an output of their own."""

    name: str
    start: int
    stop: int
    shape: Sequence[int] | None = None
    """Of one candidate; ``()`` is one number. None: the columns as they are."""
    factor: int | None = None
    """A column that they are multiplied by."""
    whole: bool = False
    """Whether they become int64."""


@dataclass(frozen=True)
class SplitColumns:
    """[batch, candidates, n] becomes an output for each part."""

    output: str
    parts: Sequence[Part]

    def __str__(self) -> str:
        places = ", ".join(
            f"{part.name!r} {part.start}..{part.stop - 1}"
            + (f" times {part.factor}" if part.factor is not None else "")
            for part in self.parts
        )
        return f"columns of {self.output!r}: {places}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        output = find_output(graph, self.output)
        outer, kind = dims_of(output)[:2], output.type.tensor_type.elem_type
        graph.output.remove(output)
        for part in self.parts:
            self._add(graph, part)
            inner = [part.stop - part.start] if part.shape is None else list(part.shape)
            add_output(graph, part.name, TensorProto.INT64 if part.whole else kind, [*outer, *inner])

    def _add(self, graph: onnx.GraphProto, part: Part) -> None:
        if part.shape == ():
            at = add_constant(graph, f"{part.name}_at", np.array(part.start))
            made = add_node(graph, "Gather", [self.output, at], f"{part.name}_column", axis=2)
        else:
            made = add_columns(graph, self.output, f"{part.name}_columns", part.start, part.stop)
        if part.factor is not None:
            column = np.array(part.factor) if part.shape == () else np.array([part.factor])
            at = add_constant(graph, f"{part.name}_factor_at", column)
            factor = add_node(graph, "Gather", [self.output, at], f"{part.name}_factor", axis=2)
            made = add_node(graph, "Mul", [made, factor], f"{part.name}_product")
        if part.shape:
            shape = add_constant(graph, f"{part.name}_shape", np.array([0, 0, *part.shape]))
            made = add_node(graph, "Reshape", [made, shape], f"{part.name}_shaped")
        last = make_node("Cast", [made], [part.name], to=TensorProto.INT64)
        graph.node.append(last if part.whole else make_node("Identity", [made], [part.name]))

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        array = kept.pop(self.output)
        for part in self.parts:
            values = array[..., part.start : part.stop]
            if part.factor is not None:
                values = values * array[..., part.factor, None]
            if part.shape is not None:
                assert prod(part.shape) == values.shape[-1]  # noqa: S101  # the plan has made it so
                values = values.reshape(*values.shape[:2], *part.shape)
            kept[part.name] = values.astype(np.int64) if part.whole else values
        return kept


def add_columns(graph: onnx.GraphProto, given: str, output: str, start: int, stop: int) -> str:
    """Add the columns from ``start`` to ``stop`` of [batch, candidates, n]."""
    places = [add_constant(graph, f"{output}_{at}", np.array([at])) for at in (start, stop, 2)]
    return add_node(graph, "Slice", [given, *places], output)


def add_count(graph: onnx.GraphProto, scores: str, count: int, candidates: int | str | None, prefix: str) -> str:
    """Add how many candidates of [batch, candidates] are kept, int64 [1]: no more than there are."""
    if isinstance(candidates, int):
        return add_constant(graph, f"{prefix}_count", np.array([min(count, candidates)]))
    shape = add_node(graph, "Shape", [scores], f"{prefix}_scores_shape")
    at = add_constant(graph, f"{prefix}_candidates_at", np.array([1]))
    found = add_node(graph, "Gather", [shape, at], f"{prefix}_candidates", axis=0)
    most = add_constant(graph, f"{prefix}_most", np.array([count]))
    return add_node(graph, "Min", [found, most], f"{prefix}_count")


def add_tuples(graph: onnx.GraphProto, order: str) -> str:
    """Add the places [batch, count] as index tuples of GatherND, [batch, count, 1]."""
    last = add_constant(graph, f"{order}_axes", np.array([2]))
    return add_node(graph, "Unsqueeze", [order, last], f"{order}_tuples")


def shorten(candidates: int | str | None, count: int) -> int | str | None:
    """The axis of the candidates, with at most ``count`` of them."""
    return min(candidates, count) if isinstance(candidates, int) else "candidates"
