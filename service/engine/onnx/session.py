"""One ONNX graph in ONNX Runtime. Only this file and ``binding.py`` use the runtime in the engine."""

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
from model_store.graphs.sessions import (
    describe_session,
    make_options,
    make_run_options,
    open_session,
    outputs_of,
    read_tensor,
)
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
"""Runs on larger inputs free their memory, which may be a hundred times as much. To allocate it anew takes a few
hundredths of the time of such a run."""


class Session:
    """A loaded graph. ``run`` may be called from several threads at once; they share the weights.

    ``content`` is the ONNX file, already checked; ``external`` maps the names of its external data files to their
    content. For the buffers on a GPU, ``max_rows`` is the largest batch, and ``lanes`` how many run at once.
    ``run_options`` are used in every run that no lane can end: a load ends its runs through them.

    ``bound``: run through buffers at fixed addresses on the device. None: do so everywhere but on the CPU. There it
    gains nothing: bound took 1.2 times as long as plain ``run`` on a graph of 5 µs, and no difference stood out of the
    noise between 35 µs and 20 ms (medians of 11 alternating rounds, two cores shared with other work).

    Raises BadGraph if ONNX Runtime cannot load the graph, NotReady if the provider policy is not met.
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
            logger.warning("no CUDA graphs: %s", refusal)  # such as if a part of the model runs on the CPU
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
        """The operator that may crash on an empty tensor, or None. For a provider that was not tested, its name."""
        self.open_ended = find_open_ended(content)
        """The node by which the time of a run depends on values and has no bound; None if there is none."""
        self.output_names = [o.name for o in outputs_of(self._session)]
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
        """The outputs in the order of ``output_names``.

        Raises InvalidInput if the graph cannot run on these inputs, else whatever ONNX Runtime raises.
        """
        if self.shapes is not None:
            inputs = self.shapes.enter(inputs)
        stop = lane_thread.stop
        try:
            if self._bindings is not None:
                outputs = self._bindings.run(inputs)
            else:
                options = self._run_options
                if stop is not None:  # its own options, through which it can be ended, cost 0.4 µs
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
        """Give only the outputs of ``graph``, and convert tensors from and to the shapes of callers. Returns itself."""
        self.output_names = [tensor.name for tensor in graph.outputs]
        self.shapes = shapes
        if isinstance(self._bindings, Values):
            self._bindings.output_names = self.output_names
        elif shapes is not None or self.output_names != [output.name for output in self._session.get_outputs()]:
            self._bindings = None
        return self

    def step(self, inputs: Mapping[str, Any], stay: Collection[str]) -> Sequence[Any]:
        """As ``run``, for a loop: on a device the outputs named in ``stay`` are left there for the next step."""
        return self.run(inputs) if self._bindings is None else self._bindings.step(inputs, stay)

    def settle(self, array: np.ndarray) -> Any:
        """Put an array that many steps will take where they reach it fastest."""
        return array if self._bindings is None else self._bindings.upload(array)

    def describe(self, file: str) -> Graph:
        """As ``describe_session``."""
        return describe_session(self._session, file)


def available_providers(policy: str) -> list[str]:
    """The providers of this build of ONNX Runtime. Loads the CUDA libraries unless only the CPU is wanted."""
    if policy != "cpu":
        _load_cuda_libraries()
    available: list[str] = ort.get_available_providers()
    return available


def host_allocator(policy: str) -> Empty:
    """How to allocate the arrays in which batches are assembled: page-locked if that helps and is available."""
    wants_gpu = policy != "cpu" and NAMES["cuda"] in available_providers(policy)
    find_devices = getattr(ort, "get_ep_devices", None)
    return find_pinned_memory(find_devices() if wants_gpu and find_devices else (), NAMES["cuda"])


@functools.cache
def _load_cuda_libraries() -> None:
    """Load the CUDA and cuDNN libraries of the nvidia wheels. A build for the CPU does nothing."""
    preload = getattr(ort, "preload_dlls", None)  # since 1.21
    if preload is not None:
        preload()


def _read_inputs(content: bytes, options: Any) -> list[Tensor]:
    """The inputs of a graph, which TensorRT needs to know before it builds its engine."""
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(content, options, [CPU])
    tensors = [read_tensor(value) for value in session.get_inputs()]
    free = all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in tensors)
    return [tensor.model_copy(update={"batch_axis": 0}) if free else tensor for tensor in tensors]


def _with_own_cache(gpu: GpuOptions, content: bytes) -> GpuOptions:
    """The options with a cache folder for this file alone: TensorRT's names of engines do not depend on the weights."""
    if gpu.engine_cache is None:
        return gpu
    folder = gpu.engine_cache / f"{hashlib.sha256(content).hexdigest()[:32]}-{ort.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    return replace(gpu, engine_cache=folder)


_NODE_ERROR = re.compile(r"while running (\S+) node\. Name:'([^']*)' Status Message:(.*)", re.DOTALL)
_SOURCE = re.compile(r"^\S+\.(?:cc|h|cu|cuh|hpp):\d+ [^\n]*?\)(?: const)? ")
"""Where in its source ONNX Runtime raised an error, which is of no use to a caller."""
_CODES = {"InvalidArgument": "INVALID_ARGUMENT", "Fail": "FAIL", "RuntimeException": "RUNTIME_EXCEPTION"}
"""The errors that kernels of ONNX Runtime raise for shapes and values that do not fit, and their names in the text."""
_ASKED_BYTES = re.compile(r"Failed to allocate memory for requested buffer of size (\d+)")
_ABSURD_BYTES = 1 << 40
"""A request that needs more memory than this has sent a wrong size."""
_OWN_FAULTS = ("Failed to allocate memory", "bad allocation", "out of memory", "CUDA", "CUDNN", "cuDNN", "CUBLAS")


def find_refusal(error: BaseException) -> str | None:
    """What is wrong with the request, if its values are why ONNX Runtime could not run a graph; else None."""
    kind, text = type(error).__name__, str(error)
    asked = _ASKED_BYTES.search(text)
    if asked is not None and int(asked[1]) >= _ABSURD_BYTES:
        return f"inputs: the graph cannot be run on them: they ask for a tensor of {int(asked[1])} bytes"
    if kind not in _CODES or any(sign in text for sign in _OWN_FAULTS):
        return None
    reason, place = text, ""
    while found := _NODE_ERROR.search(reason):  # the error of a branch or loop contains that of a node inside
        reason, place = found[3].strip(), f" at {found[1]}{f' {found[2]!r}' if found[2] else ''}"
    if not place and kind != "InvalidArgument":
        return None
    reason = _SOURCE.sub("", reason.partition("\n")[0].rpartition(f"{_CODES[kind]} : ")[2])
    return f"inputs: the graph cannot be run on them{place}{f': {reason}' if reason else ''}"
