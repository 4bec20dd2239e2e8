"""Requests of a model whose rows may have any size."""

import asyncio

import numpy as np
import pytest

from service.engine.batching.cost import CostModel, RunMemory
from service.engine.batching.queue import Answer, BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.tensors import Arrays
from service.errors import BodyTooLarge, ServiceError
from tests.support.clocks import run_virtual
from tests.support.dispatching import Counting
from tests.support.models import graphs
from tests.support.signatures import signature_of


def open_on(lanes: int, memory: RunMemory | None = None) -> tuple[Device, Dispatcher, Counting]:
    content = graphs.double("width")
    device = Device(lanes, asyncio.get_running_loop(), clock=asyncio.get_running_loop().time)
    runner, cost = Counting(content), CostModel()
    cost.observe(8, 0.0)
    dispatcher = Dispatcher(
        runner, signature_of(content), device, BatchQueue(8, 100), cost=cost, row_elements=4, memory=memory
    )
    return device, dispatcher, runner


def ask(dispatcher: Dispatcher, width: int, rows: int = 1) -> "asyncio.Future[Arrays]":
    future: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

    def done(outcome: Answer | ServiceError) -> None:
        if isinstance(outcome, Answer):
            future.set_result(outcome.outputs)
        else:
            future.set_exception(outcome)

    dispatcher.submit(dispatcher.signature.check({"x": np.ones((rows, width), np.float32)}), done)
    return future


def test_first_run_of_a_size_goes_to_a_lane() -> None:
    """However short runs of other sizes are: nobody knows how long it takes, and the loop must not wait."""

    async def main() -> None:
        device, dispatcher, _ = open_on(1)
        lanes = []
        for width in (4, 40_000, 40_000):
            answer = ask(dispatcher, width)
            run = dispatcher.take(0.0)
            assert run is not None
            lanes.append(run.needs_lane)
            dispatcher.running += 1
            dispatcher.execute(run, device._lanes[0].buffer, device.clock)
            dispatcher.on_batch_done(run)
            dispatcher.deliver(run)
            dispatcher.running -= 1
            assert (await answer)["y"].shape == (1, width)
        assert lanes == [False, True, False]
        device.close()

    run_virtual(main())


def test_rows_of_a_batch_are_as_many_as_memory_allows() -> None:
    """Large rows run in smaller batches than small ones."""

    async def main() -> None:
        device, dispatcher, runner = open_on(1, RunMemory(1000, (0.0, 1.0, 0.0)))
        await ask(dispatcher, 10, rows=8)
        await ask(dispatcher, 400, rows=8)
        assert runner.batches == [8, 2, 2, 2, 2]
        device.close()

    run_virtual(main())


def test_row_beyond_the_memory_of_a_run_is_refused() -> None:
    """Before it waits for a lane; the next one is answered."""

    async def main() -> None:
        device, dispatcher, _ = open_on(1, RunMemory(1000, (0.0, 1.0, 0.0)))
        with pytest.raises(BodyTooLarge):
            ask(dispatcher, 1001)
        assert (await ask(dispatcher, 1000))["y"].shape == (1, 1000)
        device.close()

    run_virtual(main())


def test_request_is_accepted_by_the_cost_of_its_own_row_size() -> None:
    """Long rows do not make short ones seem late, nor short ones long ones in time."""

    async def main() -> None:
        device, dispatcher, _ = open_on(1)
        for _ in range(30):
            for width, seconds in ((4, 1.0), (1, 1e-5), (1_000_000, 10.0)):
                dispatcher._sized.observe(1, width, seconds, dispatcher.cost)
        refused = {width: dispatcher.find_refusal(1, 5.0 if width > 4 else 0.5, width) for width in (1, 4, 1_000_000)}
        assert [width for width, refusal in refused.items() if refusal is not None] == [4, 1_000_000]
        device.close()

    run_virtual(main())
