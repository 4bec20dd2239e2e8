"""Runs through buffers at fixed addresses: the code that serves on a GPU, here with the CPU's memory as the device."""

import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from model_store.datatypes import DATATYPES
from service.engine.onnx import binding as binding_module
from service.engine.onnx.binding import (
    HOST,
    Bindings,
    BoundBuffers,
    MemoryLocation,
    find_pinned_memory,
    read_specs,
    resolve_shape,
)
from service.engine.onnx.providers import CPU, NAMES
from service.engine.onnx.session import Session
from tests.support.models import graphs

ORT = tuple(map(int, ort.__version__.split(".")[:2]))


def open_bindings(content: bytes, **options: Any) -> Bindings:
    session = ort.InferenceSession(content, providers=[CPU])
    inputs, outputs = read_specs(session.get_inputs()), read_specs(session.get_outputs())
    return Bindings(session, inputs, outputs, HOST, **options)


def open_double(**options: Any) -> Bindings:
    return open_bindings(graphs.double(), **options)


def rows(count: int, value: float = 1.0) -> dict[str, np.ndarray]:
    return {"x": np.full((count, 3), value, np.float32)}


def idle_buffers(bindings: Bindings) -> list[BoundBuffers]:
    return [buffers for idle in bindings._idle.values() for buffers in idle]


@pytest.mark.parametrize("capture", [False, True])
def test_bound_run_gives_the_bits_of_a_plain_run(capture: bool) -> None:
    """Several inputs, several outputs, any order of names: the same bits in the same order, at every batch size."""
    plain, bound = Session(graphs.add()), open_bindings(graphs.add(), buckets=(1, 2, 4), lanes=2, capture=capture)
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 4, 2, 9):
        a, b = generator.standard_normal((2, count, 2)).astype(np.float32)
        expected = plain.run({"a": a, "b": b})
        for got, wanted in zip(bound.run({"b": b, "a": a}), expected, strict=True):
            assert got.tobytes() == wanted.tobytes()


@pytest.mark.long
def test_answer_keeps_its_numbers() -> None:
    """An answer keeps its values when its buffers are used again and when the model is gone."""
    bindings = open_double()
    first, second = (bindings.run(rows(2, value))[0] for value in (1.0, 5.0))
    assert not np.shares_memory(first, second)
    del bindings
    gc.collect()
    assert (first.tolist(), second.tolist()) == ([[2.0] * 3] * 2, [[10.0] * 3] * 2)


def test_buffers_are_used_again() -> None:
    """Runs one after another need one set of buffers for a shape. Its addresses stay the same."""
    bindings = open_double()
    bindings.run(rows(2))
    [buffers] = idle_buffers(bindings)
    addresses = [value.data_ptr() for value in (*buffers._inputs, *buffers._outputs)]
    for _ in range(10):
        bindings.run(rows(2))
    assert idle_buffers(bindings) == [buffers]
    assert [value.data_ptr() for value in (*buffers._inputs, *buffers._outputs)] == addresses


def test_buffers_of_a_bucket_are_ready_for_all_lanes_after_one_run() -> None:
    """Warm-up runs a bucket once; no lane has to find memory for it later. Other sizes get buffers when they come."""
    bindings = open_double(buckets=(1, 2, 4), lanes=2)
    bindings.run(rows(4))
    assert len(idle_buffers(bindings)) == 2
    bindings.run(rows(3))
    assert len(idle_buffers(bindings)) == 3


@pytest.mark.parametrize("capture", [False, True])
def test_lanes_side_by_side_get_their_own_answers(capture: bool) -> None:
    """Runs of several threads at once never see each other's rows, with more threads than lanes too."""
    bindings = open_double(buckets=(1, 2, 4), lanes=2, capture=capture)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: bindings.run(rows(1 + i % 4, i))[0], range(400)))
    assert [a.tolist() for a in answers] == [[[2.0 * i] * 3] * (1 + i % 4) for i in range(400)]
    assert len(idle_buffers(bindings)) <= 4 * 4


class Meeting:
    """A session whose runs wait for each other: they end only when as many as expected run at once."""

    def __init__(self, session: Any, parties: int) -> None:
        self._session, self._barrier = session, threading.Barrier(parties)
        self.io_binding = session.io_binding

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._barrier.wait(30)
        self._session.run_with_iobinding(binding, options)


def test_runs_of_one_shape_overlap() -> None:
    """Two lanes are inside the runtime at the same time, each with buffers of its own."""
    bindings = open_double(buckets=(2,), lanes=2)
    bindings._session = Meeting(bindings._session, 2)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda i: bindings.run(rows(2, i))[0].tolist(), (3.0, 4.0)))
    assert answers == [[[6.0] * 3] * 2, [[8.0] * 3] * 2]


class Watched:
    """A session that keeps the thread, the graph and the buffers of each run."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.io_binding = session.io_binding
        self.runs: list[tuple[int, str, int]] = []

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        graph = options.get_run_config_entry("gpu_graph_id")
        self.runs.append((threading.get_ident(), graph, id(binding)))
        self._session.run_with_iobinding(binding, options)


def watch(bindings: Bindings) -> Watched:
    watched = Watched(bindings._session)
    bindings._session = watched
    return watched


def test_all_runs_with_graphs_are_made_by_one_thread() -> None:
    """ONNX Runtime keeps CUDA graphs by thread: whichever lane asks, the thread that captured a graph replays it."""
    bindings = open_double(buckets=(1, 2), lanes=2, capture=True)
    watched = watch(bindings)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda i: bindings.run(rows(1 + i % 2, i)), range(30)))
    assert len({thread for thread, *_ in watched.runs}) == 1
    assert threading.get_ident() not in {thread for thread, *_ in watched.runs}


def test_buffers_of_a_bucket_have_graphs_of_their_own() -> None:
    """A graph is replayed only for the buffers that it captured. A bucket's first run captures all its graphs."""
    bindings = open_double(buckets=(1, 2), lanes=2, capture=True)
    watched = watch(bindings)
    bindings.run(rows(2))
    assert len({graph for _, graph, _ in watched.runs}) == 2
    for count in (1, 2, 1, 2):
        bindings.run(rows(count))
    pairs = {(graph, buffers) for _, graph, buffers in watched.runs}
    assert len(pairs) == len({graph for graph, _ in pairs}) == len({buffers for _, buffers in pairs}) == 4
    assert "-1" not in {graph for graph, _ in pairs}


@pytest.mark.parametrize("count", [3, 5])
def test_size_outside_the_buckets_is_not_captured(count: int) -> None:
    """A batch of another size, as golden samples have, runs without a graph."""
    bindings = open_double(buckets=(1, 2, 4), capture=True)
    watched = watch(bindings)
    bindings.run(rows(count))
    assert [graph for _, graph, _ in watched.runs] == ["-1"]


def test_output_whose_size_depends_on_the_values_comes_whole() -> None:
    """If the shape of an output is not known before the run, ONNX Runtime allocates it and no graph is captured."""
    node = helper.make_node("NonZero", ["x"], ["y"])
    tensors = [("x", TensorProto.FLOAT, ["batch", 3])], [("y", TensorProto.INT64, [2, "found"])]
    bindings = open_bindings(graphs.build([node], *tensors), buckets=(1, 2), lanes=2, capture=True)
    watched = watch(bindings)
    first, second = (bindings.run({"x": x.astype(np.float32)})[0] for x in (np.eye(2, 3), np.ones((2, 3))))
    assert (first.tolist(), second.shape) == ([[0, 1], [0, 1]], (2, 6))
    assert {graph for _, graph, _ in watched.runs} == {"-1"}


def test_failed_run_gives_its_buffers_back() -> None:
    """The error reaches the caller, and the next run of that shape works in the same buffers."""
    bindings = open_bindings(graphs.look_up())
    with pytest.raises(Exception, match="indices element out of data bounds"):
        bindings.run({"x": np.array([[9]], np.int64)})
    assert bindings.run({"x": np.array([[2]], np.int64)})[0].tolist() == [[12.0]]
    assert len(idle_buffers(bindings)) == 1


def test_buffers_of_ever_new_lengths_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of shapes that are kept is bounded. A shape that was dropped still runs."""
    monkeypatch.setattr(binding_module, "_KEPT_SHAPES", 3)
    bindings = open_bindings(graphs.double("length"))
    for length in (*range(1, 9), 1):
        assert bindings.run({"x": np.ones((1, length), np.float32)})[0].tolist() == [[2.0] * length]
    assert len(idle_buffers(bindings)) == 3


def test_array_with_gaps_is_loaded_by_its_values() -> None:
    """A slice of a larger array is copied as its values say; only the CPU's own memory is the host."""
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    assert open_double().run({"x": wide[:, ::2]})[0].tolist() == (2 * wide[:, ::2]).tolist()
    assert (HOST.is_host, MemoryLocation("cuda", 0).is_host) == (True, False)


def test_strings_are_not_bound() -> None:
    """Strings cannot be bound to a device: such a graph runs without buffers even if they are wanted."""
    session = Session(graphs.echo(TensorProto.STRING), bound=True)
    assert session._bindings is None
    assert session.run({"x": np.array([["a"]], object)})[0].tolist() == [["a"]]


@pytest.mark.parametrize(
    ("shape", "sizes", "resolved"),
    [
        (["batch", 3], {"batch": 4}, (4, 3)),
        (["batch", "other"], {"batch": 4}, None),
        ([None, 3], {"batch": 4}, None),
        (["", 3], {"batch": 4}, None),
        ([], {}, ()),
    ],
)
def test_shape_is_known_where_axes_are_named(
    shape: list[Any], sizes: dict[str, int], resolved: tuple[int, ...] | None
) -> None:
    """An axis without a name is never taken for another one without a name."""
    assert resolve_shape(shape, sizes) == resolved


CUDA = NAMES["cuda"]
MEMORY = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)


class FakeDevice:
    """What ``ort.get_ep_devices`` would list for a provider; its host memory is the CPU's own allocator."""

    def __init__(self, ep_name: str, memory: object = MEMORY) -> None:
        self.ep_name, self._memory = ep_name, memory

    def memory_info(self, kind: Any) -> Any:
        return self._memory


@pytest.mark.parametrize(
    "devices",
    [[], [FakeDevice(CPU)], [FakeDevice(CUDA, None)], [FakeDevice(CUDA, "not a memory info")]],
    ids=["no device", "another provider's", "none", "an allocator that does not work"],
)
def test_host_memory_is_ordinary_where_no_other_is_offered(devices: Sequence[Any]) -> None:
    """Without host-accessible memory of the wanted provider's device batches lie in NumPy's own."""
    assert find_pinned_memory(devices, CUDA) is np.empty


@pytest.mark.skipif(ORT < (1, 28), reason="it gives out no such memory")
def test_offered_host_memory_is_used_and_lives_as_long_as_its_array() -> None:
    """Batches lie in the device's host memory: of every shape and type, writable, aligned; strings do not."""
    ort.create_and_register_allocator(MEMORY, None)
    empty = find_pinned_memory([FakeDevice(CUDA)], CUDA)
    assert empty is not np.empty
    dtypes = [DATATYPES[name].dtype for name in ("FP32", "FP16", "BF16", "INT64", "BOOL")]
    arrays = [empty((5, 3), dtype) for dtype in dtypes for _ in range(50)]
    gc.collect()
    for i, array in enumerate(arrays):
        array[:] = i % 2
    assert all((a == i % 2).all() and a.shape == (5, 3) and a.flags.aligned for i, a in enumerate(arrays))
    assert not arrays[0].flags.owndata
    assert empty((2,), np.dtype(object)).flags.owndata
    assert empty((0, 3), np.dtype("float32")).shape == (0, 3)
