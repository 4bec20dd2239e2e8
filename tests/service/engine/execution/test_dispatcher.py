import asyncio
import math
from collections.abc import Sequence

import numpy as np
import pytest

from service.engine.batching.queue import Answer
from service.engine.tensors import Arrays
from service.errors import DeadlinePassed, Draining, InvalidInput, ModelFailure, QueueFull, TooLate
from tests.support.dispatching import SLOW_S, Bench, Counting, Gated, on_counting, on_gate, on_runner
from tests.support.models import graphs


@on_counting(graphs.look_up(), max_rows=64)
async def test_poisoned_row_fails_alone(bench: Bench, runner: Counting, /):
    """When the values of one request make the model raise, it alone gets an error, which names the operator."""
    futures = [bench.ask({"x": np.array([[99 if i == 37 else i % 4]], np.int64)})[1] for i in range(50)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(results[37], InvalidInput)
    assert str(results[37]).startswith("inputs: the graph cannot be run on them at Gather: indices element out of")
    for i, result in enumerate(results):
        if i != 37:
            assert isinstance(result, Answer)
            assert result.outputs["y"].tolist() == [[10.0 + i % 4]]
    assert len(runner.batches) <= 2 * math.ceil(math.log2(50)) + 1, "halved, not run one by one"


@on_counting(graphs.look_up(), max_rows=4)
async def test_poisoned_request_of_many_rows_fails_as_one(bench: Bench, runner: Counting, /):
    """A request that is cut into several batches fails once, and its waiting rows leave the queue."""
    rows = np.zeros((10, 1), np.int64)
    rows[5] = 99
    bad, good = bench.ask({"x": rows})[1], bench.ask({"x": np.array([[1]], np.int64)})[1]
    with pytest.raises(InvalidInput):
        await bad
    assert (await good).outputs["y"].tolist() == [[11.0]]
    assert bench.dispatcher.is_idle


class Faulty:
    """A model that tries to end the process for negative numbers, and leaves out the last of several rows."""

    def __init__(self, _: bytes) -> None: ...

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]:
        if inputs["x"][0, 0] < 0:
            raise SystemExit(3)
        return [inputs["x"][:-1] if len(inputs["x"]) > 1 else inputs["x"]]


@on_runner(Faulty, cost_s=SLOW_S)
async def test_lane_survives_whatever_the_model_raises(bench: Bench, runner: Faulty, /):
    """Even SystemExit in a lane's thread ends its request with an error, and the lane goes on with the next one."""
    for _ in range(3):
        with pytest.raises(ModelFailure, match="SystemExit: 3"):
            await bench.ask_x(-1.0)
    assert (await bench.ask_x(5.0)).outputs["y"][0, 0] == 5.0


@on_runner(Faulty)
async def test_wrong_row_count_from_the_model_is_a_failure(bench: Bench, runner: Faulty, /):
    """A model that returns fewer rows than it got fails its requests instead of giving one the answer of another."""
    with pytest.raises(ModelFailure, match="has 2 rows for a batch of 3"):
        await bench.ask_x(1.0, rows=3)


@on_counting()
async def test_receiver_that_raises_does_not_harm_its_batch(bench: Bench, runner: Counting, /):
    """An exception in one caller's `done` is logged, and the others of the batch still get their answers."""

    def explode(outcome: object) -> None:
        raise RuntimeError("receiver")

    rows = bench.signature.check({"x": np.ones((1, 3), np.float32)})
    bench.dispatcher.submit(rows, explode)
    other = bench.ask_x(2.0)
    assert (await other).outputs["y"].tolist() == [[4.0] * 3]
    assert runner.batches == [2]


@on_gate()
async def test_cancelled_request_does_not_fail_its_batch(bench: Bench, runner: Gated, /):
    """A caller that goes while its batch runs loses its answer; its neighbours keep theirs."""
    cancel, gone = bench.ask({"x": np.ones((1, 3), np.float32)})
    stays = bench.ask_x(2.0)
    await runner.wait_until_entered()
    cancel()
    runner.gate.set()
    assert (await stays).outputs["y"].tolist() == [[4.0] * 3]
    assert not gone.done()


@on_gate()
async def test_cancelled_request_that_waits_is_never_run(bench: Bench, runner: Gated, /):
    """A caller that goes before its batch leaves costs nothing."""
    first = bench.ask_x(1.0)
    await runner.wait_until_entered()
    cancel, _ = bench.ask({"x": np.ones((3, 3), np.float32)})
    cancel()
    runner.gate.set()
    await first
    assert runner.batches == [1]
    assert bench.dispatcher.is_idle


@on_gate()
async def test_deadline_passes_while_the_lanes_are_busy(bench: Bench, runner: Gated, /):
    """A waiting request gets DeadlinePassed at its deadline, although no lane has become free."""
    running = bench.ask_x(1.0)
    await runner.wait_until_entered()
    began = asyncio.get_running_loop().time()
    waiting = bench.ask_x(2.0, timeout_s=5.0)
    with pytest.raises(DeadlinePassed):
        await waiting
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
    runner.gate.set()
    assert (await running).outputs["y"][0, 0] == 2.0
    assert runner.batches == [1]


@on_gate()
async def test_request_that_would_end_after_its_deadline_is_not_run(bench: Bench, runner: Gated, /):
    """A row that could not be answered in time even alone is given up, so that others can be."""
    hopeless = bench.ask_x(2.0, timeout_s=5.0)
    bench.ask_x(1.0)
    run = bench.dispatcher.take(5.0 - SLOW_S / 2)
    assert [part.request.deadline for part in run.batch.slices] == [math.inf]
    assert isinstance(hopeless.exception(), DeadlinePassed)


@on_gate()
async def test_request_that_cannot_make_its_deadline_is_refused_at_once(bench: Bench, runner: Gated, /):
    """Where the cost model expects the answer after the deadline, the request is refused before it is queued."""
    with pytest.raises(TooLate) as refused:
        bench.ask_x(1.0, rows=8, timeout_s=SLOW_S / 2)
    assert refused.value.retry_after_s > 0
    assert bench.dispatcher.is_idle


@on_gate()
async def test_time_of_waiting_does_not_limit_a_request_that_need_not_wait(bench: Bench, runner: Gated, /):
    """Without others before it a request has all its time, otherwise the wait and the time of a run."""
    assert bench.dispatcher.limit_wait(30.0, wait_s=1e-6) == 30.0
    running = bench.ask_x(1.0)
    await runner.wait_until_entered()
    assert SLOW_S < bench.dispatcher.limit_wait(30.0, wait_s=1e-6) < 10 * SLOW_S
    assert bench.dispatcher.limit_wait(0.5 * SLOW_S, wait_s=30.0) == 0.5 * SLOW_S
    runner.gate.set()
    await running


@on_gate(max_queue_rows=16)
async def test_full_queue_refuses_with_the_expected_wait(bench: Bench, runner: Gated, /):
    """QueueFull says when it is worth coming back, from what waits and what a batch costs."""
    bench.ask_x(1.0)
    await runner.wait_until_entered()
    bench.ask_x(1.0, rows=16)
    with pytest.raises(QueueFull) as refused:
        bench.ask_x(1.0)
    assert 2 * SLOW_S <= refused.value.retry_after_s <= 8 * SLOW_S


@on_gate()
async def test_draining_refuses_new_requests_and_answers_the_old(bench: Bench, runner: Gated, /):
    """Drain returns only when every accepted request has its answer; new ones are refused meanwhile."""
    futures = [bench.ask_x(float(i)) for i in range(20)]
    drained = asyncio.ensure_future(bench.dispatcher.drain())
    await runner.wait_until_entered()
    with pytest.raises(Draining):
        bench.ask_x(1.0)
    assert not drained.done()
    runner.gate.set()
    await drained
    assert [f.result().outputs["y"][0, 0] for f in futures] == [2.0 * i for i in range(20)]


@on_counting()
async def test_rows_that_arrive_in_one_turn_share_a_batch(bench: Bench, runner: Counting, /):
    """Requests of one turn of the loop leave together, with no waiting time at all."""
    futures = [bench.ask_x(float(i)) for i in range(8)]
    answers = await asyncio.gather(*futures)
    assert runner.batches == [8]
    assert [a.outputs["y"][0, 0] for a in answers] == [2.0 * i for i in range(8)]
    assert asyncio.get_running_loop().time() == 0.0


@on_gate()
async def test_batches_form_while_the_lane_is_busy(bench: Bench, runner: Gated, /):
    """What arrives during a run leaves as one batch when the lane is free."""
    first = bench.ask_x(1.0)
    await runner.wait_until_entered()
    others = [bench.ask_x(2.0) for _ in range(5)]
    runner.gate.set()
    await asyncio.gather(first, *others)
    assert runner.batches == [1, 5]


@pytest.mark.parametrize("rows", [1, 8, 9, 30])
@on_counting()
async def test_large_request_is_cut_and_joined_in_order(bench: Bench, runner: Counting, /, rows: int):
    """A request above max_rows comes back whole, each row in its place, never in batches above the limit."""
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    _, future = bench.ask({"x": x})
    assert np.array_equal((await future).outputs["y"], 2 * x)
    assert max(runner.batches) <= 8
    assert sum(runner.batches) == rows


@on_counting(least_rows=2)
async def test_lone_row_is_padded_where_the_model_needs_company(bench: Bench, runner: Counting, /):
    """With least_rows 2 a single row runs as two, and the caller sees one."""
    answer = await bench.ask_x(3.0)
    assert answer.outputs["y"].tolist() == [[6.0] * 3]
    assert runner.batches == [2]


@on_counting()
async def test_no_rows_are_answered_without_a_run(bench: Bench, runner: Counting, /):
    """Requests without rows are answered without a run. A version that goes out of service refuses them like others."""
    rows = bench.signature.check({"x": np.empty((0, 3), np.float32)}, may_be_empty=True)
    answer = bench.dispatcher.answer_no_rows(rows)
    assert (answer.outputs["y"].shape, answer.compute_s, runner.batches) == ((0, 3), 0.0, [])
    await bench.dispatcher.drain()
    with pytest.raises(Draining):
        bench.dispatcher.answer_no_rows(rows)


@on_counting(graphs.greatest())
async def test_request_that_fails_on_nothing_fails_alone(bench: Bench, runner: Counting, /):
    """A batch of rows without elements that makes the model raise ends like any other, and the lane goes on."""
    outcomes = []
    for shape in ((1, 0), (2, 0), (2, 3)):
        rows = bench.signature.check({"x": np.ones(shape, np.float32)}, may_be_empty=True)
        outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        bench.dispatcher.submit(rows, outcome.set_result)
        outcomes.append(outcome)
    *failed, answer = [await outcome for outcome in outcomes]
    assert all(isinstance(error, InvalidInput) for error in failed)
    assert isinstance(answer, Answer)
    assert answer.outputs["y"].tolist() == [0, 0]


@on_counting(graphs.one_at_a_time(), max_rows=1)
async def test_model_without_a_batch_axis_runs_requests_one_by_one(bench: Bench, runner: Counting, /):
    """Each request is a run of its own, and nothing is cut from its outputs."""
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    answers = await asyncio.gather(*(bench.ask({"x": x + i})[1] for i in range(3)))
    assert [a.outputs["y"].tolist() for a in answers] == [(2 * (x + i)).tolist() for i in range(3)]
    assert len(runner.batches) == 3


@on_counting(max_wait_s=0.5)
async def test_partial_batch_leaves_when_it_has_waited(bench: Bench, runner: Counting, /):
    """With max_wait_s a lone row waits for company exactly that long: a timer wakes it, nothing polls."""
    first = bench.ask_x(1.0)
    await asyncio.sleep(0.3)
    second = bench.ask_x(2.0)
    await asyncio.gather(first, second)
    assert asyncio.get_running_loop().time() == pytest.approx(0.5)
    assert runner.batches == [2]


@on_gate()
async def test_models_that_share_a_device_take_turns(bench: Bench, runner: Gated, /):
    """A model with a flood of work does not keep another one out, which gets every second batch once it is there."""
    other_runner = Counting(graphs.double())
    other_runner.batches = runner.batches
    other = Bench(other_runner, graphs.double(), cost_s=SLOW_S, device=bench.device)
    flood = [bench.ask_x(1.0, rows=8) for _ in range(10)]
    await runner.wait_until_entered()
    late = [other.ask_x(2.0, rows=7) for _ in range(2)]
    runner.gate.set()
    await asyncio.gather(*late, *flood)
    assert [n for n, rows in enumerate(runner.batches) if rows == 7][1] <= 5, runner.batches


@on_gate()
async def test_timings_tell_where_a_request_was(bench: Bench, runner: Gated, /):
    """The answer's queue time is its wait for a batch."""
    running = bench.ask_x(1.0)
    await runner.wait_until_entered()
    waiting = bench.ask_x(2.0)
    await asyncio.sleep(2.0)
    runner.gate.set()
    await running
    assert (await waiting).queue_s == pytest.approx(2.0)
