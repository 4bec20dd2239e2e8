"""The operators of an ONNX model, and whether ONNX Runtime survives tensors without elements in them.

Some of its kernels end the process on an empty axis, and with it the requests of everybody: they divide by a size, or
fail where no error can be raised. A process that has ended says nothing, so what is known was tried beforehand, each in
a process of its own: every axis emptied in all 1,731 cases of the ONNX operators' own tests and in 324 graphs besides
(ONNX Runtime 1.32.0, CPU). ``tests/support/models/emptying.py`` tries the former again. Other domains have more such
kernels, and not all of them were tried.
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
"""Those of ONNX itself that do not survive an empty axis. ``RNN`` did, and is one with the first two in its code; of
``Conv`` it is an empty kernel that never comes back, and nobody misses an empty picture."""


class Operator(NamedTuple):
    domain: str
    name: str

    def __str__(self) -> str:
        return f"{self.domain}.{self.name}" if self.domain else self.name


def find_fragile(content: bytes) -> str | None:
    """What in a graph may not survive a tensor without elements, for messages; None if everything does."""
    try:
        model = strip_weights(content)[0]
    except Exception:  # noqa: BLE001  # the parser raises several types
        return "a file that is not in ONNX's own format"
    return find_fragile_operator(model)


def find_fragile_operator(model: onnx.ModelProto) -> str | None:
    """As ``find_fragile``, of a model that is parsed already."""
    for operator in read_operators(model):
        if operator.name in FRAGILE or operator.domain not in OWN_DOMAINS:
            return str(operator)
    return None


def read_operators(model: onnx.ModelProto) -> Iterator[Operator]:
    """The operator of each node, in the graphs inside of nodes and in functions too."""
    for graph in (model.graph, *model.functions):
        for node in every_node(graph.node):
            yield Operator(node.domain, node.op_type)
