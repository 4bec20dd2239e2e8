"""Batches that have all lanes to themselves run on all cores."""

import asyncio

import numpy as np

from service.engine.batching.cost import CostModel
from service.engine.execution.runner import AllCores
from service.errors import InvalidInput
from tests.support.dispatching import SLOW_S, Bench, Counting, Gated, on_counting, on_gate
from tests.support.models import graphs


def widen(bench: Bench, content: bytes = b"") -> AllCores:
    """Give the model a second session for runs on all cores."""
    bench.dispatcher.all_cores = AllCores(Counting(content or graphs.double()), CostModel(), 2)
    return bench.dispatcher.all_cores


@on_gate(lanes=2)
async def test_batch_that_is_alone_gets_all_cores(bench: Bench, runner: Gated, /):
    """A batch on idle lanes that leaves nobody waiting runs on all cores. Its time is learned for such runs only."""
    all_cores = widen(bench)
    answer = await bench.ask_x(1.5, rows=3)
    np.testing.assert_array_equal(answer.outputs["y"], np.full((3, 3), 3.0, np.float32))
    assert (all_cores.runner.batches, runner.batches) == ([3], [])
    assert (all_cores.cost.predict(3), bench.dispatcher.cost.predict(8)) == (0.0, SLOW_S)


@on_gate(lanes=2)
async def test_batches_side_by_side_have_a_core_each(bench: Bench, runner: Gated, /):
    """A batch does not get all cores while another one runs, or if it leaves others waiting."""
    all_cores = widen(bench)
    first = bench.ask_x(1.0, rows=8), bench.ask_x(2.0, rows=8)
    await runner.wait_until_entered()
    await runner.wait_until_entered()
    runner.gate.set()
    await asyncio.gather(*first)
    assert (all_cores.runner.batches, runner.batches) == ([], [8, 8])


@on_counting(graphs.look_up(), lanes=2, cost_s=SLOW_S)
async def test_failure_on_all_cores_is_found_as_on_one(bench: Bench, runner: Counting, /):
    """A batch on all cores with a poisoned request is halved like any other, and only that request fails."""
    all_cores = widen(bench, graphs.look_up())
    asked = [bench.ask({"x": np.full((1, 1), value, np.int64)})[1] for value in (0, 9, 1, 2)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(outcome, InvalidInput) for outcome in outcomes] == [False, True, False, False]
    assert all_cores.runner.batches == [4]
