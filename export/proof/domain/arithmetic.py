"""Finds integers that a graph computes as floats, which lose digits, and suggests other code."""

from collections.abc import Iterator, Mapping

import onnx

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_INSTEAD: Mapping[str, str] = {
    "Div": "division: write a // b, or a >> k for powers of two, instead of torch.div(..., rounding_mode=...)",
    "Mod": "remainder: write a - (a // b) * b",
    "Mul": "product: multiply as integers, or in float64 with .double()",
    "ReduceMean": "mean: write .double().mean(...)",
    "ReduceSum": "sum: add as integers, or in float64 with .double()",
    "Add": "sum: add as integers, or in float64 with .double()",
    "Sub": "difference: subtract as integers, or in float64 with .double()",
    "Pow": "power: multiply as integers",
}
_OTHERWISE = "compute with integers, or in float64 with .double(): float32 holds 24 bits"


def advise_on_integers(content: bytes) -> str:
    """Name the operator that treats integers as floats, and the code to write instead."""
    model = onnx.load_model_from_string(content)
    for node in _follow_casts(model.graph):
        if node.op_type in _INSTEAD:
            return f"{node.op_type} takes them as float32, which holds 24 bits, for a {_INSTEAD[node.op_type]}"
    return _OTHERWISE


def _follow_casts(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes that use an integer input cast to a float, in the order of the graph."""
    wholes = {
        value.name
        for value in graph.input
        if onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).kind in "iu"
    }
    floats: set[str] = set()
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in wholes:
            to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
            (floats if to in _FLOATS else wholes).update(node.output)
        elif floats.intersection(node.input):
            floats.update(node.output)
            yield node
        elif wholes.intersection(node.input):
            wholes.update(node.output)
