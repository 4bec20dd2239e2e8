"""The engine on a CUDA device."""

import asyncio
import gc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from loadtests.bench.models.resnet import build_resnet
from model_store import DEFAULT_ROOT, Store
from service.engine.batching.buckets import make_buckets
from service.engine.batching.queue import Answer, BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.onnx.providers import NAMES, GpuOptions
from service.engine.onnx.session import Session, host_allocator
from service.errors import NotReady, ServiceError
from service.metrics.devices import read_gpus
from service.models.loading import load_version
from service.settings import Settings
from tests.support.models import graphs

pytestmark = pytest.mark.gpu

CUDA = NAMES["cuda"]
MAX_ROWS = 8
BUCKETS = make_buckets(MAX_ROWS)
SMALL = ((16, 2), (32, 2))


@pytest.fixture(scope="module")
def network() -> bytes:
    """A residual network of a few layers; all of it runs on CUDA."""
    return build_resnet(stages=SMALL, side=32, classes=10)


def open_session(content: bytes, *, cuda_graphs: bool = False, max_rows: int = MAX_ROWS) -> Session:
    return Session(content, policy="cuda", max_rows=max_rows, gpu=GpuOptions(cuda_graphs=cuda_graphs))


def make_rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)


def ask(session: Session, rows: np.ndarray) -> np.ndarray:
    return session.run({"image": rows})[0]


def test_golden_samples_hold_on_cuda() -> None:
    """Every committed reference model equals its stored samples on this device, and all its buckets are warm."""
    store = Store(DEFAULT_ROOT)
    for name in store.names():
        loaded = load_version(store.versions(name)[-1], Settings(provider="cuda"))
        assert loaded.session.provider == CUDA
        assert loaded.golden_error is not None
        assert loaded.buckets == make_buckets(loaded.max_rows, loaded.least_rows)


def test_session_is_really_on_cuda_and_equals_the_cpu(network: bytes) -> None:
    """What was required is what runs, through bound buffers. TF32 is off: answers differ by rounding only."""
    session, rows = open_session(network), make_rows(8)
    assert (session.provider, session.on_cpu) == (CUDA, False)
    assert session._bindings is not None
    np.testing.assert_allclose(ask(session, rows), ask(Session(network), rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("bucket", BUCKETS)
def test_company_within_a_bucket_changes_no_bit(network: bytes, bucket: int, cuda_graphs: bool) -> None:
    """In batches of one size a row gives the same bits whoever its neighbours are, and wherever it stands."""
    session = open_session(network, cuda_graphs=cuda_graphs)
    row = make_rows(1)
    alone = ask(session, np.repeat(row, bucket, axis=0))[0]
    for seed in range(1, 4):
        for place in {0, bucket - 1}:
            batch = make_rows(bucket, seed)
            batch[place] = row[0]
            assert ask(session, batch)[place].tobytes() == alone.tobytes()


def test_ways_to_run_give_the_same_bits(network: bytes) -> None:
    """Plainly, by bound buffers or by CUDA graphs, in every bucket and outside of them, at capture and at replay."""
    plain = Session(network, policy="cuda", bound=False)
    bound, captured = open_session(network), open_session(network, cuda_graphs=True)
    assert captured.has_cuda_graphs
    for seed in range(3):
        for count in (*BUCKETS, 3):
            rows = make_rows(count, seed)
            assert ask(plain, rows).tobytes() == ask(bound, rows).tobytes() == ask(captured, rows).tobytes()


def test_graph_that_is_not_all_on_cuda_serves_without_cuda_graphs() -> None:
    """A model whose strings stay on the CPU runs nevertheless."""
    session = Session(graphs.echo(TensorProto.STRING), policy="auto", gpu=GpuOptions(cuda_graphs=True))
    assert not session.has_cuda_graphs
    assert session.run({"x": np.array([["a"]], object)})[0].tolist() == [["a"]]


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_lanes_side_by_side_get_their_own_answers(network: bytes, cuda_graphs: bool) -> None:
    """Two lanes (and more threads than lanes) at once: each gets the bits that it gets when it is alone."""
    session = open_session(network, cuda_graphs=cuda_graphs)
    batches = [make_rows(BUCKETS[i % len(BUCKETS)], i) for i in range(60)]
    expected = [ask(session, rows).tobytes() for rows in batches]
    for threads in (2, 4):
        with ThreadPoolExecutor(threads) as pool:
            assert [a.tobytes() for a in pool.map(lambda rows: ask(session, rows), batches)] == expected


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_requests_of_one_row_get_their_own_answers(tmp_path: Path, network: bytes, cuda_graphs: bool) -> None:
    """From the load through dispatcher, lanes and padding: the answer of each request is that of its row."""
    settings = Settings(store=tmp_path, provider="cuda", max_rows=MAX_ROWS, cuda_graphs=cuda_graphs)
    [version] = Store(graphs.write_plain(tmp_path, "m", network)).versions("m")
    loaded = load_version(version, settings)
    rows = make_rows(50)
    expected = ask(Session(network), rows)

    async def main() -> Sequence[Answer | ServiceError]:
        loop = asyncio.get_running_loop()
        device = Device(2, loop, splits=False, empty=host_allocator("cuda"))
        queue: BatchQueue = BatchQueue(loaded.max_rows, 1000, 0.0)
        dispatcher = Dispatcher(loaded.session, loaded.signature, device, queue, cost=loaded.cost, pad=loaded.pad)
        futures = [loop.create_future() for _ in rows]
        for row, future in zip(rows, futures, strict=True):
            dispatcher.submit(loaded.signature.check({"image": row[None]}), future.set_result)
        answers = await asyncio.gather(*futures)
        await dispatcher.drain()
        device.close()
        return answers

    got = [a.outputs["scores"][0] for a in asyncio.run(main()) if isinstance(a, Answer)]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def used_bytes() -> int:
    gc.collect()
    return sum(gpu.used_bytes for gpu in read_gpus())


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_memory_is_given_back_after_unload(cuda_graphs: bool) -> None:
    """Sessions that come and go leave nothing behind, apart from what CUDA itself keeps after the first one.

    Needs a device that nobody else uses meanwhile.
    """
    content = build_resnet()

    def load_and_drop() -> int:
        session = open_session(content, cuda_graphs=cuda_graphs, max_rows=16)
        session.run({"image": np.zeros((16, 3, 224, 224), np.float32)})
        return used_bytes()

    load_and_drop()
    before = used_bytes()
    loaded = max(load_and_drop() for _ in range(3))
    after = used_bytes()
    assert loaded - before > len(content) / 2, "the weights were on the device"
    assert after - before < len(content) / 10


def test_memory_limit_is_kept() -> None:
    """A model that needs more than its limit is refused or fails by itself; it does not take the memory."""
    rows, options = np.zeros((16, 3, 224, 224), np.float32), GpuOptions(mem_bytes=64 << 20)
    with pytest.raises(Exception, match=r"(?i)memory|alloc"):
        Session(build_resnet(), policy="cuda", gpu=options, max_rows=16).run({"image": rows})


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_half_precision_runs(precision: str) -> None:
    """The benchmark's networks answer finite numbers in either precision."""
    content = build_resnet(precision, stages=SMALL, side=32, classes=10)
    rows = make_rows(4).astype({"fp32": np.float32, "fp16": np.float16}[precision])
    assert np.isfinite(ask(open_session(content), rows)).all()


def test_required_provider_is_the_one_that_runs_or_an_error(network: bytes) -> None:
    """The wheels list TensorRT whether its libraries are there or not: without them it is an error, no CUDA run."""
    try:
        session = Session(network, policy="tensorrt", max_rows=MAX_ROWS)
    except NotReady:
        return
    assert session.provider == NAMES["tensorrt"]
