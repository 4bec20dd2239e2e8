"""The loop: rows of many requests step together, join and leave between steps, and change nothing for each other."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.tasks import Carry
from service.engine.batching.cost import RunMemory
from service.engine.loop.request import LoopRequest, LoopResult
from service.engine.tensors import Arrays
from service.errors import BodyTooLarge, DeadlinePassed, Draining, ModelFailure, QueueFull, ServiceError, TooLate
from tests.service.engine.loop.bench import (
    DRIFT,
    HOP,
    SLOW_S,
    WALK,
    Bench,
    Counting,
    check_walk,
    drift,
    drifting,
    hop,
    hopping,
    walk,
    walking,
)
from tests.support.clocks import virtual
from tests.support.models import graphs

GROW = (Carry(input="memory", output="longer"), Carry(input="x"))
WIDE = np.zeros((1, 3), np.float32)


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        (
            LoopRequest({"value": WIDE, "total": WIDE}, 1, {"kick": lambda rows, step: 0.0}),
            BodyTooLarge,
            r"at most 10 bytes .* one of 6 elements",
        ),
        (LoopRequest({"value": WIDE[:, :2]}, 3), ModelFailure, "kick"),
        (walking(1, 2, rows=5), QueueFull, "rows"),
    ],
    ids=["a step would take too much memory", "an input is missing", "the queue is full"],
)
@virtual
async def test_request_that_cannot_begin_is_refused(asked: LoopRequest, error: type[ServiceError], text: str) -> None:
    """The request is refused before its first step. Others end right, in steps that fit into the memory."""
    bench = Bench(walk(), WALK, max_queue_rows=4, memory=RunMemory(10, (0.0, 2.0, 0.0)))  # a row has 4 numbers
    first = walking(1, 3, rows=2)
    answer = bench.ask(first)
    with pytest.raises(error, match=text):
        bench.ask(asked)
    check_walk(first, await answer)
    assert bench.counting.steps == [1] * 6


@pytest.mark.parametrize("bound", [False, True], ids=["arrays", "state of the device"])
@virtual
async def test_row_that_fails_a_step_fails_alone(bound: bool) -> None:
    """A request whose row the graph cannot take gets a failure; those in the same step go on to their right end."""
    bench = Bench(hop(), HOP, runner=Counting(hop(), bound))
    places = (0, 1, 99, 2, 3)
    answers = [bench.ask(hopping(place, 6)) for place in places]
    with pytest.raises(ModelFailure):
        await answers.pop(2)
    for place, answer in zip((0, 1, 2, 3), answers, strict=True):
        path = (await answer).kept["next"][0, :, 0]
        assert path.tolist() == [(place + step + 1) % 4 for step in range(6)]
    assert bench.batcher.table.is_empty


@virtual
async def test_graph_with_too_few_rows_in_an_output_fails_its_request() -> None:
    """An output that does not have a row for each row of the step is a failure of the model."""

    class Short(Counting):
        def step(self, inputs: Arrays, stay: Collection[str]) -> Sequence[np.ndarray]:
            return [output[:0] for output in super().step(inputs, stay)]

    with pytest.raises(ModelFailure, match="0 rows for a batch of 1"):
        await Bench(walk(), WALK, runner=Short(walk())).ask(walking(1, 3))


@virtual
async def test_cancelled_request_frees_its_slots_between_steps() -> None:
    """The rows of a caller that goes leave before the next step; the others of the batch go on."""
    bench = Bench(walk(), WALK, cost_s=SLOW_S)
    bench.counting.gate.clear()
    going, leaving = bench.ask(walking(1, 3)), bench.ask(walking(5, 30, rows=2))
    await bench.counting.wait_until_entered()
    leaving.leave()  # type: ignore[attr-defined]
    bench.counting.gate.set()
    await going
    assert bench.counting.steps == [3, 1, 1]
    assert bench.batcher.table.is_empty
    assert not leaving.done()


@virtual
async def test_late_request_is_answered_so_and_leaves() -> None:
    """When the deadline passes between steps, the caller gets an error and the rows make no more steps."""
    bench, now_s = Bench(walk(), WALK, cost_s=SLOW_S), 0.0
    bench.device.clock = lambda: now_s
    bench.counting.gate.clear()
    answer = bench.ask(walking(1, 50), timeout_s=100 * SLOW_S)
    await bench.counting.wait_until_entered()
    now_s = 100 * SLOW_S
    with pytest.raises(DeadlinePassed):
        await answer
    bench.counting.gate.set()
    await bench.batcher.drain()  # it was told at its deadline; the step that it was in ends later
    assert 0 < len(bench.counting.steps) < 50
    assert bench.batcher.table.is_empty


@virtual
async def test_request_that_cannot_end_in_time_is_refused_until_the_loop_has_rested() -> None:
    """After a rest of ten times its expected time one request is begun, because the loop may be fast by now."""
    bench = Bench(walk(), WALK, cost_s=SLOW_S)
    for rested_s in (0.0, 5.0):
        await asyncio.sleep(rested_s)
        with pytest.raises(TooLate) as refusal:
            bench.ask(walking(1, 10), timeout_s=0.5)
        assert refusal.value.retry_after_s > 0
    assert bench.counting.steps == []
    await asyncio.sleep(10.0)
    tried = bench.ask(walking(1, 10), timeout_s=0.5)
    with pytest.raises(TooLate):
        bench.ask(walking(1, 10), timeout_s=0.5)
    await asyncio.wait([tried])


@virtual
async def test_drain_refuses_new_requests_and_ends_the_old_ones() -> None:
    """A version that is taken out of service finishes what it has begun."""
    bench = Bench(walk(), WALK)
    answer = bench.ask(walking(1, 20))
    draining = asyncio.ensure_future(bench.batcher.drain())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        bench.ask(walking(1, 1))
    await draining
    assert (await answer).kept["next"].shape == (1, 20, 2)


@virtual
async def test_watcher_that_raises_harms_nobody() -> None:
    """A watcher sees each step. An exception of it is logged, and all requests go on."""
    seen: list[tuple[int, int, Any]] = []

    def watch(row: int, step: int, outputs: Arrays) -> None:
        seen.append((row, step, outputs["next"].tolist()))
        if step == 1:
            raise RuntimeError("not my day")

    bench = Bench(walk(), WALK)
    watched, other = bench.ask(walking(1, 4, watch=watch)), bench.ask(walking(2, 4))
    path = (await watched).kept["next"]
    await other
    assert seen == [(0, step, values) for step, values in enumerate(path[0].tolist())]


@virtual
async def test_rows_join_a_running_loop_at_the_next_step() -> None:
    """A request that comes in the middle of another's steps runs beside it, and both end where they would alone."""
    bench = Bench(walk(), WALK, cost_s=SLOW_S)
    bench.counting.gate.clear()
    first, second = walking(1, 4, rows=2), walking(7, 3)
    one = bench.ask(first)
    await bench.counting.wait_until_entered()
    other = bench.ask(second)
    bench.counting.gate.set()
    check_walk(first, await one)
    check_walk(second, await other)
    assert bench.counting.steps == [2, 3, 3, 3]


def growing(start: float, steps: int, rows: int = 1) -> LoopRequest:
    memory = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2) + start
    return LoopRequest({"memory": memory, "x": memory[:, :1] * 10}, steps, last=("longer",))


async def check_growth(requests: Sequence[LoopRequest], answers: Sequence["asyncio.Future[LoopResult]"]) -> None:
    for request, answer in zip(requests, answers, strict=True):
        expected = np.concatenate([request.begin["memory"], *[request.begin["x"]] * request.steps], axis=1)
        np.testing.assert_array_equal((await answer).last["longer"], expected)


@virtual
async def test_rows_of_different_lengths_are_in_no_step_together() -> None:
    """Requests that come while others step get the same results as alone, though their states differ in length."""
    requests = [growing(start, 6) for start in range(4)]
    answers: list[asyncio.Future[LoopResult]] = []

    class Busy(Counting):
        """One more caller comes in the middle of each step."""

        def step(self, inputs: Arrays, stay: Collection[str]) -> Sequence[np.ndarray]:
            if len(answers) < len(requests):
                answers.append(bench.ask(requests[len(answers)]))
            return super().step(inputs, stay)

    bench = Bench(graphs.grow(), GROW, runner=Busy(graphs.grow()))
    answers.append(bench.ask(requests[0]))
    await answers[0]
    await check_growth(requests, answers)
    assert bench.batcher.table.is_empty


@virtual
async def test_rows_of_one_length_share_their_steps() -> None:
    """Requests that begin together step together. A row that begins later than its request steps apart from it."""
    bench = Bench(graphs.grow(), GROW)
    requests = [growing(start, 6) for start in range(4)]
    await check_growth(requests, [bench.ask(request) for request in requests])
    assert bench.counting.steps == [4] * 6
    bench = Bench(graphs.grow(), GROW, max_slots=3)
    requests = [growing(1, 2, rows=1), growing(5, 6, rows=3)]
    await check_growth(requests, [bench.ask(request) for request in requests])
    assert bench.counting.steps[:2] == [3, 3]
    assert max(bench.counting.steps[2:]) == 2


@virtual
async def test_slow_steps_go_side_by_side_on_two_lanes() -> None:
    """If half a batch takes much less time than a whole one, two lanes step half of the rows each."""
    bench = Bench(walk(), WALK, lanes=2, cost_s=2 * SLOW_S, row_s=SLOW_S)
    bench.counting.gate.clear()
    request = walking(1, 3, rows=8)
    answer = bench.ask(request)
    for _ in range(2):
        await bench.counting.wait_until_entered()
    bench.counting.gate.set()
    check_walk(request, await answer)
    assert bench.counting.steps[:2] == [4, 4]


class Noting(Counting):
    """Keeps the address and the values of the input ``push`` of each step."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.seen: list[tuple[int, list[float]]] = []

    def step(self, inputs: Arrays, stay: Collection[str]) -> Sequence[np.ndarray]:
        self.seen.append((inputs["push"].ctypes.data, inputs["push"][:, 0].tolist()))
        return super().step(inputs, stay)


@virtual
async def test_what_no_step_changes_stays_where_it_is() -> None:
    """A row that joins is written behind the others; the last row fills the gap of one that leaves."""
    noting = Noting(drift())
    bench = Bench(drift(), DRIFT, runner=noting)
    late = drifting(4, 3)

    def join(row: int, step: int, shown: Arrays) -> None:
        if step == 2:
            answers.append((late, bench.ask(late)))

    requests = [drifting(1, 5, watch=join), drifting(2, 2), drifting(3, 5)]
    answers = [(request, bench.ask(request)) for request in requests]
    for request, answer in answers:  # the late one is there before the others have ended
        check_walk(request, await answer)
    assert len({address for address, _ in noting.seen}) == 1
    assert [values for _, values in noting.seen] == [
        *[[10, 20, 30]] * 2,
        [10, 30],
        *[[10, 30, 40]] * 2,
        [40],
    ]


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(
    bound=st.booleans(),
    in_lanes=st.booleans(),
    requests=st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=10),
    max_rows=st.integers(1, 6),
    max_slots=st.integers(6, 12),
    gaps=st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
@virtual
async def test_company_changes_no_bit(requests, max_rows, max_slots, gaps, bound, in_lanes):
    """Whoever joins and leaves, a request has the same bits as alone, also with its state on the device (bound)."""
    sizes = {"lanes": 2, "max_rows": max_rows, "max_slots": max_slots, "least_rows": 2}
    bench = Bench(drift(), DRIFT, cost_s=SLOW_S * in_lanes, runner=Counting(drift(), bound), **sizes)
    asked = []
    for (start, steps, rows), gap in zip(requests, gaps, strict=False):
        request = drifting(start, steps, rows)
        asked.append((request, bench.ask(request)))
        for _ in range(gap):
            await asyncio.sleep(0)
    for request, answer in asked:
        check_walk(request, await answer)
    assert bench.batcher.table.is_empty
