"""One ONNX graph in ONNX Runtime. The only file of the engine that knows the runtime."""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

# ONNX Runtime notes a device id and reports usage unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from model_store.datatypes import BY_ONNX
from model_store.manifest import Graph, Tensor
from service.engine.providers import CPU, check_provider, plan_providers
from service.engine.tensors import Arrays
from service.errors import NotReady

_LOG_ERRORS_ONLY = 3


class Session:
    """A loaded graph. ``run`` may be called from several threads at once; they share the weights.

    ``content`` is the ONNX file, already checked; ``external`` maps the names of its external data files to their
    content. Raises NotReady if ONNX Runtime cannot load it or the provider policy is not met.
    """

    def __init__(
        self,
        content: bytes,
        *,
        external: Mapping[str, bytes] | None = None,
        policy: str = "cpu",
        intra_op_threads: int = 1,
    ) -> None:
        began = time.perf_counter()
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS_ONLY
        # Threads that spin while they wait take the core from the event loop, which shares it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Weights in other files are given from memory, after their digests were checked; nothing else is ever opened.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        if external:
            names, contents = list(external), list(external.values())
            options.add_external_initializers_from_files_in_memory(names, contents, [len(c) for c in contents])
        try:
            self._session = ort.InferenceSession(
                content, options, providers=plan_providers(policy, ort.get_available_providers())
            )
        except NotReady:
            raise
        except Exception as error:  # ONNX Runtime raises many types without a common base
            raise NotReady(f"ONNX Runtime cannot load the graph: {first_line(error)}") from error
        self.provider = check_provider(policy, self._session.get_providers())
        self.on_cpu = self.provider == CPU
        self.output_names = [o.name for o in self._session.get_outputs()]
        self.load_s = time.perf_counter() - began

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """Outputs in the order of ``output_names``. Raises whatever ONNX Runtime raises."""
        outputs: list[np.ndarray] = self._session.run(self.output_names, inputs)
        return outputs

    def describe(self, file: str) -> Graph:
        """The graph as the ONNX file declares it, for models without a manifest.

        The batch axis is axis 0 where all inputs and outputs have a dynamic axis 0 of the same name, or all an unnamed
        one; anything else is taken as a graph that runs one request at a time.
        """
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        first_axes = {_axis_name(t.shape) for t in (*inputs, *outputs)}
        batches = len(first_axes) == 1 and None not in first_axes
        return Graph(
            file=file,
            inputs=tuple(_tensor(t, batches) for t in inputs),
            outputs=tuple(_tensor(t, batches) for t in outputs),
        )


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _axis_name(shape: list[Any]) -> str | None:
    """The name of a dynamic first axis, "" for one without a name, None where there is none."""
    if not shape or isinstance(shape[0], int):
        return None
    return str(shape[0] or "")


def _tensor(value: Any, batches: bool) -> Tensor:
    datatype = BY_ONNX.get(value.type)
    if datatype is None:
        raise NotReady(f"tensor {value.name!r} has the type {value.type}, which this server cannot carry")
    shape = tuple(
        size
        if isinstance(size, int) and size >= 0
        else str(size or ("batch" if axis == 0 and batches else f"axis{axis}"))
        for axis, size in enumerate(value.shape)
    )
    return Tensor(name=value.name, datatype=datatype.name, shape=shape, batch_axis=0 if batches else None)
