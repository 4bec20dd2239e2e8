"""What the policy decides on machines with 2, 8 and 64 lanes. The lanes are threads; the model waits at a gate."""

import asyncio

import pytest

from service.engine.batching.cost import CostModel
from service.engine.batching.policy import INLINE_S
from service.engine.execution.runner import AllCores
from tests.support.clocks import virtual
from tests.support.dispatching import SLOW_S, Bench, Counting, Gated, cost_of
from tests.support.models import graphs

LANES = pytest.mark.parametrize("lanes", [2, 8, 64])


def linear(fixed_s: float, row_s: float) -> CostModel:
    return cost_of(*((rows, fixed_s + rows * row_s) for rows in (1, 2, 4, 8, 16, 32, 64)))


@LANES
@virtual
async def test_rows_that_cost_time_each_are_shared_by_all_idle_lanes(lanes: int) -> None:
    """Each idle lane gets four rows, all at the same time."""
    runner = Gated(graphs.double())
    bench = Bench(runner, graphs.double(), lanes=lanes, max_rows=64, cost=linear(0.0, 2 * INLINE_S))
    futures = [bench.ask_x(float(value)) for value in range(4 * lanes)]
    for _ in range(lanes):
        await runner.wait_until_entered()
    runner.gate.set()
    answers = await asyncio.gather(*futures)
    assert [answer.outputs["y"][0, 0] for answer in answers] == [2.0 * value for value in range(4 * lanes)]
    assert runner.batches == [4] * lanes
    bench.device.close()


@LANES
@virtual
async def test_batch_that_costs_the_same_at_any_size_is_not_shared(lanes: int) -> None:
    """Such a batch is not shared however many lanes are idle: each share would take as long as the whole."""
    runner = Counting(graphs.double())
    bench = Bench(runner, graphs.double(), lanes=lanes, max_rows=64, cost=linear(SLOW_S, 0.0))
    await asyncio.gather(*(bench.ask_x(1.0) for _ in range(64)))
    assert runner.batches == [64]
    bench.device.close()


@LANES
@virtual
async def test_short_batch_runs_on_the_event_loop(lanes: int) -> None:
    """A short batch does not wake a lane's thread. A long one leaves the event loop free."""
    for batch_s, on_loop in ((INLINE_S / 2, True), (INLINE_S * 2, False)):
        bench = Bench(Counting(graphs.double()), graphs.double(), lanes=lanes, cost=linear(batch_s, 0.0))
        future = bench.ask_x(1.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert future.done() is on_loop
        await future
        bench.device.close()


@LANES
@virtual
async def test_batch_short_enough_for_the_loop_has_all_cores_too(lanes: int) -> None:
    """A batch that is alone runs on all cores however short it is, if they were measured to be faster."""
    content = graphs.double()
    one, every = Counting(content), Counting(content)
    bench = Bench(one, content, lanes=lanes, cost_s=INLINE_S / 2, all_cores=AllCores(every, CostModel(), lanes))
    await bench.ask_x(1.0, rows=8)
    assert (one.batches, every.batches) == ([], [8])
    bench.device.close()


@LANES
@virtual
async def test_batch_has_all_cores_only_while_no_other_lane_is_busy(lanes: int) -> None:
    """A batch gets all cores only on idle lanes, because its threads would take the cores of the others."""
    content = graphs.double()
    all_cores = AllCores(Counting(content), CostModel(), lanes)
    bench = Bench(Counting(content), content, lanes=lanes, cost_s=SLOW_S, all_cores=all_cores)
    found = []
    for idle_lanes in (1, lanes - 1, lanes):
        bench.ask_x(1)
        run = bench.dispatcher.take(0.0, idle_lanes)
        found.append(run is not None and run.all_cores is all_cores)
    assert found == [False, False, True]
    bench.device.close()
