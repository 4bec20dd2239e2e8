"""Puts a node into a graph that lets rows meet, or lets them depend on their number."""

from collections.abc import Mapping

import onnx
from onnx import helper

from tests.support.models.text import parse

_FLOATS = (
    "Add", "Sub", "Mul", "Div", "MatMul", "Gemm", "Conv", "ConvTranspose", "Relu", "Gelu", "Erf", "Tanh", "Sigmoid",
    "LayerNormalization", "BatchNormalization", "Softmax", "Reshape", "Transpose", "Concat", "Split", "Slice", "Where",
    "LSTM", "GRU", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Unsqueeze", "Squeeze", "Flatten", "Clip",
)  # fmt: skip
"""Operators behind which floats that depend on the rows may lie."""

MIXERS = {
    "mean": "m = $MEAN y = Add(x, m)",
    "softmax": "m = Softmax<axis=0>(x) y = Mul(x, m)",
    "reversed": f"m = Slice(x, [-1], [{-(2**63)}], [0], [-1]) y = Add(x, m)",
    "first row": "m = Gather(x, [0]) y = Add(x, m)",
    "running sum": "y = CumSum(x, 0)",
    "number of rows": "s = Shape(given) n = Gather(s, 0) m = Cast<to=1>(n) y = Mul(x, m)",
    "greatest": "m = ReduceMax<keepdims=0>(x) y = Add(x, m)",
}
"""Nodes that let rows of ``x`` meet, or that multiply by their number; ``given`` is an input of the graph."""


def find_places(model: onnx.ModelProto) -> list[str]:
    """Tensors behind which a node may be put."""
    return [name for node in model.graph.node if node.op_type in _FLOATS for name in node.output if name]


def mix(model: onnx.ModelProto, place: str, mixer: str) -> onnx.ModelProto:
    """A copy of the model, in which all that read the tensor ``place`` read it mixed."""
    mixed = onnx.ModelProto()
    mixed.CopyFrom(model)
    graph = mixed.graph
    opset = next(entry.version for entry in mixed.opset_import if entry.domain in ("", "ai.onnx"))
    at = next(at for at, node in enumerate(graph.node) if place in node.output)
    for node in graph.node:  # renames the tensor where it is made, so that its readers read the mixed one
        node.output[:] = ["before_mixing" if name == place else name for name in node.output]
    nodes = _write(mixer, {"x": "before_mixing", "y": place, "given": graph.input[0].name}, opset)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*rest[: at + 1], *nodes, *rest[at + 1 :]])
    return mixed


def _write(mixer: str, names: Mapping[str, str], opset: int) -> list[onnx.NodeProto]:
    """The nodes of a mixer, constants among them, under names that no file has."""
    mean = "ReduceMean<axes=[0], keepdims=1>(x)" if opset < 18 else "ReduceMean<keepdims=1>(x, [0])"
    text = MIXERS[mixer].replace("$MEAN", mean)
    made = parse("float[N] x, float[N] given => float[N] y", text, {}, {"": opset})
    constants = [helper.make_node("Constant", [], [value.name], value=value) for value in made.graph.initializer]
    nodes = [*constants, *made.graph.node]
    for node in nodes:
        node.input[:] = [names.get(name, f"mixing_{name}") for name in node.input]
        node.output[:] = [names.get(name, f"mixing_{name}") for name in node.output]
    return nodes
