import asyncio
import threading
from collections.abc import Callable, Coroutine

import pytest

from service.engine.batching.cost import CostModel
from service.engine.batching.policy import ROW_AROUND_S, Reunion, gathers, half_batch, takes_turns
from service.engine.batching.queue import Answer
from service.engine.execution.runner import AllCores
from tests.support.clocks import run_virtual
from tests.support.dispatching import Bench, Gated
from tests.support.models import graphs


def linear(fixed_s: float, row_s: float) -> CostModel:
    cost = CostModel()
    for rows in (1, 2, 4, 8, 16, 32, 64):
        cost.observe(rows, fixed_s + rows * row_s)
    return cost


MEMORY_BOUND = linear(200e-6, 25e-6)
"""As a layer of many weights: a batch reads them once."""


@pytest.mark.parametrize(
    ("batch_s", "expected"),
    [
        pytest.param(0.2e-3, False, id="short enough for the loop"),
        pytest.param(1.8e-3, True, id="about as long as reading and answering"),
        pytest.param(64 * 2.5 * ROW_AROUND_S, False, id="bound by arithmetic"),
    ],
)
def test_loop_and_lane_take_turns_where_they_have_about_as_much_to_do(batch_s: float, expected: bool):
    """Neither batches that the loop runs as well, nor those that keep several cores busy, are paced."""
    assert takes_turns(64, batch_s) is expected


def test_half_of_the_rows_leave_where_there_are_many():
    """64 rows go in two batches, also when some of them are only about to come back; never more than the limit."""
    assert half_batch(64, 64, MEMORY_BOUND) == 32
    assert half_batch(64, 24, MEMORY_BOUND) == 24


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_few_rows_leave_together(rows: int):
    """Where the hop to a thread costs more than is gained all rows run at once."""
    assert half_batch(rows, 64, MEMORY_BOUND) == 0


def test_one_lane_stays_free_for_the_loop():
    """Of two lanes one runs half of the rows; the other half leaves when that one has finished, not before."""

    async def main() -> None:
        runner = Gated(graphs.double())
        bench = Bench(runner, graphs.double(), lanes=2, max_rows=64, cost=linear(200e-6, 25e-6))
        futures = [bench.ask_x(float(i)) for i in range(64)]
        await runner.wait_until_entered()
        assert (bench.dispatcher.running, bench.dispatcher.queue.waiting_rows) == (1, 32)
        later = bench.ask_x(99.0)  # work that arrives does not start the other lane either
        runner.gate.set()
        for i, future in enumerate([*futures, later]):
            assert (await future).outputs["y"].tolist() == [[2.0 * (i if i < 64 else 99)] * 3]
        bench.device.close()
        assert runner.batches[0] == 32
        assert sum(runner.batches) == 65
        assert max(runner.batches) <= 33

    run_virtual(main())


def test_lane_that_lands_in_a_long_turn_gets_its_next_batch_in_it():
    """Work that arrives lets a lane that is done go on, though the loop has not come back to its own callbacks."""

    async def main() -> None:
        runner = Gated(graphs.double())
        bench = Bench(runner, graphs.double(), lanes=1, max_rows=1, cost_s=1.0)
        first, second = bench.ask_x(1.0), bench.ask_x(2.0)
        await runner.wait_until_entered()
        runner.gate.set()
        has_finished = threading.Event()
        bench.device._lanes[0].do(has_finished.set)  # a lane does one thing after the other
        assert has_finished.wait(30)
        third = bench.ask_x(3.0)
        runner.entered.acquire()  # the second batch has begun, in the same turn of the loop
        assert first.done()
        assert [(await future).outputs["y"][0, 0] for future in (second, third)] == [4.0, 6.0]
        bench.device.close()

    run_virtual(main())


SLOW_WEIGHTS = linear(700e-6, 110e-6)
"""The same with weights beyond the caches of a slow core."""


@pytest.mark.parametrize(
    ("cost", "all_cores", "expected"),
    [
        pytest.param(SLOW_WEIGHTS, linear(400e-6, 56e-6), True, id="bound by memory, and all cores share it well"),
        pytest.param(SLOW_WEIGHTS, linear(600e-6, 80e-6), False, id="bound by memory, but all cores gain little"),
        pytest.param(linear(100e-6, 6e-3), linear(60e-6, 3.1e-3), False, id="a row costs what it costs in any batch"),
    ],
)
def test_rows_are_gathered_where_a_batch_costs_much_besides(cost: CostModel, all_cores: CostModel, expected: bool):
    """One batch at a time is for models whose batch is dear, and which several cores run as well as several lanes."""
    assert gathers(cost, all_cores, 64, 2) is expected


def on_gathering(test: Callable[[Bench, Gated, Gated], Coroutine[None, None, None]]) -> None:
    """A test of a model whose batches of up to 64 rows run on all cores, one at a time; ``other`` is on one core."""

    async def main() -> None:
        gated, other = Gated(graphs.double()), Gated(graphs.double())
        all_cores = AllCores(gated, linear(400e-6, 56e-6), 2)
        bench = Bench(other, graphs.double(), lanes=2, max_rows=64, cost=SLOW_WEIGHTS, all_cores=all_cores)
        await test(bench, gated, other)
        bench.device.close()

    run_virtual(main())


def test_what_comes_while_a_gathered_batch_runs_leaves_together():
    """All that waits runs on all cores; what comes meanwhile waits for its end, however many lanes are idle."""

    async def test(bench: Bench, gated: Gated, other: Gated) -> None:
        futures = [bench.ask_x(float(i)) for i in range(40)]
        await gated.wait_until_entered()
        assert (bench.dispatcher.running, bench.dispatcher.queue.waiting_rows) == (1, 0)
        futures += [bench.ask_x(float(i)) for i in range(40, 80)]
        await asyncio.sleep(0)
        assert (bench.dispatcher.running, bench.dispatcher.queue.waiting_rows) == (1, 40)
        gated.gate.set()
        for i, future in enumerate(futures):
            assert (await future).outputs["y"].tolist() == [[2.0 * i] * 3]
        assert (gated.batches, other.batches) == ([40, 40], [])

    on_gathering(test)


def test_batch_is_kept_until_the_callers_of_the_one_before_are_back():
    """Two crowds of 32 become one of 64; nobody is expected before a batch has run, nor more than fit."""
    reunion = Reunion(64)
    assert not reunion.keeps(1, 0.0)
    reunion.begin(32, 32, 0.0)
    assert reunion.keeps(63, 0.5e-3)
    assert not reunion.keeps(64, 0.6e-3)
    reunion.begin(64, 30, 0.01)
    assert not reunion.keeps(64, 0.011)


def test_single_caller_is_never_kept():
    """Whoever is alone leaves as soon as it is there."""
    reunion = Reunion(64)
    reunion.begin(1, 0, 0.0)
    assert not reunion.keeps(1, 50e-6)


def fail(reunion: Reunion, now: float) -> None:
    """A batch of 32 has run, and one of its callers is back."""
    reunion.begin(32, 0, now)
    assert reunion.keeps(1, now)
    assert not reunion.keeps(1, reunion.ends_at)


def count_left_out(reunion: Reunion) -> int:
    """Batches that wait for nobody, until one does again."""
    for batches in range(1000):
        reunion.begin(32, 0, 0.0)
        if reunion.keeps(1, 0.0):
            return batches
    raise AssertionError("no batch waits any more")


def test_callers_who_come_when_they_like_are_not_waited_for():
    """After a batch that waited in vain 8 wait for nobody, then 32, and so on up to 512."""
    reunion = Reunion(64)
    fail(reunion, 0.0)
    for left_out in (8, 32, 128, 512, 512):
        assert count_left_out(reunion) == left_out
        assert not reunion.keeps(1, reunion.ends_at)


def test_most_of_the_callers_are_enough():
    """Three quarters back in time: the batch leaves then, and the next one waits again."""
    reunion = Reunion(64)
    reunion.begin(32, 8, 0.0)
    assert not reunion.keeps(32, reunion.ends_at)
    assert count_left_out(reunion) == 0


def test_those_who_waited_already_are_not_taken_for_callers_who_are_back():
    """48 rows that came while a batch ran say nothing of those who were in it."""
    reunion = Reunion(64)
    reunion.begin(16, 48, 0.0)
    assert not reunion.keeps(50, reunion.ends_at)
    assert count_left_out(reunion) == 8


def test_callers_who_are_back_late_are_not_waited_for():
    """A loop that has much to do for each of them sees all of them at once, and too late: it should not rest."""
    reunion = Reunion(64)
    reunion.begin(32, 0, 0.0)
    assert not reunion.keeps(32, 2 * reunion.ends_at)
    assert count_left_out(reunion) == 8


async def answer_a_crowd(bench: Bench, gated: Gated) -> list[asyncio.Future[Answer]]:
    """Return when 40 are answered, with what the 24 wait for who came meanwhile."""
    crowd = [bench.ask_x(1.0) for _ in range(40)]
    await gated.wait_until_entered()
    others = [bench.ask_x(2.0) for _ in range(24)]
    gated.gate.set()
    await asyncio.gather(*crowd)
    return others


def test_two_crowds_that_ask_again_become_one():
    """Those who came during a batch leave with those who were in it, once these have asked again."""

    async def test(bench: Bench, gated: Gated, other: Gated) -> None:
        others = await answer_a_crowd(bench, gated)
        again = [bench.ask_x(3.0) for _ in range(40)]
        await asyncio.gather(*others, *again)
        assert gated.batches == [40, 64]

    on_gathering(test)


def test_crowd_does_not_wait_long_for_one_that_has_gone():
    """What is kept leaves by itself after a few milliseconds, without anybody coming."""

    async def test(bench: Bench, gated: Gated, other: Gated) -> None:
        answers = await asyncio.gather(*await answer_a_crowd(bench, gated))
        assert gated.batches == [40, 24]
        assert 0 < max(answer.queue_s for answer in answers) < 10e-3

    on_gathering(test)


def test_nobody_is_kept_beyond_what_its_deadline_allows():
    """Rows that would be late if they waited for others leave at once, which says nothing of the others."""
    reunion = Reunion(64)
    reunion.begin(32, 1, 0.0)
    assert not reunion.keeps(1, 0.0, latest=1e-3)
    assert count_left_out(reunion) == 0
