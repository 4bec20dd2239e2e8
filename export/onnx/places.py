"""Makes a graph refuse computed indices that are negative, if PyTorch refuses them.

``embedding``, ``index_select``, ``gather`` and ``scatter`` raise IndexError for negative indices, while ONNX counts
them from the end. So the graph replaces a negative index by one beyond any table, which ONNX Runtime refuses.
``table[ids]`` accepts negative indices and is not changed, nor are indices that are never negative or that the server
checks.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.utils._python_dispatch import TorchDispatchMode

from export.inputs import integer_inputs, to_array
from export.original import Original
from export.spec import GraphSpec
from model_store.rows.graph.inner import every_graph, graphs_of

_PICKING = frozenset({"Gather", "GatherElements", "ScatterElements"})
"""Operators whose second input holds indices."""
_REFUSING = ("embedding", "index_select", "gather", "scatter", "index_add", "index_copy", "index_fill")
"""The PyTorch operators that refuse negative indices."""
_ORIGIN = "pkg.torch.onnx.fx_node"
"""Where the newer exporter records the operator from which a node was made."""
_BEYOND = np.iinfo(np.int64).max

_ALL_VALUES = frozenset({"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Expand"})
"""Operators whose output has all values of their first input."""
_PARTS = frozenset({"Slice", "Gather", "GatherElements", "GatherND", "Split", "Tile", "ReduceMax", "ReduceMin"})
"""Operators whose output has some of them."""
_SOME_VALUES = _ALL_VALUES | _PARTS
_COMPARING = frozenset({"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor", "Not"})
_COUNTING = frozenset({"Shape", "Size", "ArgMax", "ArgMin", "NonZero"})
_NEVER_NEGATIVE = _COMPARING | _COUNTING | {"Abs", "Relu", "Sigmoid", "Softmax", "Exp", "Sqrt"}


def refuse_negative_places(original: Original, model: onnx.ModelProto) -> None:
    """Change an exporter's graph so that ONNX Runtime refuses the indices that PyTorch refuses."""
    known = _Known(original.spec, model.graph)
    notes_origin = any(entry.key == _ORIGIN for node in model.graph.node for entry in node.metadata_props)
    takes_negative = not notes_origin and _picks_with_negative(original)
    for graph in every_graph(model.graph):
        guards: dict[str, str] = {}
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            if _refuses(node, notes_origin, takes_negative) and known.may_be_negative(node.input[1]):
                if node.input[1] not in guards:
                    guards[node.input[1]] = f"{node.output[0]}_place"
                    nodes += _make_guard(node.input[1], guards[node.input[1]])
                node.input[1] = guards[node.input[1]]
            nodes.append(node)
        if guards:
            del graph.node[:]
            graph.node.extend(nodes)


def _refuses(node: onnx.NodeProto, notes_origin: bool, takes_negative: bool) -> bool:
    """Whether PyTorch refuses negative indices at this node. The older exporter does not record a Gather's origin."""
    if node.op_type not in _PICKING:
        return False
    if not notes_origin:
        return node.op_type != "Gather" or not takes_negative
    origin = next((entry.value for entry in node.metadata_props if entry.key == _ORIGIN), "")
    target = origin.partition("target=torch.ops.aten.")[2].partition(".")[0]
    return target.startswith(_REFUSING)


def _make_guard(places: str, guarded: str) -> Iterator[onnx.NodeProto]:
    zero, beyond, whole, negative = (f"{guarded}_{part}" for part in ("zero", "beyond", "whole", "negative"))
    for name, value in ((zero, 0), (beyond, _BEYOND)):
        yield helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.int64)))
    yield helper.make_node("Cast", [places], [whole], to=onnx.TensorProto.INT64)
    yield helper.make_node("Less", [whole, zero], [negative])
    yield helper.make_node("Where", [negative, beyond, whole], [guarded])


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records whether ``table[ids]`` is used, so that an index may count from the end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: bool = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found |= func is torch.ops.aten.index.Tensor
        return func(*args, **(kwargs or {}))


def _picks_with_negative(original: Original) -> bool:
    with original.evaluating(), _Watch() as watch:
        original.run_example()
    return bool(watch.found)


class _Known:
    """What is known about the numbers in a graph before it runs."""

    def __init__(self, spec: GraphSpec, graph: onnx.GraphProto) -> None:
        self._searched = set(integer_inputs(spec))
        """Inputs, and tensors with all their values plus a constant: a search finds the least number that PyTorch
        accepts there."""
        self._least: dict[str, float] = {}
        self._largest_of_constants: dict[str, float] = {}
        self._fixed: set[str] = set()
        """Tensors that depend on no input. The original ran with the same values, and exporters may themselves write
        indices that count from the end."""
        for name, tensor in spec.inputs.items():
            if to_array(tensor).dtype.kind in "ub":
                self._least[name] = 0
        self._least |= {name: least for name, (least, _) in spec.ranges.items()}
        self._least |= {name: max(1, self._least.get(name, 1)) for name in spec.padded.values()}
        self._follow(graph)

    def may_be_negative(self, name: str) -> bool:
        return name not in self._searched and name not in self._fixed and self._least.get(name, -math.inf) < 0

    def _follow(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self._fixed.add(tensor.name)
            self._read(tensor.name, tensor)
        for node in graph.node:
            for inner in graphs_of(node):
                self._follow(inner)
            if node.op_type == "Constant":
                self._fixed.update(node.output)
                self._read_constant(node)
                continue
            if node.input and self._fixed.issuperset(filter(None, node.input)) and not list(graphs_of(node)):
                self._fixed.update(node.output)
            if self._keeps_search(node):
                self._searched.update(node.output)
            least = self._find_least(node)
            whole = math.floor(least) if least is not None and math.isfinite(least) else -math.inf
            for name in node.output:  # two branches may use one name for different tensors
                self._least[name] = min(whole, self._least.get(name, math.inf))

    def _read(self, name: str, tensor: onnx.TensorProto) -> None:
        if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32) or math.prod(tensor.dims) == 1:
            self._learn(name, numpy_helper.to_array(tensor))

    def _read_constant(self, node: onnx.NodeProto) -> None:
        value = helper.get_attribute_value(node.attribute[0])
        if isinstance(value, onnx.TensorProto):
            self._read(node.output[0], value)
        elif node.attribute[0].name in ("value_int", "value_ints", "value_float", "value_floats"):
            self._learn(node.output[0], np.asarray(value))

    def _learn(self, name: str, array: np.ndarray) -> None:
        if array.size and array.dtype.kind in "iuf":
            self._least[name], self._largest_of_constants[name] = float(array.min()), float(array.max())

    def _keeps_search(self, node: onnx.NodeProto) -> bool:
        if node.op_type in _ALL_VALUES:
            return node.input[0] in self._searched and _is_whole(node)
        if node.op_type not in ("Add", "Sub"):
            return False
        values, number = node.input
        if node.op_type == "Add" and values in self._largest_of_constants:
            values, number = number, values
        return values in self._searched and self._is_single(number)

    def _is_single(self, name: str) -> bool:
        return name in self._largest_of_constants and self._least[name] == self._largest_of_constants[name]

    def _find_least(self, node: onnx.NodeProto) -> float | None:
        """The least number of the outputs, if known."""
        kind = node.op_type
        if kind in _NEVER_NEGATIVE:
            return 0
        given = [self._least.get(name, -math.inf) for name in node.input]
        most = [self._largest_of_constants.get(name, math.inf) for name in node.input]
        if kind in _SOME_VALUES or kind in ("Floor", "Ceil", "Round", "Range"):
            return given[0] if kind != "Range" or given[2] > 0 else None
        if kind in ("Concat", "Min"):
            return min(given)
        if kind == "Max":
            return max(given)
        if kind == "Clip":
            return max(given[:2])
        if kind == "Where":
            return min(given[1:])
        if kind == "Add":
            return sum(given)
        if kind == "Sub":
            return given[0] - most[1]
        if kind == "Mod":
            return 0 if given[1] > 0 and not any(attribute.name == "fmod" for attribute in node.attribute) else None
        if kind in ("Mul", "Div", "CumSum", "ReduceSum"):
            both = given[:2] if kind in ("Mul", "Div") else given[:1]
            return 0 if min(both) >= 0 else None
        return None


def _is_whole(node: onnx.NodeProto) -> bool:
    """Whether a node that is a cast keeps all digits of integers."""
    to: Mapping[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
    return node.op_type != "Cast" or to["to"] in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
