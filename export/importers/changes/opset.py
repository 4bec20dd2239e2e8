"""Newer versions of ONNX's own operators."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import version_converter

from export.errors import ExportError
from export.importers.changes.change import Arrays, opset_of


@dataclass(frozen=True)
class RaiseOpset:
    """The graph with the operators of a newer opset, for changes that need them."""

    version: int

    def __str__(self) -> str:
        return f"the operators of opset {self.version}"

    def apply(self, model: onnx.ModelProto) -> None:
        old = opset_of(model)
        try:
            model.CopyFrom(version_converter.convert_version(model, self.version))
        except Exception as error:  # the converter raises RuntimeError and others
            raise ExportError(
                f"the graph has opset {old}, and cannot be brought to opset {self.version} ({error}): export it again "
                "with a newer opset"
            ) from error

    def expect(self, inputs: Arrays, outputs: Arrays) -> dict[str, np.ndarray]:
        return dict(outputs)
