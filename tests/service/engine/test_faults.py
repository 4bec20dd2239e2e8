"""Faults of ours in the middle of handing out answers: nobody waits for ever, and the next request is answered."""

import asyncio

import numpy as np
import pytest

from service.engine.batching import BatchQueue
from service.engine.course import Course
from service.engine.device import Device
from service.engine.dispatcher import Answer, Dispatcher, Job
from service.engine.loop import Stepper
from service.engine.session import Session
from service.engine.slots import SlotTable
from service.engine.tensors import Signature
from service.errors import ModelFailure
from tests import graphs
from tests.clocks import run_virtual
from tests.service.engine.test_loop import HOP, hop


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
def test_batch_whose_answers_cannot_be_counted_is_answered_with_a_failure(slow_s: float):
    """An observer that raises costs the requests of that batch an answer, not their callers a wait without end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        session = Session(graphs.double())
        signature = Signature(session.describe("model.onnx"))
        device = Device(1, loop, clock=loop.time)
        queue: BatchQueue[Job] = BatchQueue(8, 100)
        dispatcher = Dispatcher(session, signature, device, queue, observer=Broken())
        dispatcher.cost.observe(1, slow_s)
        rows = signature.check({"x": np.ones((1, 3), np.float32)})
        outcomes = []
        for _ in range(2):
            answer: asyncio.Future[object] = loop.create_future()
            dispatcher.submit(rows, answer.set_result)
            outcomes.append(await answer)
        assert isinstance(outcomes[0], ModelFailure)
        assert isinstance(outcomes[1], Answer)
        await dispatcher.drain()
        device.close()

    run_virtual(main())


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["on the loop", "in a lane"])
def test_crew_that_cannot_be_taken_on_is_answered_with_a_failure(slow_s: float):
    """The same in a loop: the rows leave, their slots are free, and the loop goes on for others."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        session = Session(hop())
        device = Device(1, loop, clock=loop.time)
        signature = Signature(session.describe("model.onnx"))
        stepper = Stepper(session, signature, HOP, device, SlotTable(8, 100), max_rows=8, observer=Broken())
        stepper.cost.observe(1, slow_s)
        outcomes = []
        for _ in range(2):
            answer: asyncio.Future[object] = loop.create_future()
            stepper.submit(Course({"place": np.zeros((1, 1), np.int64)}, 5, last=("next",)), answer.set_result)
            outcomes.append(await answer)
        assert isinstance(outcomes[0], ModelFailure)
        assert outcomes[1].last["next"].tolist() == [[1]]  # type: ignore[attr-defined]
        await stepper.drain()
        device.close()

    run_virtual(main())
