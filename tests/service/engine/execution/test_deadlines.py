"""Deadlines of requests whose run is under way, and runs that do not end."""

import asyncio
import math

import numpy as np
import pytest

from model_store.tasks import Carry
from service.engine.batching.policy import STUCK_S
from service.engine.batching.queue import BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.loop.request import LoopRequest, LoopResult
from service.engine.loop.slots import SlotTable
from service.engine.onnx.session import Session
from service.errors import DeadlinePassed, ServiceError
from tests.support.dispatching import SLOW_S, Bench, Counting, Gated, on_gate
from tests.support.models import graphs
from tests.support.signatures import signature_of

ENDLESS = np.full((1, 3), 5000, np.float32)


def test_run_that_never_ends_costs_its_caller_a_deadline_and_nobody_a_lane() -> None:
    """On the only lane the next request of the same model is answered."""

    async def main() -> None:
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

    asyncio.run(main())


def test_batch_goes_on_for_those_whose_deadline_has_not_passed() -> None:
    """Of a batch that is late for one of its two requests only the other one waits on, and is answered."""

    async def test(bench: Bench, runner: Gated) -> None:
        early, late = bench.ask_x(1, timeout_s=1.0), bench.ask_x(2)
        with pytest.raises(DeadlinePassed):
            await early
        runner.gate.set()
        assert (await late).outputs["y"].tolist() == [[4, 4, 4]]
        assert runner.batches == [2]

    on_gate(test)


def test_run_that_cannot_be_ended_is_told_once_and_its_model_drains() -> None:
    """A runner that does not look whether it is to end: after a grace its lane is given up, with who is to be told."""
    stuck: list[float] = []

    async def test(bench: Bench, runner: Gated) -> None:
        loop = asyncio.get_running_loop()
        bench.device._on_stuck = lambda: stuck.append(loop.time())
        with pytest.raises(DeadlinePassed):
            await bench.ask_x(1, timeout_s=1.0)
        await bench.dispatcher.drain()
        assert stuck == [pytest.approx(1.0 + STUCK_S)]
        runner.gate.set()
        await asyncio.to_thread(bench.device.close)

    on_gate(test)


def test_step_that_never_ends_frees_its_slot() -> None:
    """A sequence in a loop is told at its deadline, and the one after it takes its place."""

    async def main() -> None:
        content = graphs.never_ends_from(1000)
        device = Device(1, asyncio.get_running_loop())
        table: SlotTable = SlotTable(1, 100)
        batcher = ContinuousBatcher(
            Session(content),
            signature_of(content),
            (Carry(input="x", output="y"),),
            device,
            table,
            max_rows=1,
            may_inline=False,
        )

        def ask(x: np.ndarray, timeout_s: float) -> asyncio.Future[LoopResult]:
            future: asyncio.Future[LoopResult] = asyncio.get_running_loop().create_future()

            def done(outcome: LoopResult | ServiceError) -> None:
                if isinstance(outcome, ServiceError):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

            batcher.submit(LoopRequest({"x": x}, 2, last=("y",)), done, timeout_s=timeout_s)
            return future

        try:
            with pytest.raises(DeadlinePassed):
                await ask(ENDLESS, 0.3)
            result = await ask(np.ones((1, 3), np.float32), 60)
            assert result.last["y"].tolist() == [[1, 1, 1]]
            assert table.is_empty
        finally:
            device.close()

    asyncio.run(main())


def test_graph_whose_time_depends_on_values_never_runs_on_the_event_loop() -> None:
    """However short its runs were so far: while one goes on, the loop is free to end it."""

    async def main() -> None:
        content = graphs.never_ends_from(1000)
        session = Session(content)
        assert session.open_ended == "Loop"
        device = Device(1, asyncio.get_running_loop())
        dispatcher = Dispatcher(
            session, signature_of(content), device, BatchQueue(8, 100), may_inline=session.open_ended is None
        )
        answered = asyncio.get_running_loop().create_future()
        try:
            rows = dispatcher.signature.check({"x": ENDLESS})
            dispatcher.submit(rows, answered.set_result, timeout_s=0.2)
            assert isinstance(await answered, DeadlinePassed)
        finally:
            device.close()

    asyncio.run(main())


@pytest.mark.parametrize("content", [graphs.double(), graphs.recurrent(), graphs.mixing()])
def test_time_of_usual_graphs_has_a_bound(content: bytes) -> None:
    """Sizes alone decide it, so their short runs stay on the event loop."""
    assert Session(content).open_ended is None


def test_requests_without_a_deadline_are_not_ended() -> None:
    """A run whose callers wait for ever is not watched."""

    async def test(bench: Bench, runner: Gated) -> None:
        answer = bench.ask_x(1)
        await runner.wait_until_entered()
        assert bench.device._watch_at == math.inf
        runner.gate.set()
        await answer

    on_gate(test)
