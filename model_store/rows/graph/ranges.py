"""Finds integer inputs that index a table, and which numbers they may have."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper

from model_store.rows.graph.nodes import list_needed, read_constant, read_small

Range = tuple[int, int]
"""The least and the largest number."""

_SAME_VALUES = frozenset({"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Expand"})
"""Operators whose output has exactly the values of the first input."""
_SAME_SHAPE = frozenset({"Identity", "Cast", "DequantizeLinear"})
_WHOLE = frozenset({onnx.TensorProto.INT32, onnx.TensorProto.INT64})
_PLACES = {"Gather": ((0, 1),), "EmbedLayerNormalization": ((2, 0), (4, 1))}
"""The positions of table and indices among the inputs of each operator that picks."""
_FROM_THE_END = frozenset({"Gather"})
"""Operators that accept negative indices, which count from the end."""


def find_ranges(graph: onnx.GraphProto) -> dict[str, Range]:
    """The numbers that an input may have if all its values index tables. Others always fail."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    constants = {tensor.name: read_small(tensor) for tensor in graph.initializer}
    whole = {value.name for value in graph.input if value.type.tensor_type.elem_type in _WHOLE}
    shifted = {name: (name, 0) for name in whole - shapes.keys()}
    ranges: dict[str, Range] = {}
    for node in list_needed(graph):
        _read_constant(node, constants)
        _follow_shape(node, shapes)
        _follow_values(node, shifted, constants)
        for name, (least, largest) in _read_ranges(node, shapes, shifted):
            lowest, highest = ranges.get(name, (least, largest))
            ranges[name] = max(least, lowest), min(largest, highest)
    return ranges


def _read_constant(node: onnx.NodeProto, constants: dict[str, np.ndarray | None]) -> None:
    if node.op_type == "Constant":
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        constants[node.output[0]] = read_constant(attributes)[1]


def _follow_shape(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> None:
    if node.op_type in _SAME_SHAPE and node.input and node.input[0] in shapes:
        shapes[node.output[0]] = shapes[node.input[0]]


def _follow_values(
    node: onnx.NodeProto, shifted: dict[str, tuple[str, int]], constants: Mapping[str, np.ndarray | None]
) -> None:
    """Follow tensors that have the values of an input, plus a number."""
    if node.op_type in _SAME_VALUES and node.input and node.input[0] in shifted:
        shifted[node.output[0]] = shifted[node.input[0]]
    if node.op_type not in ("Add", "Sub"):
        return
    pairs = [tuple(node.input), tuple(reversed(node.input))][: 1 if node.op_type == "Sub" else 2]
    for values, number in pairs:
        constant = constants.get(number)
        if values in shifted and constant is not None and constant.size == 1 and constant.dtype.kind in "iu":
            name, shift = shifted[values]
            by = int(constant.reshape(-1)[0])
            shifted[node.output[0]] = name, shift + (by if node.op_type == "Add" else -by)


def _read_ranges(
    node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], shifted: Mapping[str, tuple[str, int]]
) -> Iterator[tuple[str, Range]]:
    """The inputs whose values this node uses as indices, each with its range."""
    for table, indices in _PLACES.get(node.op_type, ()):
        if max(table, indices) >= len(node.input) or node.input[indices] not in shifted:
            continue
        dims = shapes.get(node.input[table])
        if dims:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            name, shift = shifted[node.input[indices]]
            least = -dims[axis] if node.op_type in _FROM_THE_END else 0
            yield name, (least - shift, dims[axis] - 1 - shift)
