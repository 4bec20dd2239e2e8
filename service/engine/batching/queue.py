"""The queue of one model version: which requests run next, and together. It has no clock: the caller tells the time.

Rules
- It counts rows, not requests, and holds at most ``max_queue_rows``, or one larger request. A model may also limit the
  waiting requests of each priority.
- Requests run together only if their keys are equal. Within a priority they start in order of arrival.
- The higher priority (smaller number) goes first. Lower ones fill the rest of a batch.
- A batch has at most ``max_rows`` rows. A larger request is cut. After each cut it goes to the end of the line, so that
  no request waits for more than one piece of it.
- A request that was cancelled, or whose deadline has passed, never starts. Each request leaves in exactly one way: its
  last row is taken, it expires, or it is cancelled.
"""

import heapq
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr

from service.engine.tensors import BatchBuffer, Rows, Signature, cut_rows, is_aligned
from service.errors import InvalidInput, ModelFailure, QueueFull, ServiceError

logger = logging.getLogger("sluice.engine")

PRIORITIES: Final = 2


class Answer:
    """Outputs by name, with as many rows as the request had, and the seconds of each stage.

    ``batch_rows`` is the size of its batch, the last one if it took several; 0 if there was no run.
    """

    def __init__(
        self,
        outputs: Mapping[str, np.ndarray],
        queue_s: float,
        batch_s: float,
        compute_s: float,
        batch_rows: int = 0,
    ) -> None:
        self.outputs = outputs
        self.queue_s = queue_s
        self.batch_s = batch_s
        self.compute_s = compute_s
        self.batch_rows = batch_rows


Done = Callable[[Answer | ServiceError], None]


class QueuedRequest:
    """One caller's rows in the queue. Times are in seconds, on the clock of whoever uses the queue.

    ``done`` is called exactly once, unless the caller cancels first. ``taken_rows`` counts the rows that batches have
    taken; ``rows_done`` those that have run, if several batches answer the request.
    """

    # Not a dataclass, because mypyc does not compile the `__init__` of one.
    def __init__(
        self,
        rows: Rows,
        arrived: float,
        deadline: float = math.inf,
        priority: int = PRIORITIES - 1,
        done: Done = lambda outcome: None,
    ) -> None:
        self.rows = rows
        self.arrived = arrived
        self.deadline = deadline
        self.priority = priority
        self.done = done
        self.taken_rows = 0
        self.waiting = False
        self.finished = False
        self.rows_done = 0
        self.parts: dict[int, Sequence[np.ndarray]] = {}
        """The outputs of the slices that have run so far, by their first row."""
        self.queue_s = self.batch_s = self.compute_s = 0.0

    @property
    def left_rows(self) -> int:
        return self.rows.number - self.taken_rows

    def fail(self, error: BaseException) -> None:
        """The model has failed on these rows alone."""
        if isinstance(error, InvalidInput):
            self.finish(error)
        else:
            logger.error("the model failed on a request of %d rows", self.rows.number, exc_info=error)
            self.finish(ModelFailure(f"{type(error).__name__}: {error}"))

    def finish(self, outcome: Answer | ServiceError) -> None:
        if self.finished:
            return
        self.finished = True
        try:
            self.done(outcome)
        except Exception:  # the other requests of the batch must still get their answers
            logger.exception("the receiver of an answer failed")


class Slice:
    """Rows ``start`` to ``stop`` of a request."""

    __slots__ = ("request", "start", "stop")

    def __init__(self, request: QueuedRequest, start: int, stop: int) -> None:
        self.request = request
        self.start = start
        self.stop = stop

    @property
    def count(self) -> int:
        return self.stop - self.start

    def cut_outputs(
        self, outputs: Sequence[np.ndarray], axes: Sequence[int | None], begin: int
    ) -> Sequence[np.ndarray] | None:
        """Take this slice's part of a batch's outputs, which begins at row ``begin``. Returns those of the request.

        None if other slices of the request have not run yet. ``axes`` are the batch axes of the outputs, None for an
        output that all rows share.
        """
        request, end = self.request, begin + self.count
        mine = [cut_rows(output, axis, begin, end) for output, axis in zip(outputs, axes, strict=True)]
        if self.count == request.rows.number:
            return mine
        request.parts[self.start] = mine
        request.rows_done += self.count
        if request.rows_done < request.rows.number:
            return None
        columns = zip(*(request.parts[at] for at in sorted(request.parts)), strict=True)
        return [
            each[0] if axis is None else np.concatenate(each, axis) for axis, each in zip(axes, columns, strict=True)
        ]


class Batch:
    """Slices that run together; ``count`` is their number of rows."""

    __slots__ = ("count", "slices")

    def __init__(self, slices: list[Slice]) -> None:
        self.slices = slices
        self.count = sum(s.count for s in slices)

    def join(self, signature: Signature, buffer: BatchBuffer, rows: int) -> dict[str, np.ndarray]:
        """The inputs for a run of ``rows`` rows, of which the last may be padding."""
        joined = {}
        first = self.slices[0].request.rows.inputs
        for name, shared in first.items():
            axis = signature.axes[name]
            if axis is None:  # the same in every request of the batch
                joined[name] = shared if is_aligned(shared) else shared.copy()
            else:
                parts = [cut_rows(s.request.rows.inputs[name], axis, s.start, s.stop) for s in self.slices]
                joined[name] = buffer.join(name, parts, rows, axis)
        return joined

    def halves(self) -> "tuple[Batch, Batch]":
        """The batch cut in two between requests, to find the one that fails. It must have at least two slices."""
        middle = len(self.slices) // 2
        return Batch(self.slices[:middle]), Batch(self.slices[middle:])


Line = deque[tuple[int, QueuedRequest]]
"""Requests of one priority and key in order of arrival, each with its number. Those that have left are skipped."""


@mypyc_attr(allow_interpreted_subclasses=True)
class BatchQueue:
    """The waiting requests of one model version."""

    def __init__(
        self,
        max_rows: int,
        max_queue_rows: int,
        max_wait_s: float = 0.0,
        max_requests: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.max_rows = max_rows
        self.max_queue_rows = max_queue_rows
        self.max_wait_s = max_wait_s
        self.max_requests = [math.inf if most is None else most for most in max_requests]
        self.requests_of = [0] * PRIORITIES
        """How many requests of each priority wait."""
        self.waiting_rows = 0
        self._lines: list[dict[Hashable, Line]] = [{} for _ in range(PRIORITIES)]
        self._deadlines: list[tuple[float, int, QueuedRequest]] = []
        self._order = itertools.count()

    def offer(self, request: QueuedRequest, retry_after_s: Callable[[], float] = lambda: 1.0) -> None:
        """Add a request. Raises QueueFull, with ``retry_after_s()``, if it does not fit.

        A request larger than the whole queue is accepted when nothing waits. Otherwise it could never run.
        """
        rows = request.rows.number
        if self.waiting_rows and self.waiting_rows + rows > self.max_queue_rows:
            raise QueueFull(
                f"{self.waiting_rows} rows wait, {rows} more do not fit: the limit is {self.max_queue_rows}",
                retry_after_s(),
            )
        priority = request.priority
        if self.requests_of[priority] >= self.max_requests[priority]:
            raise QueueFull(
                f"{self.requests_of[priority]} requests wait, the limit of the model's configuration", retry_after_s()
            )
        request.waiting = True
        self.waiting_rows += rows
        self.requests_of[priority] += 1
        order = self._append(request)
        if request.deadline < math.inf:
            heapq.heappush(self._deadlines, (request.deadline, order, request))
            if len(self._deadlines) > 2 * sum(self.requests_of) + 64:
                # Most requests are answered long before their deadline, and would be kept until then.
                self._deadlines = [entry for entry in self._deadlines if entry[2].waiting]
                heapq.heapify(self._deadlines)

    def cancel(self, request: QueuedRequest) -> bool:
        """Remove a request. False if it no longer waits. Rows that a batch has taken still run."""
        if not request.waiting:
            return False
        self._leave(request)
        return True

    def expire(self, now: float) -> list[QueuedRequest]:
        """Remove every waiting request whose deadline has passed, and return them."""
        expired = []
        while self.next_deadline() <= now:
            request = heapq.heappop(self._deadlines)[2]
            self._leave(request)
            expired.append(request)
        return expired

    def next_deadline(self) -> float:
        """When the first waiting request expires; infinity if none does."""
        if not self.waiting_rows:
            self._deadlines.clear()  # the most frequent case: a batch took them all
            return math.inf
        while self._deadlines and not self._deadlines[0][2].waiting:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def ready_at(self, now: float, run_s: float = 0.0) -> float:
        """When ``take`` will return a batch: now, later if a partial one is held for more rows, or infinity.

        No batch is held if the first deadline in the queue is less than ``run_s`` away.
        """
        head = self.head()
        if head is None:
            return math.inf
        if not self.max_wait_s or head.rows.whole:
            return now
        alike = [request for lines in self._lines for _, request in lines.get(head.rows.key, ()) if request.waiting]
        if sum(request.left_rows for request in alike) >= self.max_rows:
            return now
        return max(now, min(head.arrived + self.max_wait_s, self.next_deadline() - run_s))

    def take(self, now: float, max_rows: int | None = None, run_s: float = 0.0) -> Batch | None:
        """The next batch, or None if none is due (see ``ready_at``). Call ``expire`` first."""
        head = self.head()
        if head is None or (self.max_wait_s and self.ready_at(now, run_s) > now):
            return None
        room = min(self.max_rows, max_rows or self.max_rows)
        slices: list[Slice] = []
        for lines in self._lines:
            line = lines.get(head.rows.key)
            if line is not None:
                room = self._fill(slices, line, room)
        return Batch(slices)

    def _fill(self, slices: list[Slice], line: Line, room: int) -> int:
        """Move rows from a line into ``slices``. Returns the room left; 0 if the next request must begin a batch."""
        while room and line:
            request = line[0][1]
            if request.waiting:
                taken, number = request.taken_rows, request.rows.number
                rows = min(room, number - taken)
                if taken + rows < number <= self.max_rows and slices:
                    return 0
                slices.append(Slice(request, taken, taken + rows))
                request.taken_rows += rows
                self.waiting_rows -= rows
                room -= rows
                if request.left_rows:
                    self._append(request)
                else:
                    self._leave(request)
            line.popleft()
        return room

    def _append(self, request: QueuedRequest) -> int:
        order = next(self._order)
        lines = self._lines[request.priority]
        line = lines.get(request.rows.key)
        if line is None:
            line = lines[request.rows.key] = deque()
        line.append((order, request))
        return order

    def _leave(self, request: QueuedRequest) -> None:
        request.waiting = False
        self.requests_of[request.priority] -= 1
        self.waiting_rows -= request.left_rows

    def head(self) -> QueuedRequest | None:
        """The request that starts the next batch: highest priority, then longest wait. Drops empty lines."""
        for lines in self._lines:
            for key, line in list(lines.items()):
                while line and not line[0][1].waiting:
                    line.popleft()
                if not line:
                    del lines[key]
            if lines:
                return min([line[0] for line in lines.values()])[1]
        return None
