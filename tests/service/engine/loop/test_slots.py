"""The slot table: which rows of which requests are in a loop's next step."""

import math
import weakref
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.loop.slots import RunningBatch, SlotSequence, SlotTable, Span
from service.errors import QueueFull


@dataclass(eq=False)
class Walk(SlotSequence):
    """A request that keeps which steps each of its rows has made."""

    steps: int = 1
    made: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = [[] for _ in range(self.rows)]

    @property
    def is_under_way(self) -> bool:
        return not self.gone and any(len(made) < self.steps for made in self.made)


def walk(rows: int = 1, steps: int = 1, **more: object) -> Walk:
    return Walk("key", rows, 0.0, steps=steps, **more)  # type: ignore[arg-type]


def open_table(*requests: Walk, slots: int, queue_rows: int = 10) -> SlotTable[Walk]:
    table: SlotTable[Walk] = SlotTable(slots, queue_rows)
    for request in requests:
        table.offer(request)
    return table


def step(table: SlotTable[Walk], batch: RunningBatch[Walk]) -> None:
    """Advance every row of a batch by one step and give the batch back."""
    going = []
    for span in batch.spans:
        for row in range(span.start, span.stop):
            span.sequence.made[row].append(span.step)
        span.step += 1
        if span.step < span.sequence.steps:
            going.append(span)
    table.rest(batch, going)


def test_full_queue_refuses_what_may_come_back():
    """Rows that do not fit into the queue are refused, unless nothing waits: else a large request could never run."""
    table = open_table(walk(rows=3), slots=2, queue_rows=4)
    with pytest.raises(QueueFull) as refusal:
        table.offer(walk(rows=2), lambda: 7.0)
    assert (refusal.value.retry_after_s, table.waiting_rows) == (7.0, 3)
    request = walk(rows=9)
    table = open_table(request, slots=2, queue_rows=4)
    while (batch := table.take(2)) is not None:
        step(table, batch)
    assert request.made == [[0]] * 9


def test_expired_requests_leave_and_are_named():
    """``expire`` takes out whoever is late, waiting or under way, and nobody else."""
    first, second, third = walk(steps=9, deadline=1.0), walk(deadline=2.0), walk(deadline=3.0)
    table = open_table(first, second, third, slots=1)
    step(table, table.take(1))
    assert table.next_deadline() == 1.0
    assert table.expire(2.5) == [first, second]
    assert table.take(1).spans[0].sequence is third


def test_ended_requests_are_not_kept_until_their_deadline():
    """Hundreds of ended requests leave no trace behind one that is still running, and that one still expires."""
    first = walk(steps=9000, deadline=5.0)
    table = open_table(first, slots=16)
    ended = weakref.WeakSet[Walk]()
    for _ in range(1000):
        request = walk(deadline=3600.0)
        ended.add(request)
        table.offer(request)
        step(table, table.take(16))
        request.gone = True
    assert len(ended) < 200
    assert table.expire(5.0) == [first]


def test_newcomers_join_rows_that_are_under_way():
    """A row that waits gets into the next step, beside rows at later steps, or else in a batch of its own."""
    table = open_table(walk(rows=2, steps=5), slots=8)
    step(table, table.take(4))
    table.offer(walk(steps=5))
    assert [(span.rows, span.step) for span in table.take(4).spans] == [(2, 1), (1, 0)]
    table = open_table(walk(rows=4, steps=5), slots=8)
    for _ in range(3):  # two batches begin, and the first, which the second went before, has its turn
        step(table, table.take(2))
    table.offer(walk(steps=5))
    assert [(span.rows, span.step) for span in table.take(2).spans] == [(1, 0)]


@pytest.mark.parametrize(("key", "rows"), [("key", 4), ("other", 4), ("key", 1)], ids=["full", "other key", "room"])
def test_full_batches_step_beside_an_endless_stream_of_newcomers(key, rows):
    """Even if a newcomer waits before every step, every second step is for those who have begun."""
    full, beside = walk(rows=4, steps=9), Walk(key, rows, 0.0, steps=9)
    table = open_table(full, beside, slots=16, queue_rows=100)
    for _ in range(2 * (9 + 9)):
        batch = table.take(4)
        table.offer(walk())
        step(table, batch)
    assert full.made == [[*range(9)]] * 4
    assert beside.made == [[*range(9)]] * rows


def test_priority_goes_before_order_of_arrival():
    """Rows of higher priority (smaller number) get the slots first."""
    later, urgent = walk(priority=1), walk(priority=0)
    assert open_table(later, urgent, slots=1).take(1).spans[0].sequence is urgent


def test_hypotheses_of_a_row_stay_together():
    """A row of several slots is never cut: it begins only where all of them are free."""
    table = open_table(walk(rows=3, steps=2, width=2), slots=5)
    batch = table.take(5)
    assert batch.slots == 4
    assert table.take(5) is None
    step(table, batch)
    assert table.take(3).slots == 2


def test_batches_that_fit_together_become_one():
    """When a batch shrinks, it is merged into another resting one that has room."""
    table = open_table(walk(rows=3, steps=9), walk(rows=1, steps=9), slots=8)
    for _ in range(2):
        step(table, table.take(2))
    assert table.take(4).slots == 4
    assert table.take(4) is None


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.integers(1, 7),  # rows
            st.integers(1, 4),  # steps
            st.integers(1, 3),  # width
            st.sampled_from("ab"),  # key
            st.integers(0, 1),  # priority
            st.sampled_from([math.inf, 3.0, 6.0]),  # deadline
        ),
        min_size=1,
        max_size=12,
    ),
    stream=st.none() | st.tuples(st.sampled_from("abc"), st.integers(1, 3)),  # key and steps
    limits=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    leaving=st.sets(st.integers(0, 11), max_size=3),
    lanes=st.integers(1, 3),
)
def test_every_row_makes_each_step_once_and_slots_are_bounded(requests, stream, limits, leaving, lanes):
    """No row is lost or steps twice, whoever joins, leaves, is late, or comes at every turn (stream)."""
    table = open_table(slots=8, queue_rows=1000)
    walks = [
        Walk(key, rows, 0.0, deadline, priority, width, steps=steps)
        for rows, steps, width, key, priority, deadline in requests
    ]
    left: set[Walk] = set()
    flying: list[RunningBatch[Walk]] = []
    for turn in range(2000):
        if turn < len(walks):
            table.offer(walks[turn])
        if stream and not table.waiting_rows and any(request.is_under_way for request in walks):
            table.offer(Walk(stream[0], 1, 0.0, steps=stream[1]))
        if turn in leaving and turn < len(walks):
            table.leave(walks[turn])
            left.add(walks[turn])
        left |= set(table.expire(float(turn)))
        limit = limits[turn % len(limits)]
        batch = table.take(limit) if len(flying) < lanes else None
        if batch is not None:
            assert batch.spans
            assert batch.slots <= max(limit, max(span.sequence.width for span in batch.spans))
            assert len({span.sequence.key for span in batch.spans}) == 1
            assert not any(span.sequence.gone for span in batch.spans)
            flying.append(batch)
        assert 0 <= table.used_slots <= 8
        if flying and (batch is None or len(flying) == lanes):
            step(table, flying.pop(0))
        if turn >= len(walks) and table.is_empty and not flying:
            break
    assert table.is_empty
    assert table.used_slots == table.waiting_rows == 0
    for request in walks:
        for made in request.made:
            assert made == list(range(len(made)))
            assert len(made) == request.steps or request in left


def test_span_is_cut_where_its_rows_lie():
    """A part of a span keeps its rows' step, and their place is counted in slots."""
    request = walk(rows=6, width=2)
    part = Span(request, 1, 6, step=3, place="there", offset=10).cut(2, 4)
    assert (part.start, part.stop, part.step, part.place, part.offset, part.slots) == (3, 5, 3, "there", 14, 4)
