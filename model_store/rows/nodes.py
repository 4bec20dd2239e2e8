"""An ONNX model as the analysis reads it: its nodes in order, without those that no output needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OWN_DOMAINS = ("", "ai.onnx")
MOST_KNOWN = 1024
"""Elements of a constant whose values the analysis looks at."""


@dataclass(frozen=True, slots=True)
class Node:
    """``inputs`` are those of the node, then what its own graphs read from outside of them. ``guard`` is the tensor
    whose truth led here, where the node stood in the branch of an If."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    guard: str = ""

    def __str__(self) -> str:
        label = self.name or next((name for name in self.outputs if name), "")
        return f"{self.domain + '.' if self.domain else ''}{self.op} {label!r}"


@dataclass(frozen=True, slots=True)
class Axes:
    """An input as the graph declares it. Each axis is a fixed size, a name, or None; ``axes`` is None for any rank."""

    name: str
    type: int
    axes: tuple[int | str | None, ...] | None


def read_nodes(graph: onnx.GraphProto, guards: Mapping[str, str]) -> list[Node]:
    """The nodes that an output needs, each after those that it reads. ``guards`` has the guard of a node by output."""
    wanted = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node, used in reversed(_sort(graph.node, guards)):
        if wanted.intersection(filter(None, node.output)):
            wanted |= used
            kept.append(node)
    return [_read_node(node, guards) for node in reversed(kept)]


def _sort(nodes: Sequence[onnx.NodeProto], guards: Mapping[str, str]) -> list[tuple[onnx.NodeProto, set[str]]]:
    """Each node after those that it reads and after its guard, with the tensors that it reads.

    ONNX asks for that order, and some tools append nodes all the same. Nodes that read each other in a circle are left
    out, and with them what they make.
    """
    waiting = [(node, _names_used(node) | {guards[name] for name in node.output if name in guards}) for node in nodes]
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


def _names_used(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, those that its own graphs read from outside too."""
    return {name for name in node.input if name}.union(*(read_outer(graph) for graph in _graphs_of(node)))


def read_outer(graph: onnx.GraphProto) -> set[str]:
    """The tensors that a graph inside a node reads from outside of it."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own.update(tensor.values.name for tensor in graph.sparse_initializer)
    outer: set[str] = set()
    for node in graph.node:
        outer |= _names_used(node) - own
        own.update(node.output)
    return outer | ({output.name for output in graph.output} - own)


def _graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def _read_node(node: onnx.NodeProto, guards: Mapping[str, str]) -> Node:
    outer = sorted(set().union(*(read_outer(graph) for graph in _graphs_of(node))))
    return Node(
        node.op_type,
        "" if node.domain in OWN_DOMAINS else node.domain,
        node.name,
        (*node.input, *outer),
        tuple(node.output),
        {a.name: helper.get_attribute_value(a) for a in node.attribute},
        next((guards[name] for name in node.output if name in guards), ""),
    )


def read_inputs(graph: onnx.GraphProto) -> list[Axes]:
    """The inputs that a caller must give: those without a default."""
    defaults = {tensor.name for tensor in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    return [read_axes(value) for value in graph.input if value.name not in defaults]


def read_axes(value: onnx.ValueInfoProto) -> Axes:
    """An input or output as it is declared."""
    tensor = value.type.tensor_type
    axes = None
    if tensor.HasField("shape"):
        axes = tuple(_read_axis(dim) for dim in tensor.shape.dim)
    return Axes(value.name, tensor.elem_type, axes)


def _read_axis(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None


def read_constants(graph: onnx.GraphProto) -> dict[str, tuple[tuple[int, ...], np.ndarray | None]]:
    """Shape of each initializer, and its values where they are small whole numbers or truth values."""
    constants: dict[str, tuple[tuple[int, ...], np.ndarray | None]] = {}
    for tensor in graph.initializer:
        constants[tensor.name] = (tuple(tensor.dims), read_small(tensor))
    for sparse in graph.sparse_initializer:
        constants[sparse.values.name] = (tuple(sparse.dims), None)
    return constants


def read_small(tensor: onnx.TensorProto) -> np.ndarray | None:
    """The values of a small tensor; None for a large one, for one in another file, and for texts."""
    count = int(np.prod(tensor.dims)) if tensor.dims else 1
    if count > MOST_KNOWN or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    if tensor.data_type == onnx.TensorProto.STRING:
        return None
    return numpy_helper.to_array(tensor)


def flatten_branches(model: onnx.ModelProto, taken: Mapping[str, bool]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The model with each If whose condition is in ``taken`` replaced by the nodes of that branch.

    Also returns the guards: by the first output of each node that came out of a branch, the name of its condition.
    """
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    guards: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(model.graph.node):
        if node.op_type != "If" or node.input[0] not in taken:
            nodes.append(node)
            continue
        branch = "then_branch" if taken[node.input[0]] else "else_branch"
        graph = next(a.g for a in node.attribute if a.name == branch)
        inside = _rename(graph, f"{branch}{number}/")
        flat.graph.initializer.extend(inside.initializer)
        nodes.extend(inside.node)
        results = [
            helper.make_node("Identity", [o.name], [name]) for o, name in zip(inside.output, node.output, strict=True)
        ]
        nodes.extend(results)
        for made in (*inside.node, *results):
            for name in made.output:
                guards[name] = node.input[0]
    del flat.graph.node[:]
    flat.graph.node.extend(nodes)
    return flat, guards


def _rename(graph: onnx.GraphProto, prefix: str) -> onnx.GraphProto:
    """The graph with a prefix to each name that it defines, so that both branches may use one name."""
    renamed = onnx.GraphProto()
    renamed.CopyFrom(graph)
    own = {name for node in graph.node for name in node.output if name} | {t.name for t in graph.initializer}
    names = {name: prefix + name for name in own}
    for tensor in renamed.initializer:
        tensor.name = names[tensor.name]
    _rename_nodes(renamed.node, names)
    for output in renamed.output:
        output.name = names.get(output.name, output.name)
    return renamed


def _rename_nodes(nodes: Sequence[onnx.NodeProto], names: Mapping[str, str]) -> None:
    for node in nodes:
        for places in (node.input, node.output):
            for at, name in enumerate(places):
                places[at] = names.get(name, name)
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _rename_nodes(graph.node, names)
                for output in graph.output:
                    output.name = names.get(output.name, output.name)
