"""Faults of ours in the middle of handing out answers: nobody waits for ever, and the next request is answered."""

import asyncio

import numpy as np
import pytest

from service.engine.batching.queue import Answer, BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.execution.observer import Observer
from service.engine.execution.runner import Runner
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.loop.request import LoopRequest
from service.engine.loop.slots import SlotTable
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.errors import ModelFailure
from tests.service.engine.loop.test_continuous_batcher import HOP, hop
from tests.support.clocks import run_virtual
from tests.support.models import graphs
from tests.support.signatures import signature_of


class Broken:
    """An observer that raises at the first batch, which it must not."""

    traces = False

    def __init__(self) -> None:
        self.calls = 0
        self.queued = self.answered = self.failed = self.depth = lambda *_: None

    def ran(self, *details: float) -> None:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("not my day")


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["on the loop", "in a lane"])
def test_batch_that_cannot_be_counted_is_answered_all_the_same(slow_s: float, caplog: pytest.LogCaptureFixture):
    """An observer that raises is a line in the log: it costs nobody an answer."""
    outcomes = outcomes_of_two(Session(graphs.double()), Broken(), slow_s, rows=1)
    assert [type(outcome) for outcome in outcomes] == [Answer, Answer]
    assert [record.message for record in caplog.records] == ["a batch could not be counted"]


class Ragged:
    """A model whose rows are as long as its batch is large, so that parts of a request do not fit together."""

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        rows = len(inputs["x"])
        return [np.zeros((rows, rows), np.float32)]


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["on the loop", "in a lane"])
def test_answer_that_cannot_be_put_together_is_a_failure(slow_s: float):
    """A fault while answers are handed out costs the requests of that batch an answer, not their callers a wait."""
    outcomes = outcomes_of_two(Ragged(), None, slow_s, rows=12)
    assert [type(outcome) for outcome in outcomes] == [ModelFailure, ModelFailure]


def outcomes_of_two(runner: Runner, observer: Observer | None, slow_s: float, rows: int) -> list[object]:
    """What two requests of so many rows come to, one after the other, with batches of at most 8."""
    outcomes: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        signature = signature_of(graphs.double())
        device = Device(1, loop, clock=loop.time)
        queue: BatchQueue = BatchQueue(8, 100)
        dispatcher = Dispatcher(runner, signature, device, queue, observer=observer)
        dispatcher.cost.observe(1, slow_s)
        for _ in range(2):
            answer: asyncio.Future[object] = loop.create_future()
            dispatcher.submit(signature.check({"x": np.ones((rows, 3), np.float32)}), answer.set_result)
            outcomes.append(await answer)
        await dispatcher.drain()
        device.close()

    run_virtual(main())
    return outcomes


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["on the loop", "in a lane"])
def test_batch_that_cannot_be_taken_on_is_answered_with_a_failure(slow_s: float):
    """The same in a loop: the rows leave, their slots are free, and the loop goes on for others."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        session = Session(hop())
        device = Device(1, loop, clock=loop.time)
        signature = signature_of(hop())
        batcher = ContinuousBatcher(session, signature, HOP, device, SlotTable(8, 100), max_rows=8, observer=Broken())
        batcher.cost.observe(1, slow_s)
        outcomes = []
        for _ in range(2):
            answer: asyncio.Future[object] = loop.create_future()
            batcher.submit(LoopRequest({"place": np.zeros((1, 1), np.int64)}, 5, last=("next",)), answer.set_result)
            outcomes.append(await answer)
        assert isinstance(outcomes[0], ModelFailure)
        assert outcomes[1].last["next"].tolist() == [[1]]  # type: ignore[attr-defined]
        await batcher.drain()
        device.close()

    run_virtual(main())
