"""An ONNX model as the analysis reads it: its nodes in order, without those that no output needs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_store.rows.graph.inner import graphs_of
from model_store.rows.graph.unfolding import Inside

OWN_DOMAINS = ("", "ai.onnx")
MOST_KNOWN = 1024
"""Most elements of an integer or truth-value constant that the analysis reads."""
MOST_FLOATS = 16
"""Most elements of a float constant that it reads, such as the scales of a resize."""


_PLAIN_VALUES = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}

Constant = tuple[tuple[int, ...], np.ndarray | None]
"""The shape of a constant, and its values if they are few and no texts."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node. ``inputs`` are its own inputs, then the outer tensors that its graphs read, then its unfolded tensors,
    which ``inside`` explains."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inside: Inside | None = None

    def __str__(self) -> str:
        label = self.name or next((name for name in self.outputs if name), "")
        return f"{self.domain + '.' if self.domain else ''}{self.op} {label!r}"


@dataclass(frozen=True, slots=True)
class Axes:
    """An input as the graph declares it. Each axis is a fixed size, a name, or None. ``axes`` None: any rank."""

    name: str
    type: int
    axes: tuple[int | str | None, ...] | None


def read_nodes(graph: onnx.GraphProto, inside: Mapping[str, Inside]) -> list[Node]:
    """The nodes that an output needs, each after those that it reads. ``inside`` has the unfolded part of a node, by
    the node's first output."""
    needed = _list_needed(_sort(graph.node, inside), {output.name for output in graph.output})
    return [_read_node(node, inside) for node in needed]


def list_needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that an output needs, each after those that it reads."""
    return _list_needed(_sort(graph.node, {}), {output.name for output in graph.output})


def _list_needed(nodes: Sequence[tuple[onnx.NodeProto, set[str]]], wanted: set[str]) -> list[onnx.NodeProto]:
    kept: list[onnx.NodeProto] = []
    for node, used in reversed(nodes):
        if wanted.intersection(filter(None, node.output)):
            wanted |= used
            kept.append(node)
    return kept[::-1]


def _sort(nodes: Sequence[onnx.NodeProto], inside: Mapping[str, Inside]) -> list[tuple[onnx.NodeProto, set[str]]]:
    """Each node after those that it reads, with the tensors that it reads.

    ONNX requires that order, but some tools append nodes anyway. Nodes in a circle are left out, and so is what they
    compute.
    """
    waiting = [(node, read_names(node) | _names_inside(node, inside)) for node in nodes]
    ordered: list[tuple[onnx.NodeProto, set[str]]] = []
    made = {name for node in nodes for name in node.output if name}
    while waiting:
        later = []
        for node, used in waiting:
            if used.isdisjoint(made):
                made.difference_update(node.output)
                ordered.append((node, used))
            else:
                later.append((node, used))
        if len(later) == len(waiting):
            break
        waiting = later
    return ordered


def read_names(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, including the outer tensors that its graphs read."""
    return {name for name in node.input if name}.union(*(read_outer(graph) for graph in graphs_of(node)))


def read_outer(graph: onnx.GraphProto) -> set[str]:
    """The tensors that a graph inside a node reads from outside."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own.update(tensor.values.name for tensor in graph.sparse_initializer)
    outer: set[str] = set()
    for node in graph.node:
        outer |= read_names(node) - own
        own.update(node.output)
    return outer | ({output.name for output in graph.output} - own)


def _names_inside(node: onnx.NodeProto, inside: Mapping[str, Inside]) -> set[str]:
    found = _find_inside(node, inside)
    return set() if found is None else set(found.list_names())


def _find_inside(node: onnx.NodeProto, inside: Mapping[str, Inside]) -> Inside | None:
    return next((inside[name] for name in node.output if name in inside), None)


def _read_node(node: onnx.NodeProto, inside: Mapping[str, Inside]) -> Node:
    found = _find_inside(node, inside)
    outer = sorted(set().union(*(read_outer(graph) for graph in graphs_of(node))))
    return Node(
        node.op_type,
        "" if node.domain in OWN_DOMAINS else node.domain,
        node.name,
        (*node.input, *outer, *(found.list_names() if found is not None else ())),
        tuple(node.output),
        {a.name: helper.get_attribute_value(a) for a in node.attribute},
        found,
    )


def read_inputs(graph: onnx.GraphProto) -> list[Axes]:
    """The inputs that a caller must give, which are those without a default."""
    defaults = {tensor.name for tensor in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    return [read_axes(value) for value in graph.input if value.name not in defaults]


def read_axes(value: onnx.ValueInfoProto) -> Axes:
    """An input or output as declared."""
    tensor = value.type.tensor_type
    axes = None
    if tensor.HasField("shape"):
        axes = tuple(_read_axis(dim) for dim in tensor.shape.dim)
    return Axes(value.name, tensor.elem_type, axes)


def _read_axis(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


def read_constants(graph: onnx.GraphProto) -> dict[str, Constant]:
    """The initializers of a graph, by name."""
    constants = {tensor.name: _read_tensor(tensor) for tensor in graph.initializer}
    constants.update((sparse.values.name, _read_sparse(sparse)) for sparse in graph.sparse_initializer)
    return constants


def read_constant(attributes: Mapping[str, Any]) -> Constant:
    """The value of a Constant node, from its attributes. Raises ValueError for an unknown kind."""
    for name, value in attributes.items():
        if name == "value":
            return _read_tensor(value)
        if name == "sparse_value":
            return _read_sparse(value)
        if name in ("value_string", "value_strings"):
            return (len(value),) if name == "value_strings" else (), None
        if name in _PLAIN_VALUES:
            array = np.array(value, _PLAIN_VALUES[name])
            return array.shape, _keep_small(array)
    raise ValueError("expected a constant of a known kind")


def _read_tensor(tensor: onnx.TensorProto) -> Constant:
    return tuple(tensor.dims), read_small(tensor)


def _read_sparse(sparse: onnx.SparseTensorProto) -> Constant:
    """The values of a sparse list; other sparse tensors have none."""
    dims = tuple(sparse.dims)
    values, places = read_small(sparse.values), read_small(sparse.indices)
    if len(dims) != 1 or dims[0] > MOST_KNOWN or values is None or places is None:
        return dims, None
    dense = np.zeros(dims, values.dtype)
    dense[places.reshape(-1)] = values
    return dims, _keep_small(dense)


def read_small(tensor: onnx.TensorProto) -> np.ndarray | None:
    """The values of a small tensor; None for a large one, one in another file, and texts."""
    if math.prod(tensor.dims) > MOST_KNOWN or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    return None if tensor.data_type == onnx.TensorProto.STRING else _keep_small(numpy_helper.to_array(tensor))


def _keep_small(values: np.ndarray) -> np.ndarray | None:
    return values if values.size <= (MOST_KNOWN if values.dtype.kind in "iub" else MOST_FLOATS) else None
