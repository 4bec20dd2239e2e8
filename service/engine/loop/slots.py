"""Which rows of a loop step next, and together. It has no clock: the caller tells the time.

Rules
- A *span* is neighbouring rows of one sequence at the same step. Spans of equal key that step together are a *batch*.
  A step has at most as many slots as its limit, unless a single row needs more.
- A row holds its slots from its first step to its last: one, or one for each hypothesis. At most ``max_slots`` are
  held, so the memory of all states is bounded.
- Waiting rows join the next step that has room, and such a step goes first. Within a priority, rows begin in order of
  arrival. If no rows wait, the batch that has rested longest goes.
- No batch rests for ever: after a step with new rows, the batch that has rested longest goes.
- Resting batches that fit into one step become one batch.
- A sequence that ends, expires or is cancelled leaves as a whole, between steps. Its slots are free at once.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from service.engine.batching.queue import PRIORITIES
from service.errors import QueueFull

_FEW = 64
"""With fewer deadlines than this, those of ended sequences are not removed."""


@dataclass(slots=True, eq=False)
class SlotSequence:
    """One caller's rows in a loop, with ``width`` slots for each row. Times are on the clock of the table's user."""

    key: Hashable
    rows: int
    arrived: float
    deadline: float = math.inf
    priority: int = PRIORITIES - 1
    width: int = 1
    waiting_rows: int = 0
    gone: bool = False
    """Whether it is finished, cancelled or late. Rows that it still has leave before the next step."""


T = TypeVar("T", bound=SlotSequence)


@dataclass(slots=True, eq=False)
class Span(Generic[T]):
    """Rows ``start`` to ``stop`` of a sequence, whose next step is ``step``.

    ``place`` tells the batcher where their state is.
    """

    sequence: T
    start: int
    stop: int
    step: int = 0
    place: Any = None
    offset: int = 0
    """Their first slot in ``place``."""

    @property
    def rows(self) -> int:
        return self.stop - self.start

    @property
    def slots(self) -> int:
        return (self.stop - self.start) * self.sequence.width

    def cut(self, first: int, last: int) -> "Span[T]":
        """Rows ``first`` to ``last`` of this span, counted from its start, as a new span."""
        offset = self.offset + first * self.sequence.width
        return Span(self.sequence, self.start + first, self.start + last, self.step, self.place, offset)


@dataclass(slots=True, eq=False)
class RunningBatch(Generic[T]):
    """Spans that step together, in ``slots`` slots.

    ``key`` is that of its sequences; the batcher may change it after a step, if the shapes of the rows have changed.
    ``steady`` and ``kept`` belong to the batcher: ``steady`` holds while no row joins or leaves, and is None otherwise.
    """

    key: Hashable
    spans: list[Span[T]] = field(default_factory=list)
    slots: int = 0
    steady: Any = None
    kept: Any = None


class SlotTable(Generic[T]):
    """The rows in the loop of one model version: those that wait, rest between steps, or step."""

    def __init__(self, max_slots: int, max_queue_rows: int) -> None:
        self.max_slots = max_slots
        self.max_queue_rows = max_queue_rows
        self.waiting_rows = 0
        self.used_slots = 0
        self.departures = 0
        """How many sequences have been removed."""
        self._waiting: list[deque[Span[T]]] = [deque() for _ in range(PRIORITIES)]
        self._resting: list[RunningBatch[T]] = []
        """In the order in which they will step."""
        self._passed_over = False
        """Whether the last step had new rows while other batches rested. Then it is their turn."""
        self._deadlines: list[tuple[float, int, T]] = []
        self._most_deadlines = _FEW
        self._order = itertools.count()

    @property
    def can_step(self) -> bool:
        """Whether ``take`` would return a batch."""
        return bool(self._resting) or self._head() is not None

    @property
    def is_empty(self) -> bool:
        return not self.waiting_rows and not self.used_slots

    def offer(self, sequence: T, retry_after_s: Callable[[], float] = lambda: 1.0) -> None:
        """Add a sequence's rows. Raises QueueFull, with ``retry_after_s()``, if they do not fit.

        A sequence larger than the whole queue is accepted when nothing waits. Otherwise it could never run.
        """
        if self.waiting_rows and self.waiting_rows + sequence.rows > self.max_queue_rows:
            raise QueueFull(
                f"{self.waiting_rows} rows wait, {sequence.rows} more do not fit: the limit is {self.max_queue_rows}",
                retry_after_s(),
            )
        if sequence.width > self.max_slots:
            raise ValueError(f"a row of {sequence.width} slots in a loop of {self.max_slots}")
        sequence.waiting_rows = sequence.rows
        self.waiting_rows += sequence.rows
        self._waiting[sequence.priority].append(Span(sequence, 0, sequence.rows))
        if sequence.deadline < math.inf:
            heapq.heappush(self._deadlines, (sequence.deadline, next(self._order), sequence))
            if len(self._deadlines) > self._most_deadlines:
                # Most sequences end long before their deadline, and would be kept until then.
                self._deadlines = [entry for entry in self._deadlines if not entry[2].gone]
                heapq.heapify(self._deadlines)
                self._most_deadlines = 2 * len(self._deadlines) + _FEW

    def leave(self, sequence: T) -> None:
        """Remove a sequence. Rows that are in a step leave when the step ends."""
        sequence.gone = True
        self.departures += 1
        self.waiting_rows -= sequence.waiting_rows
        sequence.waiting_rows = 0
        for batch in list(self._resting):
            if any(span.sequence is sequence for span in batch.spans):
                self._resting.remove(batch)
                self.rest(batch, batch.spans)

    def expire(self, now: float) -> list[T]:
        """Remove every sequence whose deadline has passed, and return them."""
        expired = []
        while self.next_deadline() <= now:
            sequence = heapq.heappop(self._deadlines)[2]
            self.leave(sequence)
            expired.append(sequence)
        return expired

    def next_deadline(self) -> float:
        """When the first sequence expires; infinity if none does."""
        while self._deadlines and self._deadlines[0][2].gone:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def take(self, limit: int) -> RunningBatch[T] | None:
        """The next batch, of at most ``limit`` slots; None if there is none. Call ``expire`` first."""
        head = None if self._passed_over and self._resting else self._head()
        if head is not None:
            batch = self._find_batch(head, limit)
        elif self._resting:
            batch = self._resting.pop(0)
        else:
            return None
        self._passed_over = head is not None and bool(self._resting)
        if batch.slots > limit:
            self._split(batch, limit)
        if self.waiting_rows:
            self._add_waiting(batch, limit)
        for other in list(self._resting):
            if other.key == batch.key and batch.slots + other.slots <= limit:
                self._resting.remove(other)
                batch.spans += other.spans
                batch.slots += other.slots
                batch.steady = None
        return batch

    def rest_whole(self, batch: RunningBatch[T]) -> None:
        """A batch has stepped, and none of its rows has left since it was taken."""
        self._resting.append(batch)

    def rest(self, batch: RunningBatch[T], spans: Sequence[Span[T]]) -> None:
        """A batch has stepped; ``spans`` are its rows that continue."""
        batch.steady = None
        self.used_slots -= batch.slots
        batch.spans = [span for span in spans if not span.sequence.gone]
        batch.slots = sum(span.slots for span in batch.spans)
        if batch.spans:
            self.used_slots += batch.slots
            self._resting.append(batch)

    def _head(self) -> Span[T] | None:
        """The span that begins next; None if none waits or there is no slot for it."""
        for line in self._waiting:
            while line and line[0].sequence.gone:
                line.popleft()
            if line:
                return line[0] if line[0].sequence.width <= self.max_slots - self.used_slots else None
        return None

    def _find_batch(self, head: Span[T], limit: int) -> RunningBatch[T]:
        """The smallest resting batch that has room for the span's first row, or a new one."""
        fitting = [c for c in self._resting if c.key == head.sequence.key and c.slots + head.sequence.width <= limit]
        if not fitting:
            return RunningBatch(head.sequence.key)
        batch = min(fitting, key=lambda c: c.slots)
        self._resting.remove(batch)
        return batch

    def _split(self, batch: RunningBatch[T], limit: int) -> None:
        """Cut a batch to ``limit`` slots. The rest keeps resting and steps next."""
        kept: list[Span[T]] = []
        rest: list[Span[T]] = []
        for span in batch.spans:
            width = span.sequence.width
            rows = 0 if rest else min(span.rows, max(limit // width, not kept))
            limit -= rows * width
            if rows:
                kept.append(span.cut(0, rows))
            if rows < span.rows:
                rest.append(span.cut(rows, span.rows))
        if rest:
            left = sum(span.slots for span in rest)
            batch.spans, batch.slots, batch.steady, batch.kept = kept, batch.slots - left, None, None
            self._resting.insert(0, RunningBatch(batch.key, rest, left))

    def _add_waiting(self, batch: RunningBatch[T], limit: int) -> None:
        """Add waiting rows of the batch's key, up to ``limit`` slots."""
        for line in self._waiting:
            while line:
                span = line[0]
                if span.sequence.gone:
                    line.popleft()
                    continue
                width = span.sequence.width
                free = min(limit - batch.slots, self.max_slots - self.used_slots)
                if not batch.spans:
                    free = max(free, width)  # a row that needs more than the limit steps alone
                rows = min(span.rows, max(0, free) // width)
                if span.sequence.key != batch.key or not rows:
                    return
                batch.spans.append(span.cut(0, rows))
                batch.slots += rows * width
                batch.steady = None
                self.used_slots += rows * width
                self.waiting_rows -= rows
                span.sequence.waiting_rows -= rows
                span.start += rows
                if not span.rows:
                    line.popleft()
