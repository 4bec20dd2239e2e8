"""Changes of shape: vectors without axes of size 1, one vector of many, a batch axis, fewer outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx

from export.errors import ExportError
from export.importers.changes.change import (
    Arrays,
    add_constant,
    dims_of,
    find_output,
    free_name,
    opset_of,
    rename_tensor,
    replace_output,
)


@dataclass(frozen=True)
class FlattenRows:
    """[batch, size, 1, 1] becomes [batch, size]."""

    output: str
    new: str

    def __str__(self) -> str:
        return f"{self.new!r}: {self.output!r} without its axes of size 1"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        size = prod(axis for axis in dims_of(find_output(graph, self.output))[1:] if isinstance(axis, int))
        shape = add_constant(graph, f"{self.new}_shape", np.array([-1, size]))
        graph.node.append(onnx.helper.make_node("Reshape", [self.output, shape], [self.new]))
        rows = dims_of(find_output(graph, self.output))[0]
        replace_output(graph, self.output, self.new, [rows, size])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        rows = kept.pop(self.output)
        return {**kept, self.new: rows.reshape(len(rows), -1)}


@dataclass(frozen=True)
class PoolPlaces:
    """[batch, places, size] becomes [batch, size]: the first place, or the mean of all places."""

    output: str
    new: str
    takes_mean: bool

    def __str__(self) -> str:
        return f"{self.new!r}: the {'mean of all places' if self.takes_mean else 'first place'} of {self.output!r}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        rows, _, size = dims_of(find_output(graph, self.output))
        if self.takes_mean:
            add_reduction(model, "ReduceMean", self.output, self.new, 1)
        else:
            first = add_constant(graph, f"{self.new}_first", np.array(0))
            graph.node.append(onnx.helper.make_node("Gather", [self.output, first], [self.new], axis=1))
        replace_output(graph, self.output, self.new, [rows, size])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        kept = dict(outputs)
        rows = kept.pop(self.output)
        pooled = rows.astype(np.float64).mean(1).astype(rows.dtype) if self.takes_mean else rows[:, 0]
        return {**kept, self.new: pooled}


def add_reduction(model: onnx.ModelProto, kind: str, given: str, output: str, axis: int) -> None:
    """Add a reduction over one axis, without keeping it."""
    _add_along(model, kind, given, output, axis, keepdims=0)


def add_axis(model: onnx.ModelProto, given: str, output: str, axis: int) -> None:
    """Add an axis of size 1."""
    _add_along(model, "Unsqueeze", given, output, axis)


def _add_along(model: onnx.ModelProto, kind: str, given: str, output: str, axis: int, **attributes: Any) -> None:
    """Add a node whose axis is an input in newer opsets, and an attribute in older ones."""
    graph = model.graph
    if opset_of(model) >= _AXES_AS_INPUT.get(kind, _OTHER_AXES_AS_INPUT):
        axes = add_constant(graph, f"{output}_axes", np.array([axis]))
        graph.node.append(onnx.helper.make_node(kind, [given, axes], [output], **attributes))
    else:
        graph.node.append(onnx.helper.make_node(kind, [given], [output], axes=[axis], **attributes))


_AXES_AS_INPUT = {"Unsqueeze": 13, "ReduceSum": 13}
_OTHER_AXES_AS_INPUT = 18
"""The first opset in which the axes are an input."""


@dataclass(frozen=True)
class AddBatchAxis:
    """Outputs of a graph for one row get the batch axis that they lack: [n, 4] becomes [1, n, 4]."""

    outputs: Sequence[str]

    def __str__(self) -> str:
        return f"a batch axis of one row in front of {', '.join(map(repr, self.outputs))}"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        for name in self.outputs:
            axes = dims_of(find_output(graph, name))
            if name in {value.name for value in (*graph.input, *graph.initializer)}:
                raise ExportError(
                    f"output {name!r} is an input or a constant itself: expected an output that a node makes"
                )
            inner = free_name(graph, f"{name}_inner")
            rename_tensor(graph, name, inner)
            add_axis(model, inner, name, 0)
            replace_output(graph, name, name, [1, *axes])

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return {name: array[None] if name in self.outputs else array for name, array in outputs.items()}


@dataclass(frozen=True)
class KeepOutputs:
    """Only these outputs remain. What only the others need is no longer computed."""

    outputs: Sequence[str]
    removed: Sequence[str]

    def __str__(self) -> str:
        return f"without the outputs {', '.join(map(repr, self.removed))}, which the task does not need"

    def apply(self, model: onnx.ModelProto) -> None:
        for name in self.removed:
            model.graph.output.remove(find_output(model.graph, name))

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return {name: outputs[name] for name in outputs if name not in self.removed}


@dataclass(frozen=True)
class FillMask:
    """A mask [batch, height, width] that marks padding is no longer an input: it becomes 1 everywhere.

    It has the size that the graph declares, or the size of the picture ``image``, [batch, channels, height, width].
    """

    mask: str
    image: str
    size: tuple[int, int] | None
    dtype: str = "int64"

    def __str__(self) -> str:
        return f"the input {self.mask!r} is 1 everywhere, because pictures have no padding"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.input.remove(next(value for value in graph.input if value.name == self.mask))
        taken = add_constant(graph, "mask_axes", np.array([0] if self.size else [0, 2, 3]))
        nodes = [
            onnx.helper.make_node("Shape", [self.image], ["mask_picture"]),
            onnx.helper.make_node("Gather", ["mask_picture", taken], ["mask_shape"], axis=0),
        ]
        shape = "mask_shape"
        if self.size:
            sides = add_constant(graph, "mask_sides", np.array(self.size))
            nodes.append(onnx.helper.make_node("Concat", [shape, sides], ["mask_whole"], axis=0))
            shape = "mask_whole"
        one = onnx.numpy_helper.from_array(np.ones(1, self.dtype), "one")
        nodes.append(onnx.helper.make_node("ConstantOfShape", [shape], [self.mask], value=one))
        before = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, *before])

    def restore(self, inputs: Arrays) -> Arrays:
        rows, _, height, width = inputs[self.image].shape
        return {**inputs, self.mask: np.ones((rows, *(self.size or (height, width))), self.dtype)}

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return dict(outputs)


@dataclass(frozen=True)
class FixDefaults:
    """Inputs that have a default value, such as the weights in old files, are no longer inputs."""

    names: Sequence[str]

    def __str__(self) -> str:
        return f"{len(self.names)} inputs with a default value, such as {self.names[0]!r}, keep it: they are weights"

    def apply(self, model: onnx.ModelProto) -> None:
        kept = [value for value in model.graph.input if value.name not in self.names]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, _FIRST_WITH_CONSTANTS)

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return dict(outputs)


_FIRST_WITH_CONSTANTS = 4
"""The first version of the format in which weights need not be inputs."""


@dataclass(frozen=True)
class FreeSizes:
    """Declared sizes of the inputs become free: the batch, and the sides of pictures. No operator changes.

    ONNX Runtime infers the sizes of the outputs.
    """

    axes: Sequence[tuple[str, int, str]]
    """Inputs, axes, and the names that the axes get."""

    def __str__(self) -> str:
        shown = ", ".join(f"axis {axis} of {name!r} ({called})" for name, axis, called in self.axes)
        return f"free sizes: {shown}"

    def apply(self, model: onnx.ModelProto) -> None:
        inputs = {value.name: value for value in model.graph.input}
        for name, axis, called in self.axes:
            dimension = inputs[name].type.tensor_type.shape.dim[axis]
            dimension.Clear()
            dimension.dim_param = called
        frees_rows = any(axis == 0 for _, axis, _ in self.axes)
        for output in model.graph.output:
            for axis, dimension in enumerate(output.type.tensor_type.shape.dim):
                if axis or frees_rows:
                    dimension.Clear()
                if axis == 0 and frees_rows:
                    dimension.dim_param = "batch"
        del model.graph.value_info[:]

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return dict(outputs)
