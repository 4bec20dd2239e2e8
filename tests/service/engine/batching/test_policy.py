import threading

import pytest

from service.engine.batching.cost import CostModel
from service.engine.batching.policy import ROW_AROUND_S, half_batch, takes_turns
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
