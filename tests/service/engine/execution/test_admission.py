"""Which requests are accepted, how far a batch may grow, and what happens to a run that nobody waits for."""

import asyncio

import numpy as np
import pytest

from service.errors import TooLate
from tests.support.dispatching import Bench, Counting, Gated, cost_of, on_counting, on_gate

SECOND = cost_of((1, 0.5), (8, 1.0))


@on_counting(cost=SECOND)
async def test_request_of_many_batches_is_refused_if_it_would_be_late(bench: Bench, runner: Counting, /) -> None:
    """The request's own rows count, even if nothing waits before them."""
    with pytest.raises(TooLate):
        bench.ask_x(1.0, rows=400, timeout_s=7.0)
    assert runner.batches == []


@pytest.mark.parametrize("rows", [7, 8])
@on_counting(cost=SECOND)
async def test_full_batch_of_ones_own_is_no_wait(bench: Bench, runner: Counting, /, rows: int) -> None:
    """With 1.2 times its run left, a request of a full batch is accepted like a smaller one."""
    assert bench.dispatcher.find_refusal(rows, 1.5) is None
    assert bench.dispatcher.find_refusal(rows, 1.0) is not None


COMPUTE_BOUND = cost_of(*((1 << power, 3e-3 * (1 << power)) for power in range(7)))
"""Batches of more than 8 rows do not pay."""


@on_counting(cost=COMPUTE_BOUND, max_rows=64, max_wait_s=1.0)
async def test_batch_that_cannot_grow_is_not_held(bench: Bench, runner: Counting, /) -> None:
    """With a wait for more rows, a batch leaves as soon as it has as many as pay."""
    began = bench.device.clock()
    await asyncio.gather(*(bench.ask_x(1.0) for _ in range(8)))
    assert bench.device.clock() - began < 1.0
    assert runner.batches == [8]


@on_counting(cost=COMPUTE_BOUND, max_rows=64)
async def test_request_larger_than_pays_is_cut_to_full_batches(bench: Bench, runner: Counting, /) -> None:
    """The request fills batches of the size that pays, though it would fit the model's largest batch."""
    await asyncio.gather(*(bench.ask_x(1.0, rows=rows) for rows in (1, 20, 1)))
    assert runner.batches == [8, 8, 6]


@on_gate()
async def test_run_whose_last_caller_is_gone_is_told_to_end(bench: Bench, runner: Gated, /) -> None:
    """The run is told to end when its last caller cancels, and not before."""
    cancels = [bench.ask({"x": np.full((1, 3), value, np.float32)})[0] for value in range(2)]
    await runner.wait_until_entered()
    run = bench.device._lanes[0].run
    cancels[0]()
    assert not run.stop.asked
    cancels[1]()
    assert run.stop.asked
