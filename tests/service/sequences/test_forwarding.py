"""Requests of sequences that another worker keeps: two workers on one event loop, joined by their sockets."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop

from service.metrics.exposition import expose
from service.models.registry import Model
from service.protocol.json import parse_json, render_json
from service.sequences import forwarding
from service.sequences.forwarding import Forwarder
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import FORWARDED_INFER, GRPC_INFER, INFER, Endpoint, Reply
from service.worker import Worker
from tests.support.gates import gated
from tests.support.models import graphs
from tests.support.servers import ReadyWorker, settings_for

Json = dict[str, Any]


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
    call = AwaitedRequest(Endpoint(route, "adder"), b"", {k.replace("_", "-").encode(): v for k, v in headers.items()})
    call.body = body
    worker.handler.start(call)
    return call


async def ask(worker: Worker, *args: Any, **parameters: Any) -> Reply:
    return await begin(worker, body_of(*args, **parameters)).answer


def read(reply: Reply) -> Any:
    return parse_json(b"".join(reply.chunks))


def total_of(reply: Reply) -> float:
    assert reply.status == 200, read(reply)
    total: float = read(reply)["outputs"][0]["data"][0]
    return total


def error_of(reply: Reply) -> tuple[int, str]:
    return reply.status, read(reply)["error"]


class Pair:
    """Two workers, and a sequence that the second keeps, which the first is asked about."""

    def __init__(self, one: Worker, two: Worker) -> None:
        self.one, self.two = one, two
        assert one.forwarder is not None
        self.forwarder = one.forwarder
        self.theirs = next(i for i in range(1, 100) if self.forwarder.find_owner("adder", i))
        self.ours = next(i for i in range(1, 100) if not self.forwarder.find_owner("adder", i))

    @property
    def model(self) -> Model:
        """In the worker that keeps the sequence."""
        return self.two.registry.find("adder")


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; the test's own limit ends it otherwise."""
    turns = asyncio.Queue[None]()
    while not holds():
        asyncio.get_running_loop().call_soon(turns.put_nowait, None)
        await turns.get()


@contextlib.asynccontextmanager
async def worker(store: Path, folder: Path, make: type[Worker] = ReadyWorker, **changes: Any) -> Any:
    settings = settings_for(store, provider="cpu", workers=2, metrics_dir=folder, lanes=1, **changes)
    worker = make(settings)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


def run(store: Path, folder: Path, act: Callable[[Pair], Coroutine[Any, Any, None]], **changes: Any) -> None:
    async def main() -> None:
        async with worker(store, folder, **changes) as one, worker(store, folder, **changes) as two:
            await act(Pair(one, two))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_unknown_sequence_is_refused_by_who_would_keep_it(store: Path, tmp_path: Path) -> None:
    """The refusal comes back whole: status, text, and the id of the request in the worker that has the caller."""

    async def act(pair: Pair) -> None:
        call = begin(pair.one, body_of(1, pair.theirs), x_request_id=b"mine")
        reply = await call.answer
        status, text = error_of(reply)
        assert (status, f"there is no sequence {pair.theirs}" in text) == (400, True)
        assert read(reply)["request_id"] == "mine"
        assert dict(reply.headers)[b"x-request-id"] == b"mine"

    run(store, tmp_path, act)


def test_worker_that_is_not_there_is_503(store: Path, tmp_path: Path) -> None:
    """Nobody listens: 503 with a time to come back, again and again, and its sequences go on when it has come."""

    async def main() -> None:
        async with worker(store, tmp_path) as one:
            theirs = next(i for i in range(1, 100) if one.forwarder.find_owner("adder", i))
            for _ in range(2):
                reply = await ask(one, 1, theirs, "start")
                assert error_of(reply) == (
                    503,
                    "sequence_id: the worker that keeps this sequence is not there at present",
                )
                assert int(dict(reply.headers)[b"retry-after"]) >= 1
            async with worker(store, tmp_path):
                assert total_of(await ask(one, 1, theirs, "start")) == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_socket_that_a_killed_worker_left_is_503(store: Path, tmp_path: Path) -> None:
    """A file that nobody listens on refuses the connection, and the worker that takes the rank puts it away."""

    async def main() -> None:
        async with worker(store, tmp_path) as one:
            theirs = next(i for i in range(1, 100) if one.forwarder.find_owner("adder", i))
            server = await asyncio.start_unix_server(lambda reader, writer: None, tmp_path / "1.forward")
            server.close()
            await server.wait_closed()
            (tmp_path / "1.forward").touch()
            assert (await ask(one, 1, theirs, "start")).status == 503
            async with worker(store, tmp_path):
                assert total_of(await ask(one, 1, theirs, "start")) == 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_worker_that_is_loading_is_503(store: Path, tmp_path: Path) -> None:
    """A worker that listens but whose models do not serve yet says so itself."""

    async def act(pair: Pair) -> None:
        await pair.two.registry.unload("adder")
        reply = await ask(pair.one, 1, pair.theirs, "start")
        assert reply.status == 503
        assert b"retry-after" in dict(reply.headers)

    run(store, tmp_path, act)


def test_worker_that_ends_while_it_is_waited_for_is_503(store: Path, tmp_path: Path) -> None:
    """Who waits for a worker is answered when its connection ends, each with 503."""

    async def act(pair: Pair) -> None:
        with gated(pair.model) as gate:
            calls = [begin(pair.one, body_of(1, pair.theirs, *marks)) for marks in (("start",), ())]
            await until(lambda: gate.entered.acquire(blocking=False))
            assert pair.two.forwarder is not None
            await pair.two.forwarder.close()
            assert [(await call.answer).status for call in calls] == [503, 503]

    run(store, tmp_path, act)


def test_sequence_of_a_worker_that_has_ended_is_gone(store: Path, tmp_path: Path) -> None:
    """The worker that takes its rank knows nothing of it: 400, as for any unknown sequence; the others go on."""

    async def main() -> None:
        async with worker(store, tmp_path) as one:
            async with worker(store, tmp_path) as two:
                pair = Pair(one, two)
                for sequence in (pair.ours, pair.theirs):
                    assert total_of(await ask(one, 1, sequence, "start")) == 1
            async with worker(store, tmp_path):
                assert (await ask(one, 1, pair.theirs)).status == 400
                assert total_of(await ask(one, 1, pair.ours)) == 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_caller_that_goes_is_taken_out_in_the_other_worker(store: Path, tmp_path: Path) -> None:
    """A cancelled call leaves the line of its sequence there, and gives back the room that its body held."""

    async def act(pair: Pair) -> None:
        with gated(pair.model) as gate:
            first = begin(pair.one, body_of(1, pair.theirs, "start"))
            await until(lambda: gate.entered.acquire(blocking=False))
            gone, last = (begin(pair.one, body_of(x, pair.theirs)) for x in (10, 100))
            held = pair.two.handler.body_budget
            await until(lambda: held.held_bytes == sum(len(body_of(x, pair.theirs)) for x in (10, 100)) + held_first)
            gone.work.cancel()
            await until(lambda: held.held_bytes == len(body_of(100, pair.theirs)) + held_first)
            gate.opened.set()
            assert [total_of(await call.answer) for call in (first, last)] == [1, 101]
            assert not gone.answer.done()
        await until(lambda: held.held_bytes == 0)

    held_first = len(body_of(1, 1, "start"))
    run(store, tmp_path, act)


def test_callers_of_a_worker_that_ends_are_gone(store: Path, tmp_path: Path) -> None:
    """When the worker that has the callers ends, what it had forwarded is cancelled: nobody waits for it."""

    async def act(pair: Pair) -> None:
        with gated(pair.model) as gate:
            begin(pair.one, body_of(1, pair.theirs, "start"))
            begin(pair.one, body_of(1, pair.theirs))
            await until(lambda: gate.entered.acquire(blocking=False))
            await pair.forwarder.close()
            await until(lambda: pair.two.handler.body_budget.held_bytes == 0)
            assert len(pair.two.sequences) == 0

    run(store, tmp_path, act)


def test_deadline_goes_with_the_call(store: Path, tmp_path: Path) -> None:
    """A request whose turn does not come in time in the other worker is 504."""

    async def act(pair: Pair) -> None:
        with gated(pair.model) as gate:
            first = begin(pair.one, body_of(1, pair.theirs, "start"))
            await until(lambda: gate.entered.acquire(blocking=False))
            other = next(i for i in range(pair.theirs + 1, 200) if pair.forwarder.find_owner("adder", i))
            late = await ask(pair.one, 1, other, "start", timeout=50_000)
            assert error_of(late)[0] == 504
            gate.opened.set()
            assert total_of(await first.answer) == 1

    run(store, tmp_path, act)


def test_worker_that_is_stuck_is_504(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a request and never answers is not waited for beyond the deadline."""
    monkeypatch.setattr(forwarding, "GRACE_S", 0.01)

    async def main() -> None:
        async with worker(store, tmp_path) as one:
            theirs = next(i for i in range(1, 100) if one.forwarder.find_owner("adder", i))

            async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.closing(writer):
                    await reader.read()  # all that is ever sent, and no answer

            server = await asyncio.start_unix_server(take, tmp_path / "1.forward")
            reply = await ask(one, 1, theirs, "start", timeout=20_000)
            assert error_of(reply) == (504, "the worker that keeps this sequence has not answered in time")
            server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_number_under_way_is_bounded(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound the next request is 429 at once, and those under way are answered."""
    monkeypatch.setattr(forwarding, "MAX_UNDER_WAY", 2)

    async def act(pair: Pair) -> None:
        calls = [begin(pair.one, body_of(1, pair.theirs, *marks)) for marks in (("start",), (), ())]
        replies = [await call.answer for call in calls]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert b"retry-after" in dict(replies[2].headers)
        assert total_of(await ask(pair.one, 1, pair.theirs)) == 3

    run(store, tmp_path, act)


def test_bytes_under_way_are_bounded(store: Path, tmp_path: Path) -> None:
    """More bytes than a worker may hold are not queued for another one, nor taken by it."""

    async def act(pair: Pair) -> None:
        big = body_of(1, pair.theirs, "start", padding="x" * 900)
        calls = [begin(pair.one, big) for _ in range(2)]  # the connection is not there yet: they wait for it
        assert [(await call.answer).status for call in calls] == [200, 429]
        assert pair.two.handler.body_budget.try_admit(500)  # of others
        status, text = error_of(await begin(pair.one, big).answer)
        assert (status, text) == (429, "sequence_id: the worker that keeps this sequence holds all it may")
        pair.two.handler.body_budget.release(500)
        assert (await begin(pair.one, big).answer).status == 200

    run(store, tmp_path, act, max_held_bytes=1500)


def test_request_is_forwarded_once(store: Path, tmp_path: Path) -> None:
    """A worker runs what was forwarded to it, also where it takes it for another's."""

    async def act(pair: Pair) -> None:
        call = begin(pair.one, body_of(3, pair.theirs, "start"), FORWARDED_INFER)
        assert total_of(await call.answer) == 3
        assert len(pair.one.sequences) == 1

    run(store, tmp_path, act)


def test_requests_without_a_sequence_do_not_ask_for_an_owner(store: Path, tmp_path: Path) -> None:
    """They are run where they are, without a look at the other workers."""

    async def act(pair: Pair) -> None:
        def explode(model: str, sequence: int | str) -> None:
            raise AssertionError("asked")

        pair.forwarder.find_owner = explode  # type: ignore[method-assign, assignment]
        total = {"name": "total", "shape": [1, 1], "datatype": "FP32", "data": [1]}
        body = {"inputs": [total, {**total, "name": "x"}]}
        assert total_of(await begin(pair.one, render_json(body)).answer) == 2

    run(store, tmp_path, act)


def test_answers_are_those_of_the_other_worker(store: Path, tmp_path: Path) -> None:
    """Binary tensors, times and content codings come as from the worker that has the caller; metrics count it once."""

    async def act(pair: Pair) -> None:
        values = np.array([[0.1]], "<f4")
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
        told = {"sequence_id": pair.theirs, "sequence_start": True, "binary_data_output": True}
        head = render_json({"inputs": [tensor], "parameters": told})
        length = str(len(head)).encode()
        call = begin(pair.one, head + values.tobytes(), inference_header_content_length=length)
        reply = await call.answer
        headers = dict(reply.headers)
        assert len(headers) == len(reply.headers)  # none twice
        assert headers[b"content-type"] == b"application/octet-stream"
        content = b"".join(reply.chunks)
        assert content[int(headers[b"inference-header-content-length"]) :] == values.tobytes()
        assert headers[b"server-timing"].startswith(b"queue;dur=")
        assert len(pair.two.sequences) == 1
        counted = expose(pair.one.metrics, "")[0].decode().splitlines()
        counts = {
            route: sum(float(line.split()[-1]) for line in counted if "requests_total" in line and route in line)
            for route in (f'route="{INFER}"', f'route="{FORWARDED_INFER}"')
        }
        assert list(counts.values()) == [1, 1]

    run(store, tmp_path, act)


def test_large_bodies_pass(store: Path, tmp_path: Path) -> None:
    """A body larger than what is read ahead, with small ones behind it, arrives whole and in its order."""

    async def act(pair: Pair) -> None:
        calls = [begin(pair.one, body_of(1, pair.theirs, "start", padding="x" * (8 << 20)))]
        calls += [begin(pair.one, body_of(1, pair.theirs)) for _ in range(3)]
        assert [total_of(await call.answer) for call in calls] == [1, 2, 3, 4]

    run(store, tmp_path, act)


def test_order_is_kept_and_grpc_goes_the_same_way(store: Path, tmp_path: Path) -> None:
    """Requests of one sequence, all begun at once and from both workers' callers, run in the order of each."""

    async def act(pair: Pair) -> None:
        routes = [GRPC_INFER, INFER]

        def binary(x: float, *marks: str) -> tuple[bytes, bytes]:
            head = body_of(x, pair.theirs, *marks)
            return head, str(len(head)).encode()

        calls = []
        for i in range(20):
            body, length = binary(i, *(["start"] if i == 0 else []))
            calls.append(begin(pair.one, body, routes[i % 2], inference_header_content_length=length))
        totals = [total_of(await call.answer) for call in calls]
        assert totals == [sum(range(i + 1)) for i in range(20)]

    run(store, tmp_path, act)


def test_workers_agree_on_who_keeps_a_sequence(store: Path, tmp_path: Path) -> None:
    """Of any two workers exactly one takes a sequence for its own; each keeps about half of them."""

    async def act(pair: Pair) -> None:
        other = pair.two.forwarder
        assert isinstance(other, Forwarder)
        ids = [*range(500), *(f"name {i}" for i in range(500))]
        ours = [pair.forwarder.find_owner("adder", i) is None for i in ids]
        assert [not mine for mine in ours] == [other.find_owner("adder", i) is None for i in ids]
        assert 400 < sum(ours) < 600

    run(store, tmp_path, act)
