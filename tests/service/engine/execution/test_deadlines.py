"""Deadlines of requests that run, and runs that do not end."""

import asyncio
import math

import numpy as np
import pytest

from model_store.tasks import Carry
from service.engine.batching.policy import STUCK_S
from service.engine.loop.request import LoopRequest
from service.engine.onnx.session import Session
from service.errors import DeadlinePassed
from tests.service.engine.loop.bench import Bench as LoopBench
from tests.support.dispatching import SLOW_S, Bench, Counting, Gated, on_gate
from tests.support.models import graphs

ENDLESS = np.full((1, 3), 5000, np.float32)


@pytest.mark.anyio
async def test_run_that_never_ends_costs_its_caller_a_deadline_and_nobody_a_lane() -> None:
    """The next request of the same model is answered on the only lane."""
    content = graphs.never_ends_from(1000)
    bench = Bench(Counting(content), content, cost_s=SLOW_S)
    try:
        _, endless = bench.ask({"x": ENDLESS}, timeout_s=0.3)
        with pytest.raises(DeadlinePassed):
            await endless
        answer = await bench.ask_x(1)
        assert answer.outputs["y"].tolist() == [[1, 1, 1]]
    finally:
        bench.device.close()


@on_gate()
async def test_batch_goes_on_for_those_whose_deadline_has_not_passed(bench: Bench, runner: Gated, /) -> None:
    """If a batch is late for one of its two requests, the other one is still answered."""
    early, late = bench.ask_x(1, timeout_s=1.0), bench.ask_x(2)
    with pytest.raises(DeadlinePassed):
        await early
    runner.gate.set()
    assert (await late).outputs["y"].tolist() == [[4, 4, 4]]
    assert runner.batches == [2]


@on_gate()
async def test_run_that_cannot_be_ended_is_told_once_and_its_model_drains(bench: Bench, runner: Gated, /) -> None:
    """If a runner does not end when told to, its lane is given up after a grace, and that is reported once."""
    stuck: list[float] = []
    loop = asyncio.get_running_loop()
    bench.device._on_stuck = lambda: stuck.append(loop.time())
    with pytest.raises(DeadlinePassed):
        await bench.ask_x(1, timeout_s=1.0)
    await bench.dispatcher.drain()
    assert stuck == [pytest.approx(1.0 + STUCK_S)]
    runner.gate.set()
    await asyncio.to_thread(bench.device.close)


@pytest.mark.anyio
async def test_step_that_never_ends_frees_its_slot() -> None:
    """A sequence in a loop gets its error at its deadline, and the next one takes its slot."""
    content = graphs.never_ends_from(1000)
    carries = (Carry(input="x", output="y"),)
    bench = LoopBench(content, carries, max_rows=1, max_slots=1, runner=Session(content), may_inline=False)
    try:
        with pytest.raises(DeadlinePassed):
            await bench.ask(LoopRequest({"x": ENDLESS}, 2, last=("y",)), timeout_s=0.3)
        result = await bench.ask(LoopRequest({"x": np.ones((1, 3), np.float32)}, 2, last=("y",)), timeout_s=60)
        assert result.last["y"].tolist() == [[1, 1, 1]]
        assert bench.batcher.table.is_empty
    finally:
        bench.device.close()


@pytest.mark.anyio
async def test_graph_whose_time_depends_on_values_never_runs_on_the_event_loop() -> None:
    """Such a graph runs in a lane however short its runs were, so that the event loop is free to end it."""
    content = graphs.never_ends_from(1000)
    session = Session(content)
    assert session.open_ended == "Loop"
    bench = Bench(session, content, may_inline=session.open_ended is None)
    try:
        with pytest.raises(DeadlinePassed):
            await bench.ask({"x": ENDLESS}, timeout_s=0.2)[1]
    finally:
        bench.device.close()


@pytest.mark.parametrize("content", [graphs.double(), graphs.recurrent(), graphs.mixing()])
def test_time_of_usual_graphs_has_a_bound(content: bytes) -> None:
    """The time of usual graphs depends on sizes alone, so their short runs stay on the event loop."""
    assert Session(content).open_ended is None


@on_gate()
async def test_requests_without_a_deadline_are_not_ended(bench: Bench, runner: Gated, /) -> None:
    """A run is not watched if its callers have no deadline."""
    answer = bench.ask_x(1)
    await runner.wait_until_entered()
    assert bench.device._watch_at == math.inf
    runner.gate.set()
    await answer
