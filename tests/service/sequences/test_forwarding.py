"""Requests of sequences that another worker keeps: two workers on one event loop, joined by their sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.metrics.exposition import expose
from service.models.registry import Model
from service.protocol.json import render_json
from service.sequences import forwarding
from service.sequences.forwarding import Forwarder
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import FORWARDED_INFER, GRPC_INFER, INFER, BodyBudget, Reply
from service.worker import Worker
from tests.service.sequences import asking
from tests.service.sequences.asking import read
from tests.support.gates import gated
from tests.support.models import graphs
from tests.support.servers import ReadyWorker, settings_for

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forwarded")
    graphs.write_loop(root, "adder", graphs.add_up(), {"total": "next_total", "x": None})
    return root


def body_of(x: float, sequence: Any, *marks: str, **parameters: Any) -> bytes:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [x]}
    told = {"sequence_id": sequence, **{f"sequence_{mark}": True for mark in marks}, **parameters}
    return render_json({"inputs": [tensor], "parameters": told})


def begin(worker: Worker, body: bytes, route: str = INFER, **headers: bytes) -> AwaitedRequest:
    return asking.begin(worker.handler, body, "adder", route, **headers)


async def ask(worker: Worker, *args: Any, **parameters: Any) -> Reply:
    return await begin(worker, body_of(*args, **parameters)).answer


def total_of(reply: Reply) -> float:
    assert reply.status == 200, read(reply)
    return asking.total_of(read(reply))


def error_of(reply: Reply) -> tuple[int, str]:
    return reply.status, read(reply)["error"]


class Pair:
    """Two workers: the first is asked about sequences that the second keeps (``theirs``), and about its own."""

    def __init__(self, one: Worker, two: Worker) -> None:
        self.one, self.two = one, two
        self.forwarder = forwarder_of(one)
        self.theirs = find_theirs(one)
        self.ours = next(i for i in range(1, 100) if not self.forwarder.find_owner("adder", i))

    @property
    def model(self) -> Model:
        """In the worker that keeps the sequence."""
        return self.two.registry.find("adder")

    @property
    def held(self) -> BodyBudget:
        """The room for bodies in the worker that keeps the sequence."""
        return self.two.handler.body_budget


def forwarder_of(worker: Worker) -> Forwarder:
    assert worker.forwarder is not None
    return worker.forwarder


def find_theirs(one: Worker, first: int = 1) -> int:
    """A sequence that the other worker keeps."""
    return next(i for i in range(first, 200) if forwarder_of(one).find_owner("adder", i))


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; the test's own limit ends it otherwise."""
    turns = asyncio.Queue[None]()
    while not holds():
        asyncio.get_running_loop().call_soon(turns.put_nowait, None)
        await turns.get()


@contextlib.asynccontextmanager
async def worker(store: Path, folder: Path, index: int | None = None, **changes: Any) -> AsyncIterator[Worker]:
    settings = settings_for(store, provider="cpu", workers=2, metrics_dir=folder, lanes=1, **changes)
    worker = ReadyWorker(settings, index)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def max_held_bytes() -> int:
    return 1 << 30


@pytest.fixture
async def one(store: Path, tmp_path: Path, max_held_bytes: int) -> AsyncIterator[Worker]:
    async with worker(store, tmp_path, max_held_bytes=max_held_bytes) as one:
        yield one


@pytest.fixture
async def pair(store: Path, tmp_path: Path, one: Worker, max_held_bytes: int) -> AsyncIterator[Pair]:
    async with worker(store, tmp_path, max_held_bytes=max_held_bytes) as two:
        yield Pair(one, two)


async def test_unknown_sequence_is_refused_by_who_would_keep_it(pair: Pair) -> None:
    """The refusal comes back with its status and text, and with the request id of the worker that has the caller."""
    reply = await begin(pair.one, body_of(1, pair.theirs), x_request_id=b"mine").answer
    status, text = error_of(reply)
    assert (status, f"there is no sequence {pair.theirs}" in text) == (400, True)
    assert read(reply)["request_id"] == "mine"
    assert dict(reply.headers)[b"x-request-id"] == b"mine"


@pytest.mark.parametrize("was_killed", [False, True])
async def test_worker_that_is_not_there_is_503(store: Path, tmp_path: Path, one: Worker, was_killed: bool) -> None:
    """If nobody listens, the answer is 503 with Retry-After. With another worker of that rank sequences start."""
    theirs = find_theirs(one)
    if was_killed:
        server = await asyncio.start_unix_server(lambda reader, writer: None, tmp_path / "1.forward")
        server.close()
        await server.wait_closed()
        (tmp_path / "1.forward").touch()
    for _ in range(2):
        reply = await ask(one, 1, theirs, "start")
        text = "sequence_id: the worker that keeps this sequence is not available at present"
        assert error_of(reply) == (503, text)
        assert int(dict(reply.headers)[b"retry-after"]) >= 1
    async with worker(store, tmp_path):
        assert total_of(await ask(one, 1, theirs, "start")) == 1


async def test_worker_that_is_loading_is_503(pair: Pair) -> None:
    """A worker that listens before its models serve answers with 503 itself."""
    await pair.two.registry.unload("adder")
    reply = await ask(pair.one, 1, pair.theirs, "start")
    assert reply.status == 503
    assert b"retry-after" in dict(reply.headers)


async def test_worker_that_ends_while_it_is_waited_for_is_503(pair: Pair) -> None:
    """Every request that waits for the worker is answered with 503 when the connection ends."""
    with gated(pair.model) as gate:
        calls = [begin(pair.one, body_of(1, pair.theirs, *marks)) for marks in (("start",), ())]
        await until(lambda: gate.entered.acquire(blocking=False))
        await forwarder_of(pair.two).close()
        assert [(await call.answer).status for call in calls] == [503, 503]


async def test_sequence_of_a_worker_that_has_ended_is_gone(store: Path, tmp_path: Path, one: Worker) -> None:
    """The worker that takes the rank does not know the sequence: 400. Those of other workers go on."""
    async with worker(store, tmp_path) as two:
        pair = Pair(one, two)
        for sequence in (pair.ours, pair.theirs):
            assert total_of(await ask(one, 1, sequence, "start")) == 1
    async with worker(store, tmp_path):
        assert (await ask(one, 1, pair.theirs)).status == 400
        assert total_of(await ask(one, 1, pair.ours)) == 2


async def test_sequences_of_a_worker_that_is_replaced_may_end(store: Path, tmp_path: Path) -> None:
    """The successor forwards to the old worker while that lives, then keeps sequences itself. Open ones are lost then.

    The old one says that it is in use as long as it keeps a sequence.
    """
    async with worker(store, tmp_path, 0) as old:
        mine = next(i for i in range(1, 200) if not forwarder_of(old).find_owner("adder", i))
        assert total_of(await ask(old, 1, mine, "start")) == 1
        async with worker(store, tmp_path, 0) as new:
            assert old.is_in_use
            assert total_of(await ask(new, 2, mine)) == 3
            assert total_of(await ask(new, 2, mine, "end")) == 5
            assert not old.is_in_use
            assert total_of(await ask(new, 1, mine, "start")) == 1
            await old.stop()
            await until(lambda: forwarder_of(new).find_owner("adder", mine) is None)
            assert (await ask(new, 2, mine)).status == 400
            assert total_of(await ask(new, 7, mine, "start")) == 7


async def test_caller_that_goes_is_taken_out_in_the_other_worker(pair: Pair) -> None:
    """A cancelled call leaves the line of its sequence there, and gives back the room that its body held."""
    bodies = [body_of(1, pair.theirs, "start"), body_of(10, pair.theirs), body_of(100, pair.theirs)]
    sizes = [len(body) for body in bodies]
    with gated(pair.model) as gate:
        first = begin(pair.one, bodies[0])
        await until(lambda: gate.entered.acquire(blocking=False))
        gone, last = (begin(pair.one, body) for body in bodies[1:])
        await until(lambda: pair.held.held_bytes == sum(sizes))
        gone.work.cancel()
        await until(lambda: pair.held.held_bytes == sizes[0] + sizes[2])
        gate.opened.set()
        assert [total_of(await call.answer) for call in (first, last)] == [1, 101]
        assert not gone.answer.done()
    await until(lambda: pair.held.held_bytes == 0)


async def test_callers_of_a_worker_that_ends_are_gone(pair: Pair) -> None:
    """When the worker that has the callers ends, what it had forwarded is cancelled: nobody waits for it."""
    with gated(pair.model) as gate:
        begin(pair.one, body_of(1, pair.theirs, "start"))
        begin(pair.one, body_of(1, pair.theirs))
        await until(lambda: gate.entered.acquire(blocking=False))
        await pair.forwarder.close()
        await until(lambda: pair.held.held_bytes == 0)
        assert len(pair.two.sequences) == 0


async def test_deadline_goes_with_the_call(pair: Pair) -> None:
    """A request whose turn does not come in time in the other worker is 504."""
    with gated(pair.model) as gate:
        first = begin(pair.one, body_of(1, pair.theirs, "start"))
        await until(lambda: gate.entered.acquire(blocking=False))
        late = await ask(pair.one, 1, find_theirs(pair.one, pair.theirs + 1), "start", timeout=50_000)
        assert error_of(late)[0] == 504
        gate.opened.set()
        assert total_of(await first.answer) == 1


async def test_worker_that_is_stuck_is_504(tmp_path: Path, one: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that never answers is not waited for beyond the deadline."""
    monkeypatch.setattr(forwarding, "GRACE_S", 0.01)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.read()  # all that is ever sent, and no answer

    server = await asyncio.start_unix_server(take, tmp_path / "1.forward")
    reply = await ask(one, 1, find_theirs(one), "start", timeout=200_000)
    assert error_of(reply) == (504, "the worker that keeps this sequence has not answered in time")
    server.close()


async def test_number_under_way_is_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit the next request is 429 at once, and those under way are answered."""
    monkeypatch.setattr(forwarding, "MAX_UNDER_WAY", 2)
    calls = [begin(pair.one, body_of(1, pair.theirs, *marks)) for marks in (("start",), (), ())]
    replies = [await call.answer for call in calls]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert b"retry-after" in dict(replies[2].headers)
    assert total_of(await ask(pair.one, 1, pair.theirs)) == 3


@pytest.mark.parametrize("max_held_bytes", [1500])
async def test_bytes_under_way_are_bounded(pair: Pair) -> None:
    """More bytes than a worker may hold are not queued for another one, nor taken by it."""
    big = body_of(1, pair.theirs, "start", padding="x" * 900)
    calls = [begin(pair.one, big) for _ in range(2)]  # the connection is not there yet: they wait for it
    assert [(await call.answer).status for call in calls] == [200, 429]
    assert pair.held.try_admit(500)  # of others
    refused = (429, "sequence_id: the worker that keeps this sequence holds as many bytes as it may")
    assert error_of(await begin(pair.one, big).answer) == refused
    pair.held.release(500)
    assert (await begin(pair.one, big).answer).status == 200


async def test_owner_is_asked_for_once_and_only_for_a_sequence(pair: Pair) -> None:
    """A worker runs forwarded requests and those without a sequence itself. It does not ask for an owner."""

    def explode(model: str, sequence: int | str) -> None:
        raise AssertionError("asked")

    forwarded, total = pair.theirs, {"name": "total", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    pair.forwarder.find_owner = explode  # type: ignore[method-assign, assignment]
    assert total_of(await begin(pair.one, body_of(3, forwarded, "start"), FORWARDED_INFER).answer) == 3
    assert len(pair.one.sequences) == 1
    body = render_json({"inputs": [total, {**total, "name": "x"}]})
    assert total_of(await begin(pair.one, body).answer) == 2


async def test_answers_are_those_of_the_other_worker(pair: Pair) -> None:
    """Binary tensors, times and content codings come as from the worker that has the caller; metrics count it once."""
    values = np.array([[0.1]], "<f4")
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
    told = {"sequence_id": pair.theirs, "sequence_start": True, "binary_data_output": True}
    head = render_json({"inputs": [tensor], "parameters": told})
    length = str(len(head)).encode()
    reply = await begin(pair.one, head + values.tobytes(), inference_header_content_length=length).answer
    headers = dict(reply.headers)
    assert len(headers) == len(reply.headers)  # none twice
    assert headers[b"content-type"] == b"application/octet-stream"
    content = b"".join(reply.chunks)
    assert content[int(headers[b"inference-header-content-length"]) :] == values.tobytes()
    assert headers[b"server-timing"].startswith(b"queue;dur=")
    assert len(pair.two.sequences) == 1
    counted = [line for line in expose(pair.one.metrics, "")[0].decode().splitlines() if "requests_total" in line]
    for route in (INFER, FORWARDED_INFER):
        assert sum(float(line.split()[-1]) for line in counted if f'route="{route}"' in line) == 1


async def test_order_is_kept_and_grpc_goes_the_same_way(pair: Pair) -> None:
    """Requests of one sequence, begun at once over HTTP and gRPC, run in their order, large bodies too."""
    calls = []
    for i in range(20):
        body = body_of(i, pair.theirs, *(["start"] if i == 0 else []))
        length = str(len(body)).encode()
        calls.append(begin(pair.one, body, (GRPC_INFER, INFER)[i % 2], inference_header_content_length=length))
    assert [total_of(await call.answer) for call in calls] == [sum(range(i + 1)) for i in range(20)]
    calls = [begin(pair.one, body_of(1, pair.theirs, "start", padding="x" * (8 << 20)))]
    calls += [begin(pair.one, body_of(1, pair.theirs)) for _ in range(3)]
    assert [total_of(await call.answer) for call in calls] == [1, 2, 3, 4]


async def test_workers_agree_on_who_keeps_a_sequence(pair: Pair) -> None:
    """Of any two workers exactly one takes a sequence for its own; each keeps about half of them."""
    ids = [*range(500), *(f"name {i}" for i in range(500))]
    ours = [pair.forwarder.find_owner("adder", i) is None for i in ids]
    assert [not mine for mine in ours] == [forwarder_of(pair.two).find_owner("adder", i) is None for i in ids]
    assert 400 < sum(ours) < 600
