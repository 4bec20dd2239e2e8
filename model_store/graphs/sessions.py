"""Opens ONNX Runtime sessions as the server and the commands do, and a CPU session for trying a graph."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# ONNX Runtime writes a device id and reports usage unless it is told not to before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from model_store.cancellation import current
from model_store.datatypes import BY_ONNX
from model_store.errors import BadGraph, first_line
from model_store.files.recognition import advise
from model_store.graph import Graph, Tensor
from model_store.graphs import Arrays
from model_store.graphs.reshape import Reshape
from model_store.graphs.values import Values, needs_values
from model_store.rows.graph.inner import every_node
from model_store.rows.graph.samples import name_axis
from model_store.rows.graph.weights import strip_weights

CPU = "CPUExecutionProvider"
LOG_ERRORS_ONLY, LOG_NOTHING = 3, 4
FLOAT16 = 10
"""ONNX's number for FP16."""


def make_options(threads: int, external: Mapping[str, bytes], log_severity: int = LOG_ERRORS_ONLY) -> Any:
    """Options of a session. ``external`` has the weight files that the graph names, by name."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = log_severity
    # Spinning threads would take the core from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights in other files come from memory, after their digests were checked; no other file is opened.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    if external:
        names, contents = list(external), list(external.values())
        options.add_external_initializers_from_files_in_memory(names, contents, [len(c) for c in contents])
    return options


def make_quiet_options() -> Any:
    """Options of one run that logs nothing: a fault in a caller's values goes into the answer, not the log."""
    options = ort.RunOptions()
    options.log_severity_level = LOG_NOTHING
    return options


def make_run_options() -> Any:
    """Options for all runs of a session. They end if the load that this thread works for is cancelled."""
    options = make_quiet_options()
    current().on_cancel(lambda: setattr(options, "terminate", True))
    return options


def open_session(content: bytes, options: Any, providers: Sequence[Any]) -> Any:
    """Open a session. Raises BadGraph. Without ``enable_fallback``, a failure is not retried on the CPU."""
    try:
        first = providers[0] if isinstance(providers[0], str) else providers[0][0]
        avoided = find_unsafe_optimizers(content) if first == CPU else []
        with current().stopping(lambda: options.set_load_cancellation_flag(True)):
            session = ort.InferenceSession(
                content, options, providers=providers, enable_fallback=0, disabled_optimizers=avoided
            )
        # It keeps the file for the disabled fall-back, which would take as much memory as the weights.
        session._model_bytes = None
        for _, value, _ in list_values(session):
            value.name, value.shape  # noqa: B018  # raises for a name that is no UTF-8, of an axis too
        return session
    except Exception as error:  # ONNX Runtime raises many types without a common base
        reason = first_line(error)
        advice = advise(reason, content)
        told = f"{reason.rstrip('.')}: {advice}" if advice else reason
        raise BadGraph(f"ONNX Runtime cannot load the graph: {told}") from error


def find_unsafe_optimizers(content: bytes) -> list[str]:
    """The optimisations of ONNX Runtime 1.32 that go wrong on this graph on the CPU.

    - Fusing a Transpose of FP16 with the MatMul after it crashes. FP16 gains nothing on the CPU.
    - Sharing equal constants: BatchNormalization in training mode writes its new mean and variance over the old ones,
      and so over other constants. Answers are wrong, and depend on the requests before.
    """
    is_fused, is_normalised = b"Transpose" in content and b"MatMul" in content, b"BatchNormalization" in content
    if not is_fused and not is_normalised:
        return []
    try:
        graph = strip_weights(content)[0].graph
    except Exception:  # noqa: BLE001  # the parser raises several types; ONNX Runtime may know the format
        return []
    found = ["MatmulTransposeFusion"] if is_fused and _has_half(graph) else []
    return [*found, "ConstantSharing"] if is_normalised and any(map(_trains, every_node(graph.node))) else found


def _trains(node: Any) -> bool:
    """Whether it is a BatchNormalization in training mode: before opset 14, one with more than one output."""
    is_asked = any(a.name == "training_mode" and a.i for a in node.attribute)
    return node.op_type == "BatchNormalization" and (is_asked or len(node.output) > 1)


def _has_half(graph: Any) -> bool:
    """Whether a tensor of the graph is known to have FP16."""
    values = (*graph.input, *graph.output, *graph.value_info)
    kinds = {value.type.tensor_type.elem_type for value in values} | {t.data_type for t in graph.initializer}
    casts = {a.i for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"}
    return FLOAT16 in kinds | casts


def list_values(session: Any) -> list[tuple[str, Any, bool]]:
    """Inputs and outputs of a session: (kind, value, whether a request may leave it out)."""
    return [
        *(("input", value, False) for value in session.get_inputs()),
        *(("input", value, True) for value in session.get_overridable_initializers()),
        *(("output", value, False) for value in outputs_of(session)),
    ]


def outputs_of(session: Any) -> list[Any]:
    """The outputs of a session, each name once: ONNX Runtime accepts a graph that lists one twice."""
    return list({value.name: value for value in session.get_outputs()}.values())


def describe_session(session: Any, file: str) -> Graph:
    """The graph as the ONNX file declares it, without a batch, which only the row analysis can find.

    Raises BadGraph for a tensor that the protocol cannot carry.
    """
    tensors = [
        (kind, read_tensor(value).model_copy(update={"optional": optional}))
        for kind, value, optional in list_values(session)
    ]
    return Graph(
        file=file,
        inputs=tuple(tensor for kind, tensor in tensors if kind == "input"),
        outputs=tuple(tensor for kind, tensor in tensors if kind == "output"),
    )


def read_tensor(value: Any) -> Tensor:
    """The tensor of a session's value. Raises BadGraph for a type that the protocol cannot carry."""
    datatype = BY_ONNX.get(value.type)
    if datatype is None:
        advice = next(advice for part, advice in _ADVICE.items() if part in value.type)
        raise BadGraph(f"tensor {value.name!r} has the type {value.type}, which requests cannot carry: {advice}")
    return Tensor(name=value.name, datatype=datatype.name, shape=read_shape(value))


def read_shape(value: Any) -> tuple[int | str, ...]:
    """Fixed sizes and names of free axes. Sequences and maps have no shape."""
    return tuple(
        size
        if isinstance(size, int) and size >= 0
        else name_axis(value.name, axis, size if isinstance(size, str) else None)
        for axis, size in enumerate(value.shape or ())
    )


_ADVICE: Mapping[str, str] = {
    "map(": "convert the model without ZipMap, such as by skl2onnx with options={'zipmap': False}",
    "seq(": "make one tensor of it in the graph, by ConcatFromSequence, or end the graph with the single tensors",
    "optional(": "make it a plain tensor, or an input with a default value (an initializer of the same name)",
    "sparse_": "make it dense in the graph",
    "": "cast it in the graph to or from a type that they can, such as UINT8, INT8, FP16 or FP32",
}
"""What to do about a type that requests cannot carry, by a part of its name."""


class CpuSession:
    """A graph on one thread of the CPU, as the server runs it, without the parts that make a server fast.

    Raises BadGraph if ONNX Runtime cannot load it.
    """

    def __init__(self, content: bytes, external: Mapping[str, bytes] | None = None) -> None:
        self.raw = open_session(content, make_options(1, external or {}, LOG_NOTHING), [CPU])
        self.output_names: Sequence[str] = [output.name for output in outputs_of(self.raw)]
        self._shapes: Reshape | None = None
        self._values = Values(self.raw) if needs_values(self.raw) else None

    def adopt(self, graph: Graph, shapes: Reshape | None) -> None:
        """Return only the outputs of this graph, and use the shapes of callers."""
        self.output_names = [tensor.name for tensor in graph.outputs]
        self._shapes = shapes
        if self._values is not None:
            self._values.output_names = self.output_names

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]:
        """Outputs in the order of ``output_names``. Raises whatever ONNX Runtime raises."""
        if self._shapes is not None:
            inputs = self._shapes.enter(inputs)
        if self._values is not None:
            outputs: list[np.ndarray] = self._values.run(inputs)
        else:
            outputs = self.raw.run(self.output_names, dict(inputs))
        return outputs if self._shapes is None else self._shapes.leave(self.output_names, outputs)
