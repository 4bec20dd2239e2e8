"""Changes of inputs that take sounds."""

from dataclasses import dataclass

import numpy as np
import onnx

from export.errors import ExportError
from export.importers.changes.change import Arrays, add_constant, dims_of, free_name, rename_tensor


@dataclass(frozen=True)
class DropChannel:
    """An input [batch, 1, samples] becomes [batch, samples]."""

    input: str

    def __str__(self) -> str:
        return f"input {self.input!r}: without its axis for the one channel"

    def apply(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        value = next((each for each in graph.input if each.name == self.input), None)
        if value is None or len(dims_of(value)) != 3:
            raise ExportError(f"there is no input {self.input!r} of three axes")
        inner = free_name(graph, f"{self.input}_channel")
        rename_tensor(graph, self.input, inner)
        shape = add_constant(graph, f"{self.input}_shape", np.array([0, 1, -1]))
        graph.node.insert(0, onnx.helper.make_node("Reshape", [self.input, shape], [inner]))
        del value.type.tensor_type.shape.dim[1]

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return dict(outputs)

    def restore(self, inputs: Arrays) -> Arrays:
        """The inputs with the axis put back."""
        return {**inputs, self.input: inputs[self.input][:, None]}
