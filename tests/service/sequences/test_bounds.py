"""The limits of sequences: idle time, memory, and waiting requests. Time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.models.registry import Model
from service.sequences.sequences import MAX_WAITING
from service.transport.request import Reply
from tests.service.sequences.asking import begin, body_of, read, total_of
from tests.support.clocks import VirtualLoop
from tests.support.models import graphs
from tests.support.servers import ReadyWorker, settings_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


class Bench:
    """A worker with the model ``counter``."""

    def __init__(self, worker: ReadyWorker) -> None:
        self.handler = worker.handler
        self.sequences = worker.sequences
        self.model: Model = worker.registry.find("counter")

    async def ask(self, x: int, sequence: Any, *marks: str) -> Reply:
        return await begin(self.handler, body_of(x, sequence, *marks)).answer

    async def status(self, x: int, sequence: Any, *marks: str) -> int:
        return (await self.ask(x, sequence, *marks)).status

    async def total(self, x: int, sequence: Any) -> int:
        return total_of(read(await self.ask(x, sequence)))


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def bench(tmp_path: Path, settings: dict[str, Any]) -> AsyncIterator[Bench]:
    graphs.write_loop(tmp_path, "counter", graphs.count_up(), {"total": "next_total", "x": None})
    worker = ReadyWorker(settings_for(tmp_path, provider="cpu", **settings))
    await worker.start()
    try:
        yield Bench(worker)
    finally:
        await worker.stop()


@pytest.mark.parametrize("settings", [{"sequence_idle_s": 10.0}])
async def test_idle_sequence_is_let_go_of(bench: Bench) -> None:
    """A sequence is dropped when it has been idle for too long, counted from its own last request."""
    await bench.status(1, "early", "start")
    await asyncio.sleep(3)
    await bench.status(1, "late", "start")
    await asyncio.sleep(3)
    assert await bench.total(1, "early") == 2
    await asyncio.sleep(8)  # 11 s after the last use of the one, 8 s after that of the other
    assert await bench.status(1, "late") == 400
    assert len(bench.sequences) == 1
    assert await bench.total(1, "early") == 3
    await asyncio.sleep(11)
    assert (len(bench.sequences), bench.sequences.held_bytes) == (0, 0)


async def test_deadline_counts_while_a_request_waits_in_its_line(bench: Bench) -> None:
    """A request whose turn comes too late is 504, and the next one goes on with the state before it."""
    now = 0.0
    bench.handler.clock = lambda: now
    calls = [begin(bench.handler, body_of(1, "late", *marks)) for marks in (("start",), ())]
    now = 31.0
    calls.append(begin(bench.handler, body_of(1, "late")))
    assert [(await call.answer).status for call in calls] == [200, 504, 200]
    assert await bench.total(1, "late") == 3


async def test_line_of_a_sequence_is_bounded(bench: Bench) -> None:
    """A request too many for the line is 429. When the model stops, the one that runs is answered, the rest refused."""
    calls = [begin(bench.handler, body_of(0, "long", "start")) for _ in range(MAX_WAITING + 2)]
    statuses = [(await call.answer).status for call in calls]
    assert statuses == [*[200] * (MAX_WAITING + 1), 429]
    calls = [begin(bench.handler, body_of(1, "stop", *marks)) for marks in (("start",), (), ())]
    await bench.model.dispatcher.drain()
    assert [(await call.answer).status for call in calls] == [200, 503, 503]


@pytest.mark.parametrize("settings", [{"max_sequences": 2}, {"max_sequence_bytes": 40}], ids=["number", "bytes"])
async def test_too_many_sequences_are_429(bench: Bench) -> None:
    """At the limit no sequence starts, open ones go on, and the end of one makes room. A state takes 16 bytes."""
    assert [await bench.status(1, i, "start") for i in (1, 2, 3)] == [200, 200, 429]
    assert bench.sequences.held_bytes == 32
    assert await bench.status(1, 1, "end") == 200
    assert await bench.status(1, 3, "start") == 200
    assert [await bench.status(1, i, "end") for i in (2, 3)] == [200, 200]
    assert (len(bench.sequences), bench.sequences.held_bytes) == (0, 0)


@pytest.mark.parametrize("settings", [{"workers": 2}])
async def test_workers_without_a_folder_keep_no_sequences(bench: Bench) -> None:
    """Workers that cannot reach each other keep no sequences: 501."""
    reply = await bench.ask(1, 1, "start")
    assert reply.status == 501
    assert "set SLUICE_METRICS_DIR, or send the state of the model as inputs" in read(reply)["error"]
