import threading

from service.engine.batching.cost import CostModel
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
