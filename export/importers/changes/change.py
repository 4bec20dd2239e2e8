"""A change: operators that are added to a graph, and the same computation in NumPy."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import onnx

from export.errors import ExportError

Arrays = Mapping[str, np.ndarray]


class Change(Protocol):
    """One change of a graph, by standard ONNX operators. A change must work for any number of rows.

    ``str(change)`` describes it in words. ``apply`` adds the operators to the model, in place, and raises ExportError
    if it does not fit. ``expect`` computes the outputs after the change by NumPy, from the inputs and the outputs
    before it. The import runs both and compares them, so ``expect`` must not share code with ``apply``. A change that
    orders or picks by scores has ``sorts = True``.
    """

    def apply(self, model: onnx.ModelProto) -> None: ...
    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]: ...


@runtime_checkable
class InputChange(Change, Protocol):
    """A change after which the graph has fewer or other inputs."""

    def restore(self, inputs: Arrays) -> Arrays:
        """The inputs of the graph before the change, from those after it."""
        ...


def sorts(change: Change) -> bool:
    """Whether a change orders or picks by scores, so that rounding may exchange two of them."""
    return bool(getattr(change, "sorts", False))


def apply_all(content: bytes, changes: Iterable[Change]) -> bytes:
    """The graph with all changes, in their order. Raises ExportError."""
    model = onnx.load_model_from_string(content)
    for change in changes:
        change.apply(model)
    changed: bytes = model.SerializeToString()
    return changed


def find_output(graph: onnx.GraphProto, name: str) -> onnx.ValueInfoProto:
    """The output of this name. Raises ExportError."""
    found: onnx.ValueInfoProto | None = next((output for output in graph.output if output.name == name), None)
    if found is None:
        raise ExportError(f"there is no output {name!r}, only {', '.join(output.name for output in graph.output)}")
    return found


def replace_output(
    graph: onnx.GraphProto, old: str, new: str, shape: Iterable[int | str | None], kind: int | None = None
) -> None:
    """Replace the output ``old`` by ``new``, which a node computes.

    Its datatype is that of ``old`` if ``kind`` is None.
    """
    place = next(number for number, output in enumerate(graph.output) if output.name == old)
    datatype = graph.output[place].type.tensor_type.elem_type if kind is None else kind
    graph.output[place].CopyFrom(onnx.helper.make_tensor_value_info(new, datatype, list(shape)))


def add_output(graph: onnx.GraphProto, name: str, kind: int, shape: Iterable[int | str | None]) -> None:
    graph.output.append(onnx.helper.make_tensor_value_info(name, kind, list(shape)))


def dims_of(value: onnx.ValueInfoProto) -> list[int | str | None]:
    """The declared axes: sizes, names, or None."""
    return [
        axis.dim_value if axis.HasField("dim_value") else (axis.dim_param or None)
        for axis in value.type.tensor_type.shape.dim
    ]


def free_name(graph: onnx.GraphProto, wanted: str) -> str:
    """``wanted``, or that with a number if the graph already has a tensor of this name."""
    taken = {value.name for value in (*graph.input, *graph.initializer)}
    taken |= {made for node in graph.node for made in node.output}
    number = 2
    name = wanted
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def rename_tensor(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor in all nodes. A tensor that had the new name gets another. Declared inputs and outputs stay."""
    if old == new:
        return
    names = {old: new, new: free_name(graph, f"{new}_inner")}
    for node in graph.node:
        for used in (node.input, node.output):
            for place, name in enumerate(used):
                used[place] = names.get(name, name)


def add_constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> str:
    """Add a constant and return its name, which begins with ``name``."""
    called = free_name(graph, name)
    graph.initializer.append(onnx.numpy_helper.from_array(value, called))
    return called


def add_node(graph: onnx.GraphProto, kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
    """Add a node with one output, whose name begins with ``output``, and return that name."""
    called = free_name(graph, output)
    graph.node.append(onnx.helper.make_node(kind, list(inputs), [called], **attributes))
    return called


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
