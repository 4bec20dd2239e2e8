"""One ONNX graph in ONNX Runtime. With ``binding.py`` all of the engine that knows the runtime."""

import functools
import hashlib
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

# ONNX Runtime notes a device id and reports usage unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from model_store.errors import BadGraph
from model_store.graph import Graph, Tensor
from model_store.graphs.reshape import Reshape
from model_store.graphs.sessions import describe_session, make_options, make_run_options, open_session, read_tensor
from model_store.graphs.values import Values, needs_values
from model_store.rows.graph.open_ended import find_open_ended
from model_store.rows.graph.operators import find_fragile
from service.engine.batching.buckets import make_buckets
from service.engine.execution.lane import lane_thread
from service.engine.onnx.binding import (
    HOST,
    Bindings,
    Empty,
    MemoryLocation,
    attach_options,
    find_pinned_memory,
    read_specs,
)
from service.engine.onnx.providers import (
    CPU,
    GPU_LANES,
    NAMES,
    GpuOptions,
    check_provider,
    choose_provider,
    plan_providers,
    profile_options,
)
from service.engine.tensors import Arrays
from service.errors import InvalidInput, NotReady

logger = logging.getLogger("sluice.session")

_QUIET = make_run_options()
_LARGE_BYTES = 4 << 20
"""Of inputs whose runs give back their memory, which may be a hundred times as much. To find it anew takes a few
hundredths of such a run."""


class Session:
    """A loaded graph. ``run`` may be called from several threads at once; they share the weights.

    ``content`` is the ONNX file, already checked; ``external`` maps the names of its external data files to their
    content. ``max_rows`` is the largest batch that will come and ``lanes`` how many at once, for the buffers on a GPU.
    ``run_options`` are those of every run: a load ends its runs by them.

    ``bound`` runs through buffers at fixed addresses on the device; None does so everywhere but on the CPU. There it
    gains nothing: bound took 1.2 times as long as plain ``run`` on a graph of 5 µs, and no difference stood out of the
    noise between 35 µs and 20 ms (medians of 11 alternating rounds, two cores shared with other work).

    Raises BadGraph if ONNX Runtime cannot load it, NotReady if the provider policy is not met.
    """

    def __init__(
        self,
        content: bytes,
        *,
        external: Mapping[str, bytes] | None = None,
        policy: str = "cpu",
        intra_op_threads: int = 1,
        gpu: GpuOptions = GpuOptions(),  # noqa: B008  # frozen
        max_rows: int = 64,
        lanes: int = GPU_LANES,
        bound: bool | None = None,
        run_options: Any = _QUIET,
    ) -> None:
        available = available_providers(policy)
        wanted, buckets = choose_provider(policy, available), make_buckets(max_rows)
        profile: Mapping[str, str] = {}

        def open_with(gpu: GpuOptions) -> Any:
            options = make_options(intra_op_threads, external or {})
            return open_session(content, options, plan_providers(policy, available, gpu, profile))

        if wanted == "tensorrt":
            profile = profile_options(_read_inputs(content, make_options(intra_op_threads, external or {})), buckets)
            gpu = _with_own_cache(gpu, content)
        capture = gpu.cuda_graphs and wanted == "cuda"
        try:
            self._session = open_with(gpu)
            if capture and needs_values(self._session):
                raise NotReady("a graph with tensors of BF16 does not run in buffers at fixed addresses")
        except (BadGraph, NotReady) as refusal:
            if not capture:
                raise
            logger.warning("no CUDA graphs: %s", refusal)  # a part of the model runs on the CPU, or it has a loop
            capture = False
            self._session = open_with(replace(gpu, cuda_graphs=False))
        self.provider = check_provider(policy, self._session.get_providers())
        self.on_cpu = self.provider == CPU
        self.device = "cpu" if self.on_cpu else f"cuda:{gpu.device_id}"
        """Where it runs: ``cpu``, or ``cuda:`` and the number of the GPU, as CUDA counts."""
        self.placement = (self.provider, self.device)
        self.place = self.provider if self.on_cpu else f"{self.provider} ({self.device})"
        if self.on_cpu and wanted != "cpu":
            logger.warning("this ONNX Runtime has %s, but the session came up on the CPU: see its log", wanted)
        self.fragile = find_fragile(content) if self.on_cpu else self.provider
        """The operator that may crash on an empty tensor, or None. For untested providers, their name."""
        self.open_ended = find_open_ended(content)
        """The node that makes the time of a run depend on values, so that it has no bound; None if there is none."""
        self.output_names = [o.name for o in self._session.get_outputs()]
        self.shapes: Reshape | None = None
        self.has_cuda_graphs = capture and not self.on_cpu
        place = HOST if self.on_cpu else MemoryLocation("cuda", gpu.device_id)
        self._run_options = run_options
        self._bindings: Bindings | Values | None = None
        if needs_values(self._session):
            self._bindings = Values(self._session, run_options)
        elif bound or (bound is None and not self.on_cpu):
            inputs, outputs = read_specs(self._session.get_inputs()), read_specs(self._session.get_outputs())
            if inputs is not None and outputs is not None:
                capture = self.has_cuda_graphs
                self._bindings = Bindings(
                    self._session, inputs, outputs, place, buckets=buckets, lanes=lanes, capture=capture
                )

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """Outputs in the order of ``output_names``.

        Raises InvalidInput for inputs that the graph cannot be run on, else whatever ONNX Runtime raises.
        """
        if self.shapes is not None:
            inputs = self.shapes.enter(inputs)
        stop = lane_thread.stop
        try:
            if self._bindings is not None:
                outputs = self._bindings.run(inputs)
            else:
                options = self._run_options
                if stop is not None:  # options of its own, by which it can be ended; they cost 0.4 µs
                    size = sum(array.nbytes for array in inputs.values())
                    options = attach_options(stop, gives_back=size > _LARGE_BYTES)
                outputs = self._session.run(self.output_names, inputs, options)
        except Exception as error:
            if stop is not None and stop.asked:
                raise
            refusal = find_refusal(error)
            if refusal is None:
                raise
            raise InvalidInput(refusal) from error
        return outputs if self.shapes is None else self.shapes.leave(self.output_names, outputs)

    def adopt(self, graph: Graph, shapes: Reshape | None) -> Self:
        """Give these outputs only, and take and give tensors in the shapes of callers. Returns itself."""
        self.output_names = [tensor.name for tensor in graph.outputs]
        self.shapes = shapes
        if isinstance(self._bindings, Values):
            self._bindings.output_names = self.output_names
        elif shapes is not None or self.output_names != [output.name for output in self._session.get_outputs()]:
            self._bindings = None
        return self

    def step(self, inputs: Mapping[str, Any], stay: Collection[str]) -> Sequence[Any]:
        """As ``run``, for a loop: on a device the outputs named in ``stay`` are left there, for the next step."""
        return self.run(inputs) if self._bindings is None else self._bindings.step(inputs, stay)

    def settle(self, array: np.ndarray) -> Any:
        """An array that many steps will take, where they reach it fastest."""
        return array if self._bindings is None else self._bindings.upload(array)

    def describe(self, file: str) -> Graph:
        """As ``describe_session``."""
        return describe_session(self._session, file)


def available_providers(policy: str) -> list[str]:
    """The providers of this build of ONNX Runtime; the CUDA libraries are made ready unless only the CPU is wanted."""
    if policy != "cpu":
        _load_cuda_libraries()
    available: list[str] = ort.get_available_providers()
    return available


def host_allocator(policy: str) -> Empty:
    """How to allocate the arrays in which batches are assembled: page-locked where that helps and can be had."""
    wants_gpu = policy != "cpu" and NAMES["cuda"] in available_providers(policy)
    find_devices = getattr(ort, "get_ep_devices", None)
    return find_pinned_memory(find_devices() if wants_gpu and find_devices else (), NAMES["cuda"])


@functools.cache
def _load_cuda_libraries() -> None:
    """Make the CUDA and cuDNN libraries of the nvidia wheels findable; a build for the CPU does nothing."""
    preload = getattr(ort, "preload_dlls", None)  # since 1.21
    if preload is not None:
        preload()


def _read_inputs(content: bytes, options: Any) -> list[Tensor]:
    """The inputs of a graph, before the provider that wants to know them builds it."""
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(content, options, [CPU])
    tensors = [read_tensor(value) for value in session.get_inputs()]
    free = all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in tensors)
    return [tensor.model_copy(update={"batch_axis": 0}) if free else tensor for tensor in tensors]


def _with_own_cache(gpu: GpuOptions, content: bytes) -> GpuOptions:
    """TensorRT names its engines after the graph's names, not its weights: each file gets a folder of its own."""
    if gpu.engine_cache is None:
        return gpu
    folder = gpu.engine_cache / f"{hashlib.sha256(content).hexdigest()[:32]}-{ort.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    return replace(gpu, engine_cache=folder)


_NODE_ERROR = re.compile(r"while running (\S+) node\. Name:'([^']*)' Status Message:(.*)", re.DOTALL)
_SOURCE = re.compile(r"^\S+\.(?:cc|h|cu|cuh|hpp):\d+ [^\n]*?\)(?: const)? ")
"""Where in its source ONNX Runtime raised an error, which says nothing to a caller."""
_CODES = {"InvalidArgument": "INVALID_ARGUMENT", "Fail": "FAIL", "RuntimeException": "RUNTIME_EXCEPTION"}
"""Kinds of errors that the kernels of ONNX Runtime raise for shapes and values that do not fit, and their names."""
_ASKED_BYTES = re.compile(r"Failed to allocate memory for requested buffer of size (\d+)")
_ABSURD_BYTES = 1 << 40
"""Who asks for more than this has sent a wrong size: no machine lacks so much for another reason."""
_OWN_FAULTS = ("Failed to allocate memory", "bad allocation", "out of memory", "CUDA", "CUDNN", "cuDNN", "CUBLAS")


def find_refusal(error: BaseException) -> str | None:
    """What is wrong with a request on whose values ONNX Runtime could not run a graph; None for another failure."""
    kind, text = type(error).__name__, str(error)
    asked = _ASKED_BYTES.search(text)
    if asked is not None and int(asked[1]) >= _ABSURD_BYTES:
        return f"inputs: the graph cannot be run on them: they ask for a tensor of {int(asked[1])} bytes"
    if kind not in _CODES or any(sign in text for sign in _OWN_FAULTS):
        return None
    reason, place = text, ""
    while found := _NODE_ERROR.search(reason):  # the node of a branch or loop has another one inside
        reason, place = found[3].strip(), f" at {found[1]}{f' {found[2]!r}' if found[2] else ''}"
    if not place and kind != "InvalidArgument":
        return None
    reason = _SOURCE.sub("", reason.partition("\n")[0].rpartition(f"{_CODES[kind]} : ")[2])
    return f"inputs: the graph cannot be run on them{place}{f': {reason}' if reason else ''}"
