"""Requests of a model whose rows may have any size."""

import asyncio

import numpy as np
import pytest

from service.engine.batching.cost import RunMemory
from service.engine.batching.queue import Answer
from service.errors import BodyTooLarge
from tests.support.dispatching import Bench, Counting, cost_of, on_counting
from tests.support.models import graphs

OPEN = {"content": graphs.double("width"), "row_elements": 4}
MEMORY = RunMemory(1000, (0.0, 1.0, 0.0))


def ask(bench: Bench, width: int, rows: int = 1) -> "asyncio.Future[Answer]":
    return bench.ask({"x": np.ones((rows, width), np.float32)})[1]


@on_counting(**OPEN)
async def test_first_run_of_a_size_goes_to_a_lane(bench: Bench, runner: Counting, /) -> None:
    """The first run of a size may take long, and the event loop must not wait. So it goes to a lane."""
    dispatcher, device, lanes = bench.dispatcher, bench.device, []
    for width in (4, 40_000, 40_000):
        answer = ask(bench, width)
        run = dispatcher.take(0.0)
        lanes.append(run.needs_lane)
        dispatcher.running += 1
        dispatcher.execute(run, device._lanes[0].buffer, device.clock)
        dispatcher.on_batch_done(run)
        dispatcher.deliver(run)
        dispatcher.running -= 1
        assert (await answer).outputs["y"].shape == (1, width)
    assert lanes == [False, True, False]


@on_counting(**OPEN, memory=MEMORY)
async def test_rows_of_a_batch_are_as_many_as_memory_allows(bench: Bench, runner: Counting, /) -> None:
    """Large rows run in smaller batches than small ones; one beyond the memory of a run is refused before it waits."""
    await ask(bench, 10, rows=8)
    await ask(bench, 400, rows=8)
    assert runner.batches == [8, 2, 2, 2, 2]
    with pytest.raises(BodyTooLarge):
        ask(bench, 1001)
    assert (await ask(bench, 1000)).outputs["y"].shape == (1, 1000)


@on_counting(**OPEN, most_elements=16, cost=cost_of((1, 0.1), (8, 0.8)))
async def test_rows_of_a_batch_are_as_many_as_a_budget_of_elements_allows(bench: Bench, runner: Counting, /) -> None:
    """Short rows share larger batches than rows of the measured size, up to ``max_rows``; a long one runs alone."""
    assert bench.dispatcher.batch_rows < 8
    for width in (1, 4, 8, 17):
        await ask(bench, width, rows=8)
    assert runner.batches == [8, 4, 4, *[2] * 4, *[1] * 8]


@on_counting(**OPEN, most_elements=16, least_rows=2)
async def test_budget_of_elements_has_room_for_the_least_batch(bench: Bench, runner: Counting, /) -> None:
    """A single row would be padded to the least batch, so two rows cost no more."""
    await ask(bench, 17, rows=8)
    assert runner.batches == [2, 2, 2, 2]


@on_counting(content=graphs.double(4), most_elements=16)
async def test_budget_of_elements_needs_rows_of_any_size(bench: Bench, runner: Counting, /) -> None:
    """If all rows have one size, only the number of rows limits a batch."""
    await ask(bench, 4, rows=8)
    assert runner.batches == [8]


@on_counting(**OPEN)
async def test_request_is_accepted_by_the_cost_of_its_own_row_size(bench: Bench, runner: Counting, /) -> None:
    """The cost of long rows does not make short ones seem late, nor the other way round."""
    dispatcher = bench.dispatcher
    for _ in range(30):
        for width, seconds in ((4, 1.0), (1, 1e-5), (1_000_000, 10.0)):
            dispatcher._sized.observe(1, width, seconds, dispatcher.cost)
    refused = {width: dispatcher.find_refusal(1, 5.0 if width > 4 else 0.5, width) for width in (1, 4, 1_000_000)}
    assert [width for width, refusal in refused.items() if refusal is not None] == [4, 1_000_000]
