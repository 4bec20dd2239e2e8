import math
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.engine.batching.queue import Batch, BatchQueue, QueuedRequest
from service.engine.tensors import Rows
from service.errors import QueueFull


def request(
    count: int, *, key: str = "k", arrived: float = 0.0, deadline: float = math.inf, priority: int = 1
) -> QueuedRequest:
    return QueuedRequest(Rows({}, count, key), arrived, deadline, priority)


def queue_of(
    *requests: QueuedRequest, max_rows: int = 4, max_queue_rows: int = 100, max_wait_s: float = 0.0
) -> BatchQueue:
    queue: BatchQueue = BatchQueue(max_rows, max_queue_rows, max_wait_s)
    for each in requests:
        queue.offer(each)
    return queue


def rows_of(batch: Batch | None) -> list[tuple[QueuedRequest, int, int]]:
    return [(s.request, s.start, s.stop) for s in batch.slices]


def test_full_queue_refuses_and_keeps_what_it_has():
    """A request that does not fit is refused with a time to try again, and those that wait are untouched."""
    first = request(3)
    queue = queue_of(first, max_queue_rows=4)
    with pytest.raises(QueueFull, match="3 rows wait, 2 more do not fit: the limit is 4") as refused:
        queue.offer(request(2), lambda: 7.0)
    assert refused.value.retry_after_s == 7.0
    assert queue.waiting_rows == 3
    assert rows_of(queue.take(0.0)) == [(first, 0, 3)]


def test_requests_of_a_priority_may_be_limited():
    """A model may limit the requests of a priority, whatever their rows. Each that leaves makes room for another."""
    queue: BatchQueue = BatchQueue(4, 100, max_requests=(None, 2))
    first, second = request(1, deadline=1.0), request(6)
    for each in (first, second, request(1, priority=0), request(1, priority=0), request(1, priority=0)):
        queue.offer(each)
    with pytest.raises(QueueFull, match="2 requests wait, the limit of the model's configuration") as refused:
        queue.offer(request(1), lambda: 7.0)
    assert refused.value.retry_after_s == 7.0
    queue.expire(1.0)
    third = request(1)
    queue.offer(third)
    queue.cancel(third)
    queue.offer(request(1))
    assert [batch.count for batch in iter(lambda: queue.take(2.0), None)] == [4, 4, 2]
    for _ in range(2):
        queue.offer(request(1))


FIRST, SECOND = request(3), request(3)
LARGE, SMALL, HUGE = request(12), request(1), request(10)
A1, B1, A2 = request(1, key="a"), request(1, key="b"), request(1, key="a")
LOW, HIGH = request(2, priority=1), request(1, priority=0)
TAKEN: dict[str, tuple[tuple[QueuedRequest, ...], list[list[tuple[QueuedRequest, int, int]]]]] = {
    "equal keys share a batch, who waits longest goes first": ((A1, B1, A2), [[(A1, 0, 1), (A2, 0, 1)], [(B1, 0, 1)]]),
    "higher priority leads, and lower fills the rest": ((LOW, HIGH), [[(HIGH, 0, 1), (LOW, 0, 2)]]),
    "who was cut goes behind those who wait": (
        (LARGE, SMALL),
        [[(LARGE, 0, 4)], [(SMALL, 0, 1), (LARGE, 4, 7)], [(LARGE, 7, 11)], [(LARGE, 11, 12)]],
    ),
    "what fits a batch is not cut": ((FIRST, SECOND), [[(FIRST, 0, 3)], [(SECOND, 0, 3)]]),
    "one larger than the queue is accepted alone": ((HUGE,), [[(HUGE, 0, 4)], [(HUGE, 4, 8)], [(HUGE, 8, 10)]]),
}


@pytest.mark.parametrize(("requests", "batches"), TAKEN.values(), ids=TAKEN)
def test_rows_are_taken_in_batches(requests, batches):
    """Batches have at most four rows, and are taken until nothing waits."""
    queue = queue_of(max_queue_rows=13 if len(requests) > 1 else 4)
    for each in requests:
        queue.offer(each)
    assert [rows_of(batch) for batch in iter(lambda: queue.take(0.0), None)] == batches


def test_expired_request_never_starts():
    """A request whose deadline has passed leaves by `expire` and is in no batch."""
    late, fresh = request(1, deadline=5.0), request(1, deadline=6.0)
    queue = queue_of(late, fresh)
    assert queue.next_deadline() == 5.0
    assert queue.expire(5.0) == [late]
    assert rows_of(queue.take(5.0)) == [(fresh, 0, 1)]
    assert queue.waiting_rows == 0


def test_limit_of_a_single_take_cuts_the_first_request():
    """With less time than a full batch takes, the first request is cut to the rows that can be done."""
    only = request(4)
    queue = queue_of(only)
    assert rows_of(queue.take(0.0, max_rows=2)) == [(only, 0, 2)]
    assert rows_of(queue.take(0.0)) == [(only, 2, 4)]


def test_partial_batch_is_held_until_its_oldest_row_has_waited():
    """A partial batch leaves when its oldest request is max_wait_s old or due; a full one leaves at once."""
    queue = queue_of(request(1, arrived=10.0), request(1, arrived=10.9), max_wait_s=1.0)
    assert queue.take(10.95) is None
    assert queue.ready_at(10.95) == 11.0
    batch = queue.take(11.0)
    assert batch.count == 2
    queue = queue_of(request(1, deadline=0.5), max_wait_s=1.0)
    assert queue.ready_at(0.0) == 0.5
    queue = queue_of(request(2, priority=0), request(2), max_wait_s=60.0)
    batch = queue.take(0.0)
    assert batch.count == 4


def test_queue_forgets_answered_requests_long_before_their_deadline():
    """A served request is not kept until its deadline: the queue's memory is bounded by what waits."""
    queue = queue_of()
    for _ in range(10_000):
        queue.offer(request(1, deadline=1e9))
        queue.take(0.0)
    assert len(queue._deadlines) < 200


def test_halves_split_between_requests():
    """Cutting a batch in two keeps every slice, whole, once."""
    requests = [request(1), request(2), request(1)]
    batch = queue_of(*requests).take(0.0)
    left, right = batch.halves()
    assert [s.request for s in (*left.slices, *right.slices)] == requests
    assert left.count + right.count == batch.count


class QueueMachine(RuleBasedStateMachine):
    """Any mixture of offers, takes, cancels and time keeps the rules in the header of `queue.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue: BatchQueue = BatchQueue(5, 30)
        self.accepted: list[QueuedRequest] = []
        self.ended: set[QueuedRequest] = set()
        self.given: dict[QueuedRequest, list[tuple[int, int]]] = {}
        self.started: dict[tuple[int, str], deque[int]] = {}

    @rule(
        count=st.integers(1, 13),
        key=st.sampled_from("ab"),
        priority=st.integers(0, 1),
        patience=st.one_of(st.just(math.inf), st.floats(0, 5)),
    )
    def offer(self, count: int, key: str, priority: int, patience: float) -> None:
        new = request(count, key=key, arrived=self.now, deadline=self.now + patience, priority=priority)
        fits = not self.queue.waiting_rows or self.queue.waiting_rows + count <= 30
        try:
            self.queue.offer(new)
        except QueueFull:
            assert not fits
        else:
            assert fits
            self.accepted.append(new)

    @rule(limit=st.one_of(st.none(), st.integers(1, 5)))
    def take(self, limit: int | None) -> None:
        for expired in self.queue.expire(self.now):
            assert expired.deadline <= self.now
            assert expired not in self.ended
            self.ended.add(expired)
        waiting = self.queue.waiting_rows
        batch = self.queue.take(self.now, limit)
        assert (batch is None) == (waiting == 0), "work-conserving: a batch leaves whenever rows wait"
        if batch is None:
            return
        assert 0 < batch.count <= (limit or 5)
        assert len({s.request.rows.key for s in batch.slices}) == 1
        for part in batch.slices:
            assert part.request not in self.ended
            assert part.request.deadline > self.now
            pieces = self.given.setdefault(part.request, [])
            assert part.start == (pieces[-1][1] if pieces else 0), "no row lost, none twice"
            if not pieces:
                self._check_order(part.request)
            pieces.append((part.start, part.stop))
            if part.stop == part.request.rows.number:
                self.ended.add(part.request)

    def _check_order(self, new: QueuedRequest) -> None:
        """Requests of a priority and key start in order of arrival."""
        at = self.accepted.index(new)
        same = [
            r
            for r in self.accepted[:at]
            if (r.priority, r.rows.key) == (new.priority, new.rows.key) and r not in self.ended
        ]
        assert all(r in self.given for r in same)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.accepted:
            chosen = data.draw(st.sampled_from(self.accepted))
            assert self.queue.cancel(chosen) == (chosen not in self.ended)
            self.ended.add(chosen)

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def rows_are_counted(self) -> None:
        left = [r.left_rows for r in self.accepted if r not in self.ended]
        assert self.queue.waiting_rows == sum(left)
        waiting = [r.priority for r in self.accepted if r not in self.ended]
        assert self.queue.requests_of == [waiting.count(0), waiting.count(1)]


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
