"""Buffers for the inputs and outputs of a graph, at fixed addresses on its device, which are used again and again.

Rules
1. A *set* (``BoundBuffers``) has the buffers of one batch shape and serves one run at a time. There are as many sets of
   a shape as runs of it were ever in flight at once. All sets of a bucket are made when it first runs, at warm-up.
2. An answer never shares memory with a set: it is copied to the host once, into an array of its own.
3. A CUDA graph belongs to one set, because it reads and writes these addresses. It also belongs to one thread: ONNX
   Runtime keeps the graphs of each thread apart, and replays one without a look at what is bound. So a session with
   CUDA graphs has a thread of its own that makes every run, while the lanes copy inputs and outputs.

The same code runs on the CPU, where it is tested; nothing else uses it there.
"""

import ctypes
import functools
import itertools
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

from model_store.datatypes import BY_ONNX
from model_store.graphs.sessions import make_quiet_options
from service.engine.execution.lane import Stop, lane_thread
from service.engine.tensors import Arrays

_KEPT_SHAPES = 32
"""How many shapes keep their buffers, so that inputs of ever new lengths do not fill the device."""
_GRAPH_ID = "gpu_graph_id"
_NO_GRAPH = "-1"

Shape = tuple[int, ...]


def attach_options(stop: Stop | None, graph_id: str | None = None, *, gives_back: bool = False) -> Any:
    """The options of one run, through which ``stop`` ends it. ``graph_id`` is that of its CUDA graph. ``gives_back``:
    its memory is freed afterwards instead of kept for the next run."""
    options = make_quiet_options()
    if graph_id is not None:
        options.add_run_config_entry(_GRAPH_ID, graph_id)
    if gives_back:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    if stop is not None:
        stop.attach(functools.partial(setattr, options, "terminate", True))
    return options


class MemoryLocation(NamedTuple):
    """A device as ONNX Runtime names it."""

    device: str
    id: int

    @property
    def is_host(self) -> bool:
        return self.device == "cpu"


HOST = MemoryLocation("cpu", 0)


class TensorSpec(NamedTuple):
    """An input or output of a graph. In ``shape`` an open size is None or a name."""

    name: str
    dtype: np.dtype
    shape: Sequence[Any]


def read_specs(values: Sequence[Any]) -> list[TensorSpec] | None:
    """The specs of ONNX Runtime's inputs or outputs; None if NumPy cannot fill and read the buffer of one.

    That holds for strings, and for BF16, which ONNX Runtime does not copy from a device to NumPy.
    """
    datatypes = [BY_ONNX.get(value.type) for value in values]
    if any(datatype is None or datatype.name in ("BYTES", "BF16") for datatype in datatypes):
        return None
    return [TensorSpec(v.name, d.dtype, v.shape) for v, d in zip(values, datatypes, strict=True) if d is not None]


def resolve_shape(shape: Sequence[Any], sizes: Mapping[str, int]) -> Shape | None:
    """The shape with the sizes of its named axes; None if an axis has no name, or a name that no input has."""
    resolved = [size if isinstance(size, int) else sizes.get(size) if size else None for size in shape]
    return None if None in resolved else tuple(resolved)  # type: ignore[arg-type]  # mypy does not see the test


class DeviceTensor:
    """A tensor on a device. Reading it makes a copy on the host, once."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._host: np.ndarray | None = None

    @property
    def shape(self) -> Shape:
        return tuple(self.value.shape())

    @property
    def dtype(self) -> np.dtype:
        return self.host.dtype

    @property
    def host(self) -> np.ndarray:
        if self._host is None:
            self._host = self.value.numpy()
        return self._host

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return self.host[key]


class BoundBuffers:
    """Buffers of one batch shape, bound to the session. Not for two runs at once."""

    def __init__(
        self,
        session: Any,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        shapes: Sequence[Shape],
        place: MemoryLocation,
    ) -> None:
        self.graph_id: str | None = None
        self._session = session
        self._place = place
        self._binding = session.io_binding()
        self._inputs: list[Any] = []
        sizes: dict[str, int] = {}
        for spec, shape in zip(inputs, shapes, strict=True):
            sizes.update((n, size) for n, size in zip(spec.shape, shape, strict=True) if n and isinstance(n, str))
            self._inputs.append(self._allocate(spec.dtype, shape))
            self._binding.bind_ortvalue_input(spec.name, self._inputs[-1])
        resolved = [resolve_shape(spec.shape, sizes) for spec in outputs]
        self.is_fixed = None not in resolved
        """Whether all outputs have buffers; otherwise ONNX Runtime allocates them anew at each run."""
        self._outputs: list[Any] = []
        self._open_outputs = [] if self.is_fixed else [spec.name for spec in outputs]
        for spec, known in zip(outputs, resolved, strict=True):
            if self.is_fixed and known is not None:
                self._outputs.append(self._allocate(spec.dtype, known))
                self._binding.bind_ortvalue_output(spec.name, self._outputs[-1])

    def _allocate(self, dtype: np.dtype, shape: Shape) -> Any:
        return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype.type, self._place.device, self._place.id)

    def load(self, inputs: Sequence[np.ndarray]) -> None:
        """Copy a batch to the device, directly if it is in page-locked memory."""
        for value, array in zip(self._inputs, inputs, strict=True):
            value.update_inplace(np.ascontiguousarray(array))

    def execute(self, stop: Stop | None = None) -> None:
        for name in self._open_outputs:  # the buffers of the last run are bound, and only fit outputs of their size
            self._binding.bind_output(name, self._place.device, self._place.id)
        self._session.run_with_iobinding(self._binding, attach_options(stop, self.graph_id))

    def unload(self) -> list[np.ndarray]:
        """Copies of the outputs on the host."""
        arrays = [value.numpy() for value in self._outputs or self._binding.get_outputs()]
        # ``numpy`` copies from a device, but gives a view of host memory, which the next run overwrites.
        return [a.copy() for a in arrays] if self._place.is_host else arrays


class Bindings:
    """Runs a session through buffers. ``run`` may be called from several threads at once.

    For each batch size in ``buckets`` it keeps ``lanes`` sets of buffers ready, each with a CUDA graph if ``capture``.
    """

    def __init__(
        self,
        session: Any,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        place: MemoryLocation,
        *,
        buckets: Sequence[int] = (),
        lanes: int = 1,
        capture: bool = False,
    ) -> None:
        self._session, self._inputs, self._outputs, self._place = session, inputs, outputs, place
        self._names = [spec.name for spec in inputs]
        self._buckets, self._lanes, self._capture = frozenset(buckets), lanes, capture
        self._graph_ids = itertools.count(1)
        self._idle: dict[tuple[Shape, ...], list[BoundBuffers]] = {}
        self._building = threading.Lock()
        # The thread ends when the session is dropped, because it belongs to the pool.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graphs") if capture else None

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        """The outputs in the graph's order. Raises whatever ONNX Runtime raises."""
        arrays = [inputs[name] for name in self._names]
        shapes = tuple(array.shape for array in arrays)
        idle = self._idle.get(shapes)
        if idle is None:
            idle = self._open(shapes, arrays)
        try:
            buffers = idle.pop()
        except IndexError:  # there were never as many runs of this shape at once
            buffers = self._build(shapes, arrays)
        try:
            buffers.load(arrays)
            self._call(buffers.execute, lane_thread.stop)
            return buffers.unload()
        finally:
            idle.append(buffers)

    def upload(self, array: np.ndarray) -> DeviceTensor:
        """A copy of an array on the device."""
        contiguous = np.ascontiguousarray(array)
        return DeviceTensor(ort.OrtValue.ortvalue_from_numpy(contiguous, self._place.device, self._place.id))

    def step(self, inputs: Mapping[str, np.ndarray | DeviceTensor], stay: Collection[str]) -> list[Any]:
        """As ``run``, but inputs may already be on the device, and the outputs named in ``stay`` are left there.

        It uses no buffers: the outputs of one step are the inputs of the next, so each run needs memory of its own.
        """
        binding = self._session.io_binding()
        uploaded = []  # alive until the run has ended
        for name in self._names:
            given = inputs[name]
            device_tensor = given if isinstance(given, DeviceTensor) else self.upload(given)
            uploaded.append(device_tensor)
            binding.bind_ortvalue_input(name, device_tensor.value)
        for spec in self._outputs:
            binding.bind_output(spec.name, self._place.device, self._place.id)
        options = attach_options(lane_thread.stop, _NO_GRAPH if self._capture else None)
        self._call(self._session.run_with_iobinding, binding, options)
        values = [DeviceTensor(value) for value in binding.get_outputs()]
        return [v if spec.name in stay else v.host for spec, v in zip(self._outputs, values, strict=True)]

    def _open(self, shapes: tuple[Shape, ...], arrays: Sequence[np.ndarray]) -> list[BoundBuffers]:
        with self._building:
            if shapes not in self._idle:
                count = self._lanes if self._is_bucket(shapes) else 1
                found = [self._build(shapes, arrays) for _ in range(count)]
                if len(self._idle) >= _KEPT_SHAPES:
                    del self._idle[next(iter(self._idle))]
                self._idle[shapes] = found
            return self._idle[shapes]

    def _is_bucket(self, shapes: tuple[Shape, ...]) -> bool:
        return all(bool(shape) and shape[0] in self._buckets for shape in shapes)

    def _build(self, shapes: tuple[Shape, ...], arrays: Sequence[np.ndarray]) -> BoundBuffers:
        buffers = BoundBuffers(self._session, self._inputs, self._outputs, shapes, self._place)
        if self._capture:
            captured = buffers.is_fixed and self._is_bucket(shapes)
            buffers.graph_id = str(next(self._graph_ids)) if captured else _NO_GRAPH
            if captured:
                buffers.load(arrays)
                # ONNX Runtime turns the first run into as many as it needs to capture the graph.
                self._call(buffers.execute, lane_thread.stop)
        return buffers

    def _call(self, run: Callable[..., object], *arguments: object) -> None:
        """Make a run, in the thread of the CUDA graphs if there is one."""
        if self._thread is None:
            run(*arguments)
        else:
            self._thread.submit(run, *arguments).result()


Empty = Callable[[Shape, np.dtype], np.ndarray]


def find_pinned_memory(devices: Sequence[Any], provider: str) -> Empty:
    """How to allocate host memory for batches: page-locked if ONNX Runtime offers it for the provider's device.

    ``devices`` are ``ort.get_ep_devices()``. The Python API offers such memory since onnxruntime#28038 (2026), for
    providers that are plug-ins. Otherwise this is ``np.empty``, and the driver copies through memory of its own.
    """
    kinds = getattr(ort, "OrtDeviceMemoryType", None)
    for device in devices:
        info = device.memory_info(kinds.HOST_ACCESSIBLE) if kinds and device.ep_name == provider else None
        if info is not None:
            pinned = functools.partial(_allocate_pinned, info)
            try:
                pinned((1,), np.dtype(np.uint8))
            except Exception:  # noqa: BLE001  # an older ONNX Runtime has no such argument, or no such allocator
                return np.empty
            return pinned
    return np.empty


def _allocate_pinned(memory_info: Any, shape: Shape, dtype: np.dtype) -> np.ndarray:
    """As ``np.empty``. Strings, which are never copied to a device, get ordinary memory."""
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not size:
        return np.empty(shape, dtype)
    value = ort.OrtValue.ortvalue_from_shape_and_type([size], np.uint8, memory_info=memory_info)
    memory = (ctypes.c_byte * size).from_address(value.data_ptr())
    memory.owner = value  # type: ignore[attr-defined]  # the array keeps this object alive, and this the memory
    return np.ndarray(shape, dtype, memoryview(memory))
