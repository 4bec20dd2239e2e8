"""Runs of a graph with every tensor exposed: the shapes of all of them, and the values of small whole-number ones."""

import functools
import math
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

MOST_VALUES = 1 << 16
"""Elements of a tensor whose values are kept."""
_QUIET = 4
_PART_OF_MEMORY = 4
_CONTROL_GROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_LARGE_BYTES = 16 << 20
"""Weights of a graph that runs on all processors: it is slow, and to start threads takes little time beside it."""
_KEPT_KINDS = "iub"
_KEPT_TYPES = {f"tensor({name})" for name in ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool")}


@dataclass(slots=True)
class Run:
    """What one run showed. ``rows`` is the number of rows that it had."""

    rows: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)


@functools.cache
def _limit_memory(ort: Any) -> None:
    """Give the sessions of this module memory of their own, of which there is a part of the machine's: a length that is
    tried may ask for more than there is."""
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    limit = find_memory() // _PART_OF_MEMORY
    ort.create_and_register_allocator(info, ort.OrtArenaCfg({"max_mem": limit, "arena_extend_strategy": 1}))


def find_memory() -> int:
    """The bytes of memory that this process may have: of the machine, of its control group, or of its own limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    own_limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own_limit != resource.RLIM_INFINITY:
        limits.append(own_limit)
    for path in _CONTROL_GROUP_FILES:
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is no such group, or it says that it has no limit
            continue
    return min(limits)


def is_large(weights: Mapping[str, bytes]) -> bool:
    """Whether a graph with these weights is slow."""
    return sum(map(len, weights.values())) > _LARGE_BYTES


class Meter:
    """An unoptimised session that gives every tensor of the main graph, or without ``all_tensors`` its outputs.

    ``weights`` are the contents of the files that the model names as external data. Raises what ONNX Runtime raises for
    a model that it cannot load.
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
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._ort = ort
        self._run_options = ort.RunOptions()
        self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray], rows: int) -> Run:
        """Raises what ONNX Runtime raises for inputs that it cannot run."""
        found = Run(rows, {name: array.shape for name, array in inputs.items()})
        for name, value in zip(self._names, self._run(inputs), strict=True):
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
        """Values of ONNX Runtime's own, which have a shape even where NumPy has no such type; texts have none."""
        if any(array.dtype.hasobject for array in inputs.values()):
            return self._session.run(self._names, dict(inputs), self._run_options)  # type: ignore[no-any-return]
        given = {name: _value_of(self._ort, array) for name, array in inputs.items()}
        return self._session.run_with_ort_values(self._names, given, self._run_options)  # type: ignore[no-any-return]


def _value_of(ort: Any, array: np.ndarray) -> Any:
    if array.dtype.name == "bfloat16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), onnx.TensorProto.BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)
