"""Runs a graph with every tensor exposed, to get all shapes and the values of small integer tensors."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from model_store.cancellation import current
from model_store.files.reading import find_memory

MOST_VALUES = 1 << 16
"""Most elements of a tensor whose values are kept."""
_QUIET = 4
_PART_OF_MEMORY = 4
_LARGE_BYTES = 16 << 20
"""A graph with more bytes of weights runs on all processors: starting threads costs little beside it."""
_KEPT_KINDS = "iub"
_KEPT_TYPES = {f"tensor({name})" for name in ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool")}


@dataclass(slots=True)
class Run:
    """The result of one run. ``rows`` is its number of rows."""

    rows: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)


@functools.cache
def _limit_memory(ort: Any) -> None:
    """Give this module's sessions an arena of their own with a limit, because a length may need more memory than there
    is."""
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    limit = find_memory() // _PART_OF_MEMORY
    ort.create_and_register_allocator(info, ort.OrtArenaCfg({"max_mem": limit, "arena_extend_strategy": 1}))


def is_large(weights: Mapping[str, bytes]) -> bool:
    """Whether a graph with these weights is slow."""
    return sum(map(len, weights.values())) > _LARGE_BYTES


class Meter:
    """An unoptimised session that returns every tensor of the main graph, or only its outputs.

    ``weights`` are the contents of the files that the model names as external data. Raises what ONNX Runtime raises if
    it cannot load the model.
    """

    def __init__(self, model: onnx.ModelProto, weights: Mapping[str, bytes], *, all_tensors: bool = True) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime as ort

        exposed = onnx.ModelProto()
        exposed.CopyFrom(model)
        given = {output.name for output in exposed.graph.output}
        for node in exposed.graph.node if all_tensors else ():
            for name in node.output if node.op_type != "Constant" else ():  # they are read from the file
                if name and name not in given:
                    given.add(name)
                    exposed.graph.output.append(onnx.ValueInfoProto(name=name))
        _limit_memory(ort)
        options = ort.SessionOptions()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = 0 if is_large(weights) else 1, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _QUIET
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        if weights:
            sizes = [len(content) for content in weights.values()]
            options.add_external_initializers_from_files_in_memory(list(weights), list(weights.values()), sizes)
        content = exposed.SerializeToString()
        with current().stopping(lambda: options.set_load_cancellation_flag(True)):
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._ort = ort
        self._run_options = ort.RunOptions()
        self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray], rows: int) -> Run:
        """Run once. Raises what ONNX Runtime raises."""
        found = Run(rows, {name: array.shape for name, array in inputs.items()})
        with current().stopping(lambda: setattr(self._run_options, "terminate", True)):
            outputs = self._run(inputs)
        for name, value in zip(self._names, outputs, strict=True):
            if isinstance(value, np.ndarray):
                shape, kept = value.shape, value.dtype.kind in _KEPT_KINDS
            elif hasattr(value, "is_tensor") and value.is_tensor():
                shape, kept = tuple(value.shape()), value.data_type() in _KEPT_TYPES
            else:
                continue
            found.shapes[name] = shape
            if kept and math.prod(shape) <= MOST_VALUES:
                found.values[name] = np.array(value if isinstance(value, np.ndarray) else value.numpy())
        return found

    def _run(self, inputs: Mapping[str, np.ndarray]) -> Sequence[Any]:
        """The outputs as ONNX Runtime's own values, which have a shape even for types that NumPy lacks. Texts have
        none."""
        if any(array.dtype.hasobject for array in inputs.values()):
            return self._session.run(self._names, dict(inputs), self._run_options)  # type: ignore[no-any-return]
        given = {name: _value_of(self._ort, array) for name, array in inputs.items()}
        return self._session.run_with_ort_values(self._names, given, self._run_options)  # type: ignore[no-any-return]


def _value_of(ort: Any, array: np.ndarray) -> Any:
    if array.dtype.name == "bfloat16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), onnx.TensorProto.BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)
