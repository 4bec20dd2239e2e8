"""The operators of an ONNX model, and which of them crash ONNX Runtime on tensors without elements.

Some kernels crash the process on an empty axis. The list was found by trial: every axis was emptied in all 1,731 cases
of ONNX's operator tests and in 324 other graphs, each in a process of its own (ONNX Runtime 1.32.0, CPU).
``tests/support/models/emptying.py`` repeats the first part. Other domains have more such kernels, not all of which were
tried.
"""

from collections.abc import Iterator
from typing import NamedTuple

import onnx

from model_store.rows.graph.inner import every_node
from model_store.rows.graph.nodes import OWN_DOMAINS
from model_store.rows.graph.weights import strip_weights

FRAGILE = frozenset(
    {"LSTM", "GRU", "RNN", "Unique", "ConvTranspose", "STFT", "Einsum", "Conv", "Scan", "InstanceNormalization"}
)
"""ONNX's own operators that crash on an empty axis. ``RNN`` did not, but shares code with the first two. ``Conv`` hangs
on an empty kernel."""


class Operator(NamedTuple):
    domain: str
    name: str

    def __str__(self) -> str:
        return f"{self.domain}.{self.name}" if self.domain else self.name


def find_fragile(content: bytes) -> str | None:
    """The operator that may crash on a tensor without elements, for messages; None if there is none."""
    try:
        model = strip_weights(content)[0]
    except Exception:  # noqa: BLE001  # the parser raises several types
        return "a file that is not in ONNX's own format"
    return find_fragile_operator(model)


def find_fragile_operator(model: onnx.ModelProto) -> str | None:
    """As ``find_fragile``, for a parsed model."""
    for operator in read_operators(model):
        if operator.name in FRAGILE or operator.domain not in OWN_DOMAINS:
            return str(operator)
    return None


def read_operators(model: onnx.ModelProto) -> Iterator[Operator]:
    """The operator of each node, including the graphs inside nodes and functions."""
    for graph in (model.graph, *model.functions):
        for node in every_node(graph.node):
            yield Operator(node.domain, node.op_type)
