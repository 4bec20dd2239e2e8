"""Walks the graphs inside nodes, such as the branches of an If, at every depth."""

from collections.abc import Iterable, Iterator

import onnx


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs of a node: its branches or its body."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def every_graph(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside it, at every depth."""
    yield graph
    for node in graph.node:
        for inner in graphs_of(node):
            yield from every_graph(inner)


def every_node(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Each node, followed by the nodes inside it, at every depth."""
    for node in nodes:
        yield node
        for inner in graphs_of(node):
            yield from every_node(inner.node)
