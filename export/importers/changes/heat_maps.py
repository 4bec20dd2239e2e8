"""Heat maps of objects' centres: the best places, and boxes around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_node, tensor_dtype_to_np_dtype

from export.importers.changes.candidates import add_columns, add_count, add_tuples
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

STRIDE = 4
"""Pixels of a cell's side, in CenterNet and CenterFace."""


@dataclass(frozen=True)
class ReadHeatMap:
    """The ``count`` best places of a heat map [batch, labels, height, width], and the values of other maps there.

    The new outputs are ``scores`` and ``classes`` [batch, count], ``cells`` [batch, count, 2] (column and row), and
    each of the maps as [batch, count, channels].
    """

    heat: str
    maps: Sequence[str]
    scores: str
    classes: str
    cells: str
    layout: Literal["NCHW", "NHWC"]
    peaks: bool
    """Whether only peaks count: places that are the maximum of the 3 x 3 cells around them, in the map of a label."""
    count: int
    sorts: ClassVar = True

    def __str__(self) -> str:
        what = "peaks" if self.peaks else "places"
        return f"the {self.count} best {what} of the heat map {self.heat!r}, best first"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        output = find_output(graph, self.heat)
        kind, rows = output.type.tensor_type.elem_type, dims_of(output)[0]
        heat = self.heat
        if self.layout == "NHWC":
            heat = add_node(graph, "Transpose", [heat], f"{self.scores}_heat", perm=[0, 3, 1, 2])
        kept = self._add_peaks(graph, heat, kind) if self.peaks else heat
        flat_shape = add_constant(graph, f"{self.scores}_flat_shape", np.array([0, -1]))
        flat = add_node(graph, "Reshape", [kept, flat_shape], f"{self.scores}_flat")
        count = add_count(graph, flat, self.count, None, self.scores)
        order = free_name(graph, f"{self.scores}_order")
        graph.node.append(make_node("TopK", [flat, count], [self.scores, order], axis=1))
        places = self._add_places(graph, heat, order, kind)
        for name in self.maps:
            self._gather(graph, name, places)
        replace_output(graph, self.heat, self.scores, [rows, "candidates"])
        add_output(graph, self.classes, TensorProto.INT64, [rows, "candidates"])
        add_output(graph, self.cells, kind, [rows, "candidates", 2])

    def _add_peaks(self, graph: onnx.GraphProto, heat: str, kind: int) -> str:
        """The heat map with 0 wherever there is no peak. A product takes a third of the time of Where."""
        highest = add_node(
            graph, "MaxPool", [heat], f"{self.scores}_highest", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]
        )
        same = add_node(graph, "Equal", [heat, highest], f"{self.scores}_is_peak")
        ones = add_node(graph, "Cast", [same], f"{self.scores}_ones", to=kind)
        return add_node(graph, "Mul", [heat, ones], f"{self.scores}_peaks")

    def _add_places(self, graph: onnx.GraphProto, heat: str, order: str, kind: int) -> str:
        """Labels, columns and rows of the places in a flat heat map. Returns the places in one label's map."""
        shape = add_node(graph, "Shape", [heat], f"{self.scores}_shape")
        height, width = (
            add_node(graph, "Gather", [shape, add_constant(graph, f"{self.cells}_{at}", np.array([at]))], name, axis=0)
            for at, name in ((2, f"{self.cells}_height"), (3, f"{self.cells}_width"))
        )
        size = add_node(graph, "Mul", [height, width], f"{self.cells}_size")
        graph.node.append(make_node("Div", [order, size], [self.classes]))
        place = add_node(graph, "Mod", [order, size], f"{self.cells}_place")
        last = add_constant(graph, f"{self.cells}_axes", np.array([2]))
        sides = [
            add_node(graph, "Unsqueeze", [add_node(graph, how, [place, width], f"{self.cells}_{how}"), last], name)
            for how, name in (("Mod", f"{self.cells}_x"), ("Div", f"{self.cells}_y"))
        ]
        both = add_node(graph, "Concat", sides, f"{self.cells}_both", axis=2)
        graph.node.append(make_node("Cast", [both], [self.cells], to=kind))
        return add_tuples(graph, place)

    def _gather(self, graph: onnx.GraphProto, name: str, places: str) -> None:
        """The map at the places, under a name that ``at_places`` gives."""
        axes = dims_of(find_output(graph, name))
        channels = axes[1 if self.layout == "NCHW" else 3]
        at, made = name, at_places(name)
        if self.layout == "NCHW":
            at = add_node(graph, "Transpose", [name], f"{made}_last", perm=[0, 2, 3, 1])
        shape = add_constant(graph, f"{made}_shape", np.array([0, -1, channels]))
        rows = add_node(graph, "Reshape", [at, shape], f"{made}_rows")
        graph.node.append(make_node("GatherND", [rows, places], [made], batch_dims=1))
        replace_output(graph, name, made, [axes[0], "candidates", channels])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        heat = kept.pop(self.heat)
        heat = heat if self.layout == "NCHW" else np.moveaxis(heat, 3, 1)
        height, width = heat.shape[2:]
        if self.peaks:
            around = np.pad(heat, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
            shifted = [around[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]
            heat = np.where(heat >= np.max(shifted, 0), heat, 0)
        flat = heat.reshape(len(heat), -1)
        order = np.argsort(-flat, axis=1, kind="stable")[:, : self.count]
        classes, y, x = np.unravel_index(order, heat.shape[1:])
        rows = np.arange(len(heat))[:, None]
        for name in self.maps:
            values = kept.pop(name)
            last = np.moveaxis(values, 1, 3) if self.layout == "NCHW" else values
            kept[at_places(name)] = last[rows, y, x]
        made = {self.scores: flat[rows, order], self.classes: classes, self.cells: np.stack([x, y], -1)}
        return {**kept, **made, self.cells: made[self.cells].astype(heat.dtype)}


def at_places(name: str) -> str:
    """The name of a map at the best places."""
    return f"{name}_at_places"


@dataclass(frozen=True)
class DistancesToBoxes:
    """Distances [batch, candidates, 4] from a cell's corner to left, top, right and bottom become boxes, in pixels."""

    cells: str
    distances: str
    boxes: str

    def __str__(self) -> str:
        return f"{self.boxes!r}: {STRIDE} times the cell, minus and plus the distances {self.distances!r}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        output = find_output(graph, self.distances)
        kind = tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
        stride = add_constant(graph, f"{self.boxes}_stride", np.array(STRIDE, kind))
        at = add_node(graph, "Mul", [self.cells, stride], f"{self.boxes}_at")
        low = add_columns(graph, self.distances, f"{self.boxes}_before", 0, 2)
        high = add_columns(graph, self.distances, f"{self.boxes}_behind", 2, 4)
        corners = [
            add_node(graph, how, [at, side], f"{self.boxes}_{how}") for how, side in (("Sub", low), ("Add", high))
        ]
        graph.node.append(make_node("Concat", corners, [self.boxes], axis=2))
        graph.output.remove(find_output(graph, self.cells))
        replace_output(graph, self.distances, self.boxes, dims_of(output))

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        cells, distances = kept.pop(self.cells), kept.pop(self.distances)
        signs = np.array([-1, -1, 1, 1], distances.dtype)
        return {**kept, self.boxes: np.tile(cells * STRIDE, 2) + signs * distances}


@dataclass(frozen=True)
class FacesToBoxes:
    """CenterFace's maps at the best places become boxes and points, in pixels.

    ``scale`` [batch, candidates, 2] has the logarithms of height and width in cells, ``offset`` the row and column of
    the centre within its cell, and ``landmarks`` [batch, candidates, 10] y and x of five points in shares of the box.
    """

    cells: str
    scale: str
    offset: str
    landmarks: str
    boxes: str
    points: str

    def __str__(self) -> str:
        return (
            f"{self.boxes!r} and {self.points!r}: sides exp({self.scale!r}) * {STRIDE}, centres at cell + 0.5 + "
            f"{self.offset!r}, points {self.landmarks!r} within their box"
        )

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        scale = find_output(graph, self.scale)
        axes, kind = dims_of(scale)[:2], scale.type.tensor_type.elem_type
        dtype = tensor_dtype_to_np_dtype(kind)
        stride, half = (add_constant(graph, f"{self.boxes}_{v}", np.array(v, dtype)) for v in (STRIDE, 0.5))
        swap = add_constant(graph, f"{self.boxes}_swap", np.array([1, 0]))

        def add(how: str, *given: str, **attributes: int) -> str:
            return add_node(graph, how, given, f"{self.boxes}_{how}", **attributes)

        sides = add("Mul", add("Exp", add("Gather", self.scale, swap, axis=2)), stride)
        within = add("Add", add("Gather", self.offset, swap, axis=2), half)
        centre = add("Mul", add("Add", self.cells, within), stride)
        corner = add("Sub", centre, add("Mul", sides, half))
        graph.node.append(make_node("Concat", [corner, add("Add", corner, sides)], [self.boxes], axis=2))
        # [batch, candidates, 5, 2], as x and y
        pairs = add_constant(graph, f"{self.points}_shape", np.array([0, 0, -1, 2]))
        shares = add("Gather", add("Reshape", self.landmarks, pairs), swap, axis=3)
        third = add_constant(graph, f"{self.points}_axes", np.array([2]))
        lengths, starts = (add("Unsqueeze", each, third) for each in (sides, corner))
        graph.node.append(make_node("Add", [add("Mul", shares, lengths), starts], [self.points]))
        replace_output(graph, self.scale, self.boxes, [*axes, 4])
        add_output(graph, self.points, kind, [*axes, 5, 2])
        for name in (self.cells, self.offset, self.landmarks):
            graph.output.remove(find_output(graph, name))

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        cells, scale, offset, landmarks = (
            kept.pop(name).astype(np.float64) for name in (self.cells, self.scale, self.offset, self.landmarks)
        )
        height, width = np.exp(scale[..., 0]) * STRIDE, np.exp(scale[..., 1]) * STRIDE
        left = (cells[..., 0] + offset[..., 1] + 0.5) * STRIDE - width / 2
        top = (cells[..., 1] + offset[..., 0] + 0.5) * STRIDE - height / 2
        boxes = np.stack([left, top, left + width, top + height], -1)
        x = landmarks[..., 1::2] * width[..., None] + left[..., None]
        y = landmarks[..., 0::2] * height[..., None] + top[..., None]
        dtype = outputs[self.scale].dtype
        return {**kept, self.boxes: boxes.astype(dtype), self.points: np.stack([x, y], -1).astype(dtype)}
