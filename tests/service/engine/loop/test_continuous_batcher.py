import asyncio
import itertools
import math
import threading
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from model_store.tasks import Carry
from service.engine.batching.cost import CostModel, RunMemory
from service.engine.execution.device import Device
from service.engine.execution.runner import StepRunner
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.loop.request import Decoding, LoopRequest, LoopResult
from service.engine.loop.slots import SlotTable
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.errors import (
    BodyTooLarge,
    DeadlinePassed,
    Draining,
    InvalidInput,
    ModelFailure,
    QueueFull,
    ServiceError,
    TooLate,
)
from tests.support.clocks import run_virtual
from tests.support.models import graphs
from tests.support.signatures import signature_of

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
SLOW_S = 0.1
"""A cost that sends steps to a lane's thread instead of running them on the loop."""


def walk() -> bytes:
    """next = value * 0.5 + kick, and a total that is carried beside it."""
    return graphs.build(
        [
            helper.make_node("Mul", ["value", "half"], ["halved"]),
            helper.make_node("Add", ["halved", "kick"], ["next"]),
            helper.make_node("Add", ["total", "next"], ["next_total"]),
        ],
        [("value", FLOAT, ["batch", 2]), ("total", FLOAT, ["batch", 2]), ("kick", FLOAT, ["batch", 1])],
        [("next", FLOAT, ["batch", 2]), ("next_total", FLOAT, ["batch", 2])],
        {"half": np.array(0.5, np.float32)},
    )


WALK = (Carry(input="value", output="next"), Carry(input="total", output="next_total"))


def hop() -> bytes:
    """next = table[place]: a place outside 0..3 makes ONNX Runtime fail the whole step."""
    return graphs.build(
        [helper.make_node("Gather", ["table", "place"], ["next"])],
        [("place", INT, ["batch", 1])],
        [("next", INT, ["batch", 1])],
        {"table": np.array([1, 2, 3, 0], np.int64)},
    )


HOP = (Carry(input="place", output="next"),)
GROW = (Carry(input="memory", output="longer"), Carry(input="x"))
SYMBOLS = 5
CHANCES = np.log(np.random.default_rng(3).dirichlet(np.full(SYMBOLS, 0.6), (2, SYMBOLS))).astype(np.float32)
CHANCES = np.maximum(CHANCES, -30)


def speak() -> bytes:
    """scores = the row of the last symbol in one of two tables of chances; which one is carried and turns each step."""
    return graphs.build(
        [
            helper.make_node("Mul", ["table", "size"], ["first"]),
            helper.make_node("Add", ["first", "token"], ["row"]),
            helper.make_node("Gather", ["chances", "row"], ["scores"]),
            helper.make_node("Sub", ["one", "table"], ["next_table"]),
        ],
        [("token", INT, ["batch"]), ("table", INT, ["batch"])],
        [("scores", FLOAT, ["batch", SYMBOLS]), ("next_table", INT, ["batch"])],
        {
            "chances": CHANCES.reshape(2 * SYMBOLS, SYMBOLS),
            "size": np.array(SYMBOLS, np.int64),
            "one": np.array(1, np.int64),
        },
    )


SPEAK = (Carry(input="table", output="next_table"),)


class Counting:
    """A real session that notes the rows of each step it runs, and holds them while a gate is closed."""

    def __init__(self, content: bytes, bound: bool = False) -> None:
        self.session = Session(content, bound=bound)
        self.steps: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def step(self, inputs: Arrays, stay: Collection[str]) -> Sequence[np.ndarray]:
        self.steps.append(len(next(iter(inputs.values()))))
        self.entered.release()
        assert self.gate.wait(30)
        return self.session.step(inputs, stay)

    def settle(self, array: np.ndarray) -> Any:
        return self.session.settle(array)

    async def wait_until_entered(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


class Bench:
    """A device with one looping model, and helpers to ask it."""

    def __init__(
        self,
        content: bytes,
        carries: Sequence[Carry],
        *,
        lanes: int = 1,
        max_rows: int = 8,
        max_slots: int = 16,
        max_queue_rows: int = 100,
        cost_s: float = 0.0,
        row_s: float = 0.0,
        least_rows: int = 1,
        runner: StepRunner | None = None,
        memory: RunMemory | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.counting = Counting(content)
        self.device = Device(lanes, loop, clock=loop.time)
        cost = CostModel()
        for rows in (1, max_rows):
            cost.observe(rows, cost_s + rows * row_s)
        self.batcher = ContinuousBatcher(
            runner or self.counting,
            signature_of(content),
            carries,
            self.device,
            SlotTable(max_slots, max_queue_rows),
            max_rows=max_rows,
            cost=cost,
            pad=lambda rows: max(rows, least_rows),
            memory=memory,
        )

    def ask(self, request: LoopRequest, **options: float) -> "asyncio.Future[LoopResult]":
        answer: asyncio.Future[LoopResult] = asyncio.get_running_loop().create_future()

        def done(outcome: LoopResult | ServiceError) -> None:
            if isinstance(outcome, LoopResult):
                answer.set_result(outcome)
            else:
                answer.set_exception(outcome)

        answer.leave = self.batcher.submit(request, done, **options)  # type: ignore[attr-defined, arg-type]
        return answer


def walking(start: float, steps: int, rows: int = 1, **more: object) -> LoopRequest:
    """Rows that begin at ``start``, ``start`` + 1 and so on, and are kicked by their number and step."""
    value = np.array([[start + r, -start] for r in range(rows)], np.float32)
    return LoopRequest(
        {"value": value, "total": np.zeros_like(value)},
        steps,
        {"kick": lambda rows, step: np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + step},
        keep=("next",),
        last=("next_total",),
        **more,  # type: ignore[arg-type]
    )


def walk_by_hand(request: LoopRequest) -> tuple[np.ndarray, np.ndarray]:
    value, total = request.begin["value"], request.begin["total"]
    path = []
    for step in range(request.steps):
        kick = request.by_step["kick"](slice(0, request.rows), step)
        value = value * np.float32(0.5) + np.asarray(kick, np.float32)
        total = total + value
        path.append(value)
    return np.stack(path, axis=1), total


def test_row_whose_step_would_take_too_much_memory_is_refused():
    """With the limit, before it begins. A step has as many of the others as fit, and they end right."""

    async def main() -> None:
        bench = Bench(walk(), WALK, memory=RunMemory(10, (0.0, 2.0, 0.0)))  # a row has 4 numbers
        large = {"value": np.zeros((1, 3), np.float32), "total": np.zeros((1, 3), np.float32)}
        with pytest.raises(BodyTooLarge, match=r"at most 10 bytes .* one of 6 elements"):
            bench.ask(LoopRequest(large, 1, {"kick": lambda rows, step: 0.0}))
        request = walking(1.0, 3, rows=2)
        result = await bench.ask(request)
        path, _ = walk_by_hand(request)
        np.testing.assert_array_equal(result.kept["next"], path)
        assert bench.counting.steps == [1] * 6

    run_virtual(main())


def test_row_that_fails_a_step_fails_alone():
    """A request whose row the graph cannot take gets a failure; those in the same step go on to their right end."""

    async def main() -> None:
        bench = Bench(hop(), HOP)
        answers = [
            bench.ask(LoopRequest({"place": np.array([[place]], np.int64)}, 6, keep=("next",)))
            for place in (0, 1, 99, 2, 3)
        ]
        with pytest.raises(ModelFailure):
            await answers[2]
        for place, answer in zip((0, 1, 2, 3), [a for a in answers if a is not answers[2]], strict=True):
            path = (await answer).kept["next"][0, :, 0]
            assert path.tolist() == [(place + step + 1) % 4 for step in range(6)]
        assert bench.batcher.table.is_empty

    run_virtual(main())


def test_graph_with_too_few_rows_in_an_output_fails_its_request():
    """An output that has not a row for each row of the step is a failure of the model, never someone else's row."""

    class Short(Counting):
        def step(self, inputs: Arrays, stay: Collection[str]) -> Sequence[np.ndarray]:
            return [output[:0] for output in super().step(inputs, stay)]

    async def main() -> None:
        bench = Bench(walk(), WALK, runner=Short(walk()))
        with pytest.raises(ModelFailure, match="0 rows for a batch of 1"):
            await bench.ask(walking(1, 3))

    run_virtual(main())


def test_cancelled_request_frees_its_slots_between_steps():
    """A caller that goes takes its rows out before the next step; the others of the batch go on."""

    async def main() -> None:
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

    run_virtual(main())


def test_late_request_is_answered_so_and_leaves():
    """When the deadline passes between steps, the caller is told and the rows make no more steps."""

    async def main() -> None:
        bench = Bench(walk(), WALK)
        answer = bench.ask(walking(1, 50), timeout_s=5.0)
        clock = itertools.count(0, 1)
        bench.device.clock = lambda: float(next(clock))
        with pytest.raises(DeadlinePassed):
            await answer
        await bench.batcher.drain()  # it was told at its deadline; the step that it was in ends later
        assert 0 < len(bench.counting.steps) < 50
        assert bench.batcher.table.is_empty

    run_virtual(main())


def test_request_that_cannot_end_in_time_is_refused_at_once():
    """A thousand steps of a tenth of a second are not begun for a caller who waits ten seconds."""

    async def main() -> None:
        bench = Bench(walk(), WALK, cost_s=SLOW_S)
        with pytest.raises(TooLate) as refusal:
            bench.ask(walking(1, 1000), timeout_s=10.0)
        assert refusal.value.retry_after_s > 0
        assert bench.counting.steps == []

    run_virtual(main())


def test_loop_that_seems_too_slow_is_tried_again():
    """When it has rested for ten times of what a request seems to take, one is begun: the loop may be fast by now."""

    async def main() -> None:
        bench = Bench(walk(), WALK, cost_s=SLOW_S)
        for rested_s in (0.0, 5.0):
            await asyncio.sleep(rested_s)
            with pytest.raises(TooLate):
                bench.ask(walking(1, 10), timeout_s=0.5)
        await asyncio.sleep(10.0)
        tried = bench.ask(walking(1, 10), timeout_s=0.5)
        with pytest.raises(TooLate):
            bench.ask(walking(1, 10), timeout_s=0.5)
        await asyncio.wait([tried])

    run_virtual(main())


def test_full_queue_refuses():
    """Rows beyond the limit of the queue are refused while others wait."""

    async def main() -> None:
        bench = Bench(walk(), WALK, max_queue_rows=4)
        first = bench.ask(walking(1, 2, rows=3))
        with pytest.raises(QueueFull):
            bench.ask(walking(1, 2, rows=2))
        await first

    run_virtual(main())


def test_more_hypotheses_than_a_step_has_rows_are_refused():
    """A row needs all its slots in one step."""

    async def main() -> None:
        bench = Bench(speak(), SPEAK, max_rows=4)
        with pytest.raises(InvalidInput, match="beams: expected at most 4, got 5"):
            bench.ask(speaking(0, width=5))

    run_virtual(main())


def test_course_without_an_input_of_the_step_is_a_failure_of_the_service():
    """What a step takes and a loop request does not give is found before anything runs."""

    async def main() -> None:
        bench = Bench(walk(), WALK)
        with pytest.raises(ModelFailure, match="kick"):
            bench.ask(LoopRequest({"value": np.zeros((1, 2), np.float32)}, 3))

    run_virtual(main())


def test_drain_refuses_new_courses_and_ends_the_old_ones():
    """A version that is taken out of service finishes what it has begun."""

    async def main() -> None:
        bench = Bench(walk(), WALK)
        answer = bench.ask(walking(1, 20))
        draining = asyncio.ensure_future(bench.batcher.drain())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            bench.ask(walking(1, 1))
        await draining
        assert (await answer).kept["next"].shape == (1, 20, 2)

    run_virtual(main())


def test_watcher_that_raises_harms_nobody():
    """Steps are shown to the one who watches; what it raises is logged, and all loop requests go on."""
    seen = []

    def watch(row: int, step: int, outputs: Arrays) -> None:
        seen.append((row, step, outputs["next"].tolist()))
        if step == 1:
            raise RuntimeError("not my day")

    async def main() -> None:
        bench = Bench(walk(), WALK)
        watched, other = bench.ask(walking(1, 4, watch=watch)), bench.ask(walking(2, 4))
        path = (await watched).kept["next"]
        await other
        assert [(row, step) for row, step, _ in seen] == [(0, step) for step in range(4)]
        assert [values for *_, values in seen] == path[0].tolist()

    run_virtual(main())


def test_rows_join_a_running_loop_at_the_next_step():
    """A request that comes in the middle of another's steps runs beside it, and both end where they would alone."""

    async def main() -> None:
        bench = Bench(walk(), WALK, cost_s=SLOW_S)
        bench.counting.gate.clear()
        first = walking(1, 4, rows=2)
        second = walking(7, 3)
        one = bench.ask(first)
        await bench.counting.wait_until_entered()
        other = bench.ask(second)
        bench.counting.gate.set()
        answers = await asyncio.gather(one, other)
        assert bench.counting.steps == [2, 3, 3, 3]
        for request, result in zip((first, second), answers, strict=True):
            kept, total = walk_by_hand(request)
            np.testing.assert_array_equal(result.kept["next"], kept)
            np.testing.assert_array_equal(result.last["next_total"], total)

    run_virtual(main())


def growing(start: float, steps: int, rows: int = 1) -> LoopRequest:
    memory = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2) + start
    return LoopRequest({"memory": memory, "x": memory[:, :1] * 10}, steps, last=("longer",))


def grow_by_hand(request: LoopRequest) -> np.ndarray:
    return np.concatenate([request.begin["memory"], *[request.begin["x"]] * request.steps], axis=1)


def test_what_grows_is_in_no_step_with_what_is_shorter():
    """Callers who come while others step get the same as alone, though what each carries has another length by then."""
    requests = [growing(start, 6) for start in range(4)]
    answers: list[asyncio.Future[LoopResult]] = []

    async def main() -> None:
        class Busy(Counting):
            """One more caller comes in the middle of each step."""

            def step(self, inputs: Arrays, stay: Collection[str]) -> Sequence[np.ndarray]:
                if len(answers) < len(requests):
                    answers.append(bench.ask(requests[len(answers)]))
                return super().step(inputs, stay)

        bench = Bench(graphs.grow(), GROW, runner=Busy(graphs.grow()))
        answers.append(bench.ask(requests[0]))
        await answers[0]
        for request, answer in zip(requests, answers, strict=True):
            np.testing.assert_array_equal((await answer).last["longer"], grow_by_hand(request))
        assert bench.batcher.table.is_empty

    run_virtual(main())


def test_what_has_grown_to_one_length_shares_its_steps():
    """Callers who begin together step together, however long what they carry becomes."""

    async def main() -> None:
        bench = Bench(graphs.grow(), GROW)
        requests = [growing(start, 6) for start in range(4)]
        for request, answer in zip(requests, [bench.ask(c) for c in requests], strict=True):
            np.testing.assert_array_equal((await answer).last["longer"], grow_by_hand(request))
        assert bench.counting.steps == [4] * 6

    run_virtual(main())


def test_rows_of_one_request_that_grow_apart_step_apart():
    """A row that could not begin with the others of its request does not join them when a slot is free."""

    async def main() -> None:
        bench = Bench(graphs.grow(), GROW, max_slots=3)
        first, late = growing(1, 2, rows=1), growing(5, 6, rows=3)
        answers = [bench.ask(first), bench.ask(late)]
        for request, answer in zip((first, late), answers, strict=True):
            np.testing.assert_array_equal((await answer).last["longer"], grow_by_hand(request))
        assert bench.counting.steps[:2] == [3, 3]
        assert max(bench.counting.steps[2:]) == 2

    run_virtual(main())


def test_lone_row_is_padded_and_the_padding_is_nobodys():
    """Where single rows are run as two, the answer has the rows that were asked for."""

    async def main() -> None:
        bench = Bench(walk(), WALK, least_rows=2)
        request = walking(3, 5)
        result = await bench.ask(request)
        assert bench.counting.steps == [2] * 5
        np.testing.assert_array_equal(result.kept["next"], walk_by_hand(request)[0])

    run_virtual(main())


def test_slow_steps_go_side_by_side_on_two_lanes():
    """Where half a batch takes well less than a whole one, two lanes step half of the rows each."""

    async def main() -> None:
        bench = Bench(walk(), WALK, lanes=2, cost_s=2 * SLOW_S, row_s=SLOW_S)
        bench.counting.gate.clear()
        answer = bench.ask(walking(1, 3, rows=8))
        await bench.counting.wait_until_entered()
        await bench.counting.wait_until_entered()
        bench.counting.gate.set()
        np.testing.assert_array_equal((await answer).kept["next"], walk_by_hand(walking(1, 3, rows=8))[0])
        assert bench.counting.steps[:2] == [4, 4]

    run_virtual(main())


@settings(max_examples=60, deadline=None)
@given(
    bound=st.booleans(),
    in_lanes=st.booleans(),
    requests=st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=10),
    max_rows=st.integers(1, 6),
    max_slots=st.integers(6, 12),
    gaps=st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
def test_company_changes_no_bit(requests, max_rows, max_slots, gaps, bound, in_lanes):
    """Whatever joins and leaves, every request gets the bits that it gets when it runs alone.

    ``bound``: with the state left on the device between steps (here the device is the host).
    """

    async def main() -> None:
        runner = Counting(walk(), bound)
        cost_s = SLOW_S if in_lanes else 0.0
        bench = Bench(
            walk(),
            WALK,
            lanes=2,
            max_rows=max_rows,
            max_slots=max_slots,
            cost_s=cost_s,
            least_rows=2,
            runner=runner,
        )
        made = [walking(start, steps, rows) for start, steps, rows in requests]
        answers = []
        for request, gap in zip(made, gaps, strict=False):
            answers.append(bench.ask(request))
            for _ in range(gap):
                await asyncio.sleep(0)
        for request, answer in zip(made, answers, strict=True):
            kept, total = walk_by_hand(request)
            result = await answer
            np.testing.assert_array_equal(result.kept["next"], kept)
            np.testing.assert_array_equal(result.last["next_total"], total)
        assert bench.batcher.table.is_empty

    run_virtual(main())


def speaking(table: int, width: int = 1, rows: int = 1, steps: int = 6) -> LoopRequest:
    begin = {"table": np.full(rows, table, np.int64)}
    return LoopRequest(begin, steps, decoding=Decoding("token", "scores", begin=0, end=SYMBOLS - 1, width=width))


def say_likeliest(table: int, steps: int) -> tuple[list[int], float]:
    """The likeliest sentence of at most ``steps`` symbols with its end, by trying all of them."""
    best: tuple[list[int], float] = ([], -math.inf)
    for length in range(steps):
        for tokens in itertools.product(range(SYMBOLS - 1), repeat=length):
            chance, last, which = 0.0, 0, table
            for token in (*tokens, SYMBOLS - 1):
                chance += float(CHANCES[which, last, token])
                last, which = token, 1 - which
            if chance > best[1]:
                best = (list(tokens), chance)
    return best


def test_greedy_decoding_takes_the_likeliest_symbol_each_time():
    """Each step is fed the symbol with the highest score of the step before, until the end."""

    async def main() -> None:
        bench = Bench(speak(), SPEAK)
        answers = [bench.ask(speaking(table)) for table in (0, 1, 0)]
        for table, answer in zip((0, 1, 0), answers, strict=True):
            sentence = (await answer).sentences[0]
            last, which, tokens = 0, table, []
            for _ in range(6):
                last = int(CHANCES[which, last].argmax())
                which = 1 - which
                tokens.append(last)
                if last == SYMBOLS - 1:
                    break
            assert sentence.has_ended == (tokens[-1] == SYMBOLS - 1)
            assert list(sentence.tokens) == [t for t in tokens if t != SYMBOLS - 1]

    run_virtual(main())


def test_beams_as_many_as_there_are_sentences_find_the_likeliest():
    """With enough hypotheses beam search finds what trying all sentences finds, for several rows in one step."""

    async def main() -> None:
        bench = Bench(speak(), SPEAK, max_rows=600, max_slots=600)
        one, other = bench.ask(speaking(0, width=256, steps=4)), bench.ask(speaking(1, width=256, steps=4))
        for table, answer in ((0, one), (1, other)):
            sentence = (await answer).sentences[0]
            tokens, chance = say_likeliest(table, 4)
            assert list(sentence.tokens) == tokens
            assert sentence.log_probability == pytest.approx(chance, abs=1e-4)

    run_virtual(main())


def test_state_that_is_left_on_the_device_serves_beams_and_failures_too():
    """Hypotheses that change places, and steps that run again in halves, read the state from the device."""

    async def main() -> None:
        plain, bound = Bench(speak(), SPEAK), Bench(speak(), SPEAK, runner=Counting(speak(), bound=True))
        for table in (0, 1):
            request = speaking(table, width=3)
            assert (await bound.ask(request)).sentences == (await plain.ask(request)).sentences
        bench = Bench(hop(), HOP, runner=Counting(hop(), bound=True))
        answers = [bench.ask(LoopRequest({"place": np.array([[p]], np.int64)}, 4, last=("next",))) for p in (3, 77)]
        assert (await answers[0]).last["next"].tolist() == [[3]]
        with pytest.raises(ModelFailure):
            await answers[1]

    run_virtual(main())


def test_beams_keep_to_their_row():
    """Rows that search with beams give in company what each gives alone."""

    async def main() -> None:
        bench = Bench(speak(), SPEAK, max_rows=12)
        alone = [(await bench.ask(speaking(table, width=3))).sentences[0] for table in (0, 1)]
        together = await asyncio.gather(*(bench.ask(speaking(t, width=3, rows=2)) for t in (0, 1, 0)))
        for table, result in zip((0, 1, 0), together, strict=True):
            assert list(result.sentences) == [alone[table]] * 2

    run_virtual(main())
