"""Boxes as left, top, right, bottom in pixels; scores of labels; a fixed number of candidates."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_node, tensor_dtype_to_np_dtype

from export.errors import ExportError
from export.importers.changes.change import (
    Arrays,
    add_constant,
    add_node,
    add_output,
    dims_of,
    find_output,
    free_name,
    opset_of,
    rename_tensor,
    replace_output,
)
from export.importers.changes.classes import sigmoid, softmax
from export.importers.changes.shapes import add_reduction

Form = Literal["ltrb", "cxcywh", "ltwh"]
Background = Literal["first", "last", "none"]


@dataclass(frozen=True)
class ToCorners:
    """Boxes [batch, candidates, 4] become left, top, right, bottom in pixels of the picture ``image``."""

    boxes: str
    new: str
    form: Form
    fractions: bool
    image: str
    """The input with the picture."""
    sides: tuple[int, int] = (2, 3)
    """Its axes of height and width."""

    def __str__(self) -> str:
        unit = "fractions of the sides" if self.fractions else "pixels"
        return f"{self.new!r}: {self.boxes!r}, which are {self.form} in {unit}, as left, top, right, bottom in pixels"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        output = find_output(graph, self.boxes)
        kind, axes = output.type.tensor_type.elem_type, dims_of(output)
        dtype = tensor_dtype_to_np_dtype(kind)
        places = [add_constant(graph, f"{self.new}_at", np.array(at)) for at in ([0, 1], [2, 3])]
        first, second = (
            add_node(graph, "Gather", [self.boxes, at], f"{self.new}_{name}", axis=2)
            for at, name in zip(places, ("first", "second"), strict=True)
        )
        if self.form == "cxcywh":
            half = add_constant(graph, f"{self.new}_half", np.array(0.5, dtype))
            halves = add_node(graph, "Mul", [second, half], f"{self.new}_halves")
            low = add_node(graph, "Sub", [first, halves], f"{self.new}_low")
            high = add_node(graph, "Add", [first, halves], f"{self.new}_high")
        else:
            low = first
            high = second if self.form == "ltrb" else add_node(graph, "Add", [first, second], f"{self.new}_high")
        joined = self.new if not self.fractions else f"{self.new}_shares"
        graph.node.append(make_node("Concat", [low, high], [joined], axis=2))
        if self.fractions:
            graph.node.append(make_node("Mul", [joined, self._add_sides(model, kind)], [self.new]))
        replace_output(graph, self.boxes, self.new, [*axes[:2], 4])

    def _add_sides(self, model: onnx.ModelProto, kind: int) -> str:
        """Width, height, width, height of the picture: a constant if its size is fixed."""
        graph = model.graph
        height, width = self.sides
        declared = dims_of(next(value for value in graph.input if value.name == self.image))
        if isinstance(declared[height], int) and isinstance(declared[width], int):
            sides = np.array([declared[width], declared[height]] * 2, tensor_dtype_to_np_dtype(kind))
            return add_constant(graph, f"{self.new}_sides", sides)
        at = add_constant(graph, f"{self.new}_axes", np.array([width, height, width, height]))
        shape = add_node(graph, "Shape", [self.image], f"{self.new}_shape")
        sizes = add_node(graph, "Gather", [shape, at], f"{self.new}_sizes", axis=0)
        return add_node(graph, "Cast", [sizes], f"{self.new}_sides", to=kind)

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        raw = kept.pop(self.boxes)
        x, y, right, bottom = np.moveaxis(raw.astype(np.float64), -1, 0)
        if self.form == "ltwh":
            right, bottom = x + right, y + bottom
        elif self.form == "cxcywh":
            x, y, right, bottom = x - right / 2, y - bottom / 2, x + right / 2, y + bottom / 2
        if self.fractions:
            height, width = (inputs[self.image].shape[axis] for axis in self.sides)
            x, y, right, bottom = x * width, y * height, right * width, bottom * height
        return {**kept, self.new: np.stack([x, y, right, bottom], -1).astype(raw.dtype)}


@dataclass(frozen=True)
class LabelScores:
    """Scores [batch, candidates, n] become probabilities of the labels, without that of the background."""

    scores: str
    new: str
    how: Literal["softmax", "sigmoid", "none"]
    background: Background
    count: int | None = None
    """The labels without the background, where the graph does not declare n."""

    def __str__(self) -> str:
        what = f"{self.how} of {self.scores!r}" if self.how != "none" else f"{self.scores!r}"
        without = f" without the {self.background} one, the background" if self.background != "none" else ""
        return f"{self.new!r}: {what}{without}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        output = find_output(graph, self.scores)
        *outer, size = dims_of(output)
        if not isinstance(size, int) and self.count is not None:
            size = self.count + (self.background != "none")
        made = self.scores
        if self.how != "none":
            kind = {"softmax": "Softmax", "sigmoid": "Sigmoid"}[self.how]
            axis = {"axis": len(outer)} if self.how == "softmax" else {}
            made = add_node(graph, kind, [made], f"{self.new}_all", **axis)
        if self.background == "none":
            graph.node.append(make_node("Identity", [made], [self.new]))
        else:
            if not isinstance(size, int):
                raise ExportError(f"output {self.scores!r}: expected a fixed number of scores, got {dims_of(output)}")
            start = int(self.background == "first")
            size -= 1
            at = add_constant(graph, f"{self.new}_at", np.arange(start, start + size))
            graph.node.append(make_node("Gather", [made, at], [self.new], axis=len(outer)))
        replace_output(graph, self.scores, self.new, [*outer, size])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        raw = kept.pop(self.scores)
        every = softmax(raw) if self.how == "softmax" else sigmoid(raw) if self.how == "sigmoid" else raw
        labels = {"first": every[..., 1:], "last": every[..., :-1], "none": every}[self.background]
        if self.count is not None and labels.shape[-1] != self.count:
            raise ExportError(
                f"output {self.scores!r} has {raw.shape[-1]} scores for each box, as a run shows, but there are "
                f"{self.count} labels (background: {self.background}): name each label, or say which score is the "
                "background"
            )
        return {**kept, self.new: labels.astype(raw.dtype)}


@dataclass(frozen=True)
class BestLabels:
    """Scores [batch, candidates, labels] become the best score of each candidate, and its label."""

    scores: str
    new: str
    classes: str
    sorts: ClassVar = True

    def __str__(self) -> str:
        return f"{self.new!r} and {self.classes!r}: the best of {self.scores!r} for each box, and its label"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        outer = dims_of(find_output(graph, self.scores))[:2]
        add_reduction(model, "ReduceMax", self.scores, self.new, 2)
        graph.node.append(make_node("ArgMax", [self.scores], [self.classes], axis=2, keepdims=0))
        replace_output(graph, self.scores, self.new, outer)
        add_output(graph, self.classes, TensorProto.INT64, outer)

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        scores = kept.pop(self.scores)
        return {**kept, self.new: scores.max(-1), self.classes: scores.argmax(-1)}


@dataclass(frozen=True)
class WholeClasses:
    """Labels of boxes as int64, from integers of other sizes or whole floats."""

    classes: str
    new: str

    def __str__(self) -> str:
        return f"{self.new!r}: {self.classes!r} as int64"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        axes = dims_of(find_output(graph, self.classes))
        graph.node.append(make_node("Cast", [self.classes], [self.new], to=TensorProto.INT64))
        replace_output(graph, self.classes, self.new, axes, TensorProto.INT64)

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        classes = kept.pop(self.classes)
        return {**kept, self.new: classes.astype(np.int64)}


@dataclass(frozen=True)
class FixCandidates:
    """The same number of candidates in every answer: the best ones first, then padding with score 0.

    For a graph that returns as many boxes as it finds: answers of different lengths cannot share an array.
    """

    boxes: str
    scores: str
    classes: str | None
    count: int
    sorts: ClassVar = True

    def __str__(self) -> str:
        return f"the {self.count} best candidates, best first, filled up with candidates of score 0"

    def apply(self, model: onnx.ModelProto) -> None:
        if opset_of(model) < 11:
            raise ExportError(
                f"the graph returns as many boxes as it finds, and has opset {opset_of(model)}: expected opset 11 or "
                "newer to fix their number: export it again with a newer opset"
            )
        graph = model.graph
        size = add_constant(graph, "candidates", np.array([self.count]))
        kind = find_output(graph, self.scores).type.tensor_type.elem_type
        padded = self._pad(graph, self.scores, 2, kind)
        best, order = free_name(graph, f"{self.scores}_best"), free_name(graph, f"{self.scores}_order")
        graph.node.append(make_node("TopK", [padded, size], [best, order], axis=1))
        flat = add_node(graph, "Reshape", [order, add_constant(graph, "flat", np.array([-1]))], "order")
        for name in (self.boxes, self.classes):
            if name is not None:
                self._reorder(graph, name, flat)
        rename_tensor(graph, best, self.scores)
        replace_output(graph, self.scores, self.scores, [1, self.count])

    def _pad(self, graph: onnx.GraphProto, name: str, rank: int, kind: int) -> str:
        """The tensor with ``count`` zeros behind its candidates, on axis 1."""
        ends = add_constant(graph, f"{name}_ends", np.array([0] * rank + [0, self.count] + [0] * (rank - 2)))
        zero = add_constant(graph, f"{name}_zero", np.array(0, tensor_dtype_to_np_dtype(kind)))
        return add_node(graph, "Pad", [name, ends, zero], f"{name}_padded")

    def _reorder(self, graph: onnx.GraphProto, name: str, order: str) -> None:
        output = find_output(graph, name)
        axes, kind = dims_of(output), output.type.tensor_type.elem_type
        taken = add_node(graph, "Gather", [self._pad(graph, name, len(axes), kind), order], f"{name}_taken", axis=1)
        rename_tensor(graph, taken, name)
        replace_output(graph, name, name, [1, self.count, *axes[2:]])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        names = [name for name in (self.boxes, self.scores, self.classes) if name is not None]
        order = np.argsort(-outputs[self.scores][0], kind="stable")[: self.count]
        for name in names:
            array = outputs[name]
            kept[name] = np.zeros((1, self.count, *array.shape[2:]), array.dtype)
            kept[name][0, : len(order)] = array[0, order]
        return kept
