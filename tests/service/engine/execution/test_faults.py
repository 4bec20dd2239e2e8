"""Our own faults while answers are given out: nobody waits for ever, and the next request is answered."""

import asyncio

import numpy as np
import pytest

from service.engine.batching.queue import Answer
from service.engine.execution.observer import Observer
from service.engine.execution.runner import Runner
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.errors import ModelFailure
from tests.service.engine.loop.bench import HOP, hop, hopping
from tests.service.engine.loop.bench import Bench as LoopBench
from tests.support.clocks import run_virtual, virtual
from tests.support.dispatching import Bench
from tests.support.models import graphs


class Broken:
    """An observer that raises at the first batch, which it must not."""

    traces = False

    def __init__(self) -> None:
        self.calls = 0
        self.queued = self.answered = self.failed = lambda *_: None

    def ran(self, *details: float) -> None:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("not my day")


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["on the loop", "in a lane"])
def test_batch_that_cannot_be_counted_is_answered_all_the_same(slow_s: float, caplog: pytest.LogCaptureFixture):
    """An observer that raises is logged, and everybody gets an answer."""
    outcomes = outcomes_of_two(Session(graphs.double()), Broken(), slow_s, rows=1)
    assert [type(outcome) for outcome in outcomes] == [Answer, Answer]
    assert [record.message for record in caplog.records] == ["a batch could not be counted"]


class Ragged:
    """A model whose rows are as long as the batch is large, so that the parts of a request do not fit together."""

    def run(self, inputs: Arrays) -> list[np.ndarray]:
        rows = len(inputs["x"])
        return [np.zeros((rows, rows), np.float32)]


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["on the loop", "in a lane"])
def test_answer_that_cannot_be_put_together_is_a_failure(slow_s: float):
    """A fault while answers are given out fails the requests of that batch. Their callers do not wait in vain."""
    outcomes = outcomes_of_two(Ragged(), None, slow_s, rows=12)
    assert [type(outcome) for outcome in outcomes] == [ModelFailure, ModelFailure]


def outcomes_of_two(runner: Runner, observer: Observer | None, slow_s: float, rows: int) -> list[object]:
    """The outcomes of two requests of ``rows`` rows, one after the other, with batches of at most 8."""

    async def main() -> list[object]:
        bench = Bench(runner, graphs.double(), cost_s=slow_s, observer=observer)
        outcomes = [(await asyncio.gather(bench.ask_x(1.0, rows), return_exceptions=True))[0] for _ in range(2)]
        await bench.dispatcher.drain()
        bench.device.close()
        return outcomes

    return run_virtual(main())


@pytest.mark.parametrize("slow_s", [0.0, 0.1], ids=["on the loop", "in a lane"])
@virtual
async def test_batch_that_cannot_be_taken_on_is_answered_with_a_failure(slow_s: float):
    """After a fault in a loop the rows leave, their slots are free, and the loop goes on for others."""
    bench = LoopBench(hop(), HOP, cost_s=slow_s, observer=Broken())
    with pytest.raises(ModelFailure):
        await bench.ask(hopping(0, 5))
    assert (await bench.ask(hopping(0, 5))).kept["next"][0, -1, 0] == 1
    await bench.batcher.drain()
    bench.device.close()
