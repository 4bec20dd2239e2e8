"""Replaces integer divisions that may crash the process.

The least INT32 or INT64 divided by -1 does not fit its type. The processor traps, and ONNX Runtime 1.32 crashes. With
other nodes around the division, the result is the least number again, as in NumPy, PyTorch and smaller types:

    negative = Equal(b, -1)
    quotient = Div(a, Where(negative, Abs(b), b))
    y = Where(negative, Mul(quotient, b), quotient)

Division by zero remains an error of the run. Not replaced: divisions by constants without -1, of constants without the
least number, of and by sizes (which are not negative), and those whose type ONNX does not infer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.shape_inference
from onnx import TensorProto, helper, numpy_helper

from model_store.rows.graph.functions import write_out_functions
from model_store.rows.graph.inner import graphs_of
from model_store.rows.graph.nodes import OWN_DOMAINS
from model_store.rows.graph.weights import strip_weights

_LEAST: dict[int, int] = {TensorProto.INT32: -(2**31), TensorProto.INT64: -(2**63)}
"""The least number of each type whose division may trap."""
_LEAST_OPSET = 9
"""``Where`` exists since this version."""
_COUNTING = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin"})
"""Operators whose results are not negative."""
_MOVING = frozenset(
    {"Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Transpose", "Flatten", "Expand"}
)
"""Operators that only move elements of their first input."""


def with_safe_division(content: bytes) -> bytes:
    """The ONNX file with safe nodes in place of divisions that may crash; unchanged if there are none."""
    if b"Div" not in content:
        return content
    try:
        model = strip_weights(content)[0]
        if not any(each.version >= _LEAST_OPSET for each in model.opset_import if each.domain in OWN_DOMAINS):
            return content
        is_whole = bool(model.functions)
        if is_whole:  # their types depend on the caller
            model = write_out_functions(onnx.load_model_from_string(content))
        types = list(_choose(onnx.shape_inference.infer_shapes(model).graph, _Scope()))
        if not any(types):
            return content
        whole = model if is_whole else onnx.load_model_from_string(content)
        _replace(whole.graph, iter(types))
        return bytes(whole.SerializeToString())
    except Exception:  # noqa: BLE001  # parser and inference raise many types; ONNX Runtime will report the fault
        return content


@dataclass
class _Scope:
    """What is known about the tensors that a graph sees: their types, constants, and which are not negative."""

    types: dict[str, int] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    counts: set[str] = field(default_factory=set)

    def enter(self, graph: onnx.GraphProto) -> "_Scope":
        """The scope of a graph inside a node."""
        inner = _Scope(dict(self.types), dict(self.constants), set(self.counts))
        for value in (*graph.input, *graph.output, *graph.value_info):
            inner.types[value.name] = value.type.tensor_type.elem_type
        for value in graph.input:
            inner.hide(value.name)
        given = {value.name for value in graph.input}
        for tensor in graph.initializer:
            inner.types[tensor.name] = tensor.data_type
            if tensor.name not in given:  # otherwise a caller may pass another value
                inner.hide(tensor.name)
                inner.note_constant(tensor.name, tensor)
        return inner

    def hide(self, name: str) -> None:
        """From here on, the name means another tensor."""
        self.constants.pop(name, None)
        self.counts.discard(name)

    def note_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        if tensor.data_type in _LEAST and tensor.data_location != TensorProto.EXTERNAL:
            self.constants[name] = numpy_helper.to_array(tensor)

    def note(self, node: onnx.NodeProto) -> None:
        """Record the outputs of a node."""
        for name in node.output:
            self.hide(name)
        if node.domain not in OWN_DOMAINS or not node.output:
            return
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    self.note_constant(node.output[0], attribute.t)
                elif attribute.name in ("value_int", "value_ints"):
                    value = attribute.i if attribute.name == "value_int" else list(attribute.ints)
                    self.constants[node.output[0]] = np.array(value, np.int64)
        elif (
            node.op_type in _COUNTING
            or (node.op_type in _MOVING and self.is_count(node.input[0]))
            or (node.op_type == "Concat" and all(map(self.is_count, node.input)))
        ):
            self.counts.add(node.output[0])

    def is_count(self, name: str) -> bool:
        """Whether a tensor has no negative elements."""
        constant = self.constants.get(name)
        return name in self.counts or (constant is not None and bool((constant >= 0).all()))

    def find_trap(self, node: onnx.NodeProto) -> int:
        """ONNX's number for the type of a division that may crash; 0 for other nodes."""
        dividend, divisor = node.input
        type_ = self.types.get(divisor, 0) or self.types.get(dividend, 0)
        if type_ not in _LEAST or self.is_count(dividend) or self.is_count(divisor):
            return 0
        by, of = self.constants.get(divisor), self.constants.get(dividend)
        if (by is not None and -1 not in by) or (of is not None and _LEAST[type_] not in of):
            return 0
        return type_


def _choose(graph: onnx.GraphProto, outer: _Scope) -> Iterator[int]:
    """For each division in a graph and the graphs inside its nodes: its type if it may crash, else 0."""
    scope = outer.enter(graph)
    for node in graph.node:
        for inner in graphs_of(node):
            yield from _choose(inner, scope)
        if _is_division(node):
            yield scope.find_trap(node)
        scope.note(node)


def _replace(graph: onnx.GraphProto, types: Iterator[int]) -> None:
    """Replace those divisions whose type is not 0. ``types`` has the same order as the divisions."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in graphs_of(node):
            _replace(inner, types)
        type_ = next(types) if _is_division(node) else 0
        if type_:
            nodes += _write_safe(node, type_)
        else:
            nodes.append(node)
    kept = onnx.GraphProto()
    kept.node.extend(nodes)
    del graph.node[:]
    graph.node.extend(kept.node)


def _is_division(node: onnx.NodeProto) -> bool:
    return node.op_type == "Div" and node.domain in OWN_DOMAINS and len(node.input) == 2 and len(node.output) == 1


def _write_safe(node: onnx.NodeProto, type_: int) -> list[onnx.NodeProto]:
    dividend, divisor = node.input
    [output] = node.output
    minus_one, is_negative, size, safe, quotient, negated = (
        f"{output}/division/{what}" for what in ("minus_one", "is_minus_one", "size", "divisor", "quotient", "negated")
    )
    value = helper.make_tensor("", type_, [], [-1])
    return [
        helper.make_node("Constant", [], [minus_one], value=value),
        helper.make_node("Equal", [divisor, minus_one], [is_negative]),
        helper.make_node("Abs", [divisor], [size]),
        helper.make_node("Where", [is_negative, size, divisor], [safe]),
        helper.make_node("Div", [dividend, safe], [quotient], name=node.name),
        helper.make_node("Mul", [quotient, divisor], [negated]),
        helper.make_node("Where", [is_negative, negated, quotient], [output]),
    ]
