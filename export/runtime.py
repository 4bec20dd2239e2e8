"""The exported graph on ONNX Runtime's CPU provider, on one thread, so that results are reproducible."""

import os
from collections.abc import Mapping

import numpy as np
import onnxruntime

from export.errors import ExportError
from export.inputs import rows_first
from export.spec import BATCH, Arrays

_FATAL_ONLY = 4  # errors come as exceptions


class Runtime:
    """One loaded ONNX file. Raises ExportError if ONNX Runtime cannot load it.

    ``external`` maps the names of its weight files to their content; no file is opened.
    """

    def __init__(self, content: bytes, external: Mapping[str, bytes] | None = None) -> None:
        self.content = content
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        if external:
            names, contents = list(external), list(external.values())
            options.add_external_initializers_from_files_in_memory(names, contents, [len(c) for c in contents])
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ExportError(
                f"ONNX Runtime cannot load the exported graph ({error}): replace the operator that it names, or cast "
                "its inputs to float32"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.output_axes = {
            output.name: output.shape.index(BATCH) for output in self._session.get_outputs() if BATCH in output.shape
        }
        """The axis of the rows of each output."""

    def run(self, inputs: Arrays, options: onnxruntime.RunOptions | None = None) -> dict[str, np.ndarray]:
        """The outputs by name. Raises ExportError, which names the shapes, if the graph fails."""
        try:
            values = self._session.run(self._outputs, dict(inputs), options)
        except Exception as error:
            shapes = {name: array.shape for name, array in inputs.items()}
            raise ExportError(
                f"ONNX Runtime fails on inputs of {shapes} ({error}): the graph fixes a size; take sizes from "
                "tensor.shape in forward, and export with an example whose dynamic axes are 2 or more"
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def run_rows(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """As ``run``, with the rows of every output on axis 0."""
        return rows_first(self.output_axes, self.run(inputs))

    def run_and_release(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """As ``run``, and free the memory that the session keeps for its next run, as the server does."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return self.run(inputs, options)
