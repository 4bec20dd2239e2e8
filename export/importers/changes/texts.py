"""One vector for a text, made of the vectors of its tokens; and positions of tokens, counted in the graph."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from export.importers.changes.change import (
    Arrays,
    add_constant,
    add_node,
    dims_of,
    find_output,
    free_name,
    replace_output,
)
from export.importers.changes.shapes import add_axis, add_reduction


@dataclass(frozen=True)
class FillPositions:
    """Positions of tokens, [batch, length] or [1, length], are no longer an input: the graph counts from ``first``.

    ``ids`` is the input [batch, length] with the tokens. Padding comes after them and is counted too.
    """

    positions: str
    ids: str
    first: int
    dtype: str
    has_rows: bool
    """Whether each row has its own positions."""

    def __str__(self) -> str:
        return f"the input {self.positions!r} is counted in the graph, from {self.first}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.input.remove(next(value for value in graph.input if value.name == self.positions))
        count = len(graph.node)
        first, one, axis = (
            add_constant(graph, f"{self.positions}_{name}", np.array(number, np.int64))
            for name, number in (("first", self.first), ("step", 1), ("axis", 1))
        )
        shape = add_node(graph, "Shape", [self.ids], f"{self.positions}_shape")
        length = add_node(graph, "Gather", [shape, axis], f"{self.positions}_length", axis=0)
        end = add_node(graph, "Add", [length, first], f"{self.positions}_end")
        counted = add_node(graph, "Range", [first, end, one], f"{self.positions}_counted")
        if self.has_rows:
            counted = add_node(graph, "Expand", [counted, shape], f"{self.positions}_spread")
        else:
            counted = self._add_row(model, counted)
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph.node.append(onnx.helper.make_node("Cast", [counted], [self.positions], to=kind))
        nodes = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes[count:], *nodes[:count]])

    def _add_row(self, model: onnx.ModelProto, counted: str) -> str:
        row = free_name(model.graph, f"{self.positions}_row")
        add_axis(model, counted, row, 0)
        return row

    def restore(self, inputs: Arrays) -> Arrays:
        rows, length = inputs[self.ids].shape
        counted = np.tile(np.arange(self.first, self.first + length), (rows if self.has_rows else 1, 1))
        return {**inputs, self.positions: counted.astype(self.dtype)}

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return dict(outputs)


@dataclass(frozen=True)
class PoolTokens:
    """[batch, length, size] becomes [batch, size]: the last token, or the mean of all.

    ``mask`` is the input [batch, length] that is 1 for tokens and 0 for the padding after them.
    """

    output: str
    new: str
    how: Literal["mean", "last"]
    mask: str

    def __str__(self) -> str:
        return f"{self.new!r}: the {'mean of the tokens' if self.how == 'mean' else 'last token'} of {self.output!r}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        value = find_output(graph, self.output)
        rows, _, size = dims_of(value)
        kind = value.type.tensor_type.elem_type
        weights = self._add_weights(model, kind)
        kept = add_node(graph, "Mul", [self.output, weights], f"{self.new}_kept")
        total = self._add_sum(model, kept, "total")
        if self.how == "mean":
            count = self._add_sum(model, weights, "count")
            graph.node.append(onnx.helper.make_node("Div", [total, count], [self.new]))
        else:
            graph.node.append(onnx.helper.make_node("Identity", [total], [self.new]))
        replace_output(graph, self.output, self.new, [rows, size])

    def _add_weights(self, model: onnx.ModelProto, kind: int) -> str:
        """1 for the tokens that count and 0 for others, [batch, length, 1]."""
        graph = model.graph
        held = add_node(graph, "Cast", [self.mask], f"{self.new}_held", to=kind)
        if self.how == "last":
            begin, end, axis = (add_constant(graph, f"{self.new}_{name}", np.array([number])) for name, number in _TAIL)
            tail = add_node(graph, "Slice", [held, begin, end, axis], f"{self.new}_tail")
            front = add_node(graph, "Slice", [held, *self._add_front(model)], f"{self.new}_front")
            none = add_node(graph, "Sub", [front, front], f"{self.new}_none")
            after = add_node(graph, "Concat", [tail, none], f"{self.new}_after", axis=1)
            more = add_node(graph, "Mul", [held, after], f"{self.new}_more")
            held = add_node(graph, "Sub", [held, more], f"{self.new}_end")
        weights = free_name(graph, f"{self.new}_weights")
        add_axis(model, held, weights, 2)
        return weights

    def _add_front(self, model: onnx.ModelProto) -> list[str]:
        return [add_constant(model.graph, f"{self.new}_{name}", np.array([number])) for name, number in _FRONT]

    def _add_sum(self, model: onnx.ModelProto, given: str, name: str) -> str:
        total = free_name(model.graph, f"{self.new}_{name}")
        add_reduction(model, "ReduceSum", given, total, 1)
        return total

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        rows = kept.pop(self.output)
        counts = inputs[self.mask].astype(int).sum(1)
        if self.how == "last":
            pooled = np.stack([row[count - 1] for row, count in zip(rows, counts, strict=True)])
        else:
            means = [row[:count].astype(np.float64).mean(0) for row, count in zip(rows, counts, strict=True)]
            pooled = np.stack(means).astype(rows.dtype)
        return {**kept, self.new: pooled}


_TAIL = (("tail_begin", 1), ("tail_end", np.iinfo(np.int64).max), ("tail_axis", 1))
_FRONT = (("front_begin", 0), ("front_end", 1), ("front_axis", 1))
