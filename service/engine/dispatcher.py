"""The shell around the batching core: one dispatcher a model version, and the lanes that its device gives it.

Life of a request
1. ``submit`` checks that it can be answered in time and offers it to the queue; the device is woken once a loop turn,
   so that everything that arrived in the same turn can leave together.
2. While a lane is free the device takes the next batch of the model whose turn it is, and runs it: on the event loop if
   it is expected to be shorter than a hop to a thread and back, else in a thread.
3. A batch that fails is cut in halves until the request that fails it is alone.
4. When the last row of a request is there, its ``done`` is called, once, with an Answer or an error.

All of it happens on the event loop's thread, apart from the run in a lane. Nothing polls: the device is woken by
arrival, by completion, and by one timer for deadlines and held batches.
"""

import asyncio
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from service.engine.batching import Batch, BatchQueue, Request, Slice
from service.engine.cost import CostModel
from service.engine.fairness import FairShare
from service.engine.tensors import Arrays, BatchBuffer, Rows, Signature
from service.errors import DeadlinePassed, Draining, ModelFailure, ServiceError, TooLate

logger = logging.getLogger("sluice.engine")

INLINE_S = 200e-6
"""Batches predicted under this run on the event loop: a hop to a thread and back takes 60 µs, more under load."""
_LANE_NICE = 5
_WORTH_SHARING = 0.8
_MARGIN = 1.2
"""An answer is promised only if it is expected in this much less than its time: durations vary, and the way back takes
some."""
TURN_S = 1e-3
"""How long batches may run on the event loop in one go before sockets are looked at again."""


class Runner(Protocol):
    """Runs a graph on whole batches. Called from several lanes at once."""

    def run(self, inputs: Arrays) -> Sequence[np.ndarray]: ...


class Observer(Protocol):
    """Told what happens, for metrics. Must be cheap and must not raise."""

    def queued(self, seconds: float) -> None: ...
    def ran(self, rows: int, batch_s: float, compute_s: float) -> None: ...
    def depth(self, rows: int) -> None: ...


class Silence:
    """An observer that notes nothing."""

    def queued(self, seconds: float) -> None: ...
    def ran(self, rows: int, batch_s: float, compute_s: float) -> None: ...
    def depth(self, rows: int) -> None: ...


class Answer(NamedTuple):
    """Outputs by name, with as many rows as the request had, and where its time went, in seconds."""

    outputs: Mapping[str, np.ndarray]
    queue_s: float
    batch_s: float
    compute_s: float


Done = Callable[[Answer | ServiceError], None]


@dataclass(slots=True, eq=False)
class Job(Request):
    """A request with the one who waits for it. ``done`` is called exactly once, unless the caller cancels first."""

    done: Done = field(kw_only=True)
    finished: bool = False
    parts: list[tuple[int, Sequence[np.ndarray]]] = field(default_factory=list)
    rows_done: int = 0
    queue_s: float = 0.0
    batch_s: float = 0.0
    compute_s: float = 0.0

    def finish(self, outcome: Answer | ServiceError) -> None:
        if self.finished:
            return
        self.finished = True
        try:
            self.done(outcome)
        except Exception:  # the others of the batch must get their answers whatever one of their callers does
            logger.exception("the receiver of an answer failed")


@dataclass(slots=True, eq=False)
class Run:
    """A batch on its way through a lane, with its times on the device's clock."""

    dispatcher: "Dispatcher"
    batch: Batch[Job]
    taken_at: float
    estimate_s: float
    started_at: float = 0.0
    ended_at: float = 0.0
    outputs: Sequence[np.ndarray] = ()
    error: BaseException | None = None


class Dispatcher:
    """Requests of one model version in, answers out.

    ``pad`` tells with how many rows a batch runs; without it, with those that there are.
    """

    def __init__(
        self,
        runner: Runner,
        signature: Signature,
        device: "Device",
        queue: BatchQueue[Job],
        *,
        cost: CostModel | None = None,
        pad: Callable[[int], int] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.runner = runner
        self.signature = signature
        self.queue = queue
        self.cost = cost or CostModel()
        self._pad = pad or (lambda rows: rows)
        self.observer = observer or Silence()
        self.running = 0
        self._device = device
        self._full_batch_s = self.cost.predict(queue.max_rows)
        self._draining: asyncio.Future[None] | None = None

    def submit(self, rows: Rows, done: Done, *, timeout_s: float = math.inf, priority: int = 1) -> Job:
        """Queue checked rows. ``priority`` is 0 (first) or 1. Raises Draining, QueueFull, TooLate."""
        if self._draining is not None:
            raise Draining("this version of the model is being taken out of service")
        if self._longest_wait_s() > timeout_s and (expected_s := self.expected_wait_s(rows.number)) > timeout_s:
            raise TooLate(
                f"the answer would take about {expected_s:.3g} s, more than the {timeout_s:.3g} s that it may",
                expected_s - timeout_s,
            )
        now = self._device.clock()
        job = Job(rows, now, now + timeout_s, priority, done=done)
        self.queue.offer(job, lambda: self.expected_wait_s(0))
        self._device.wake(self)
        return job

    def cancel(self, job: Job) -> None:
        """The caller has gone: a waiting request leaves the queue, the answer of a running one is thrown away."""
        job.finished = True
        self.queue.cancel(job)
        self.settle()

    async def drain(self) -> None:
        """Refuse new requests and return when the last accepted one is answered."""
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_future()
        self.settle()
        await asyncio.shield(self._draining)

    def settle(self) -> None:
        """Complete a drain if nothing is left."""
        if self._draining is not None and not self._draining.done() and self.is_idle:
            self._draining.set_result(None)

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.queue.waiting_rows

    def expected_wait_s(self, rows: int) -> float:
        """Seconds until ``rows`` more rows would be answered: a lane gets free, then what waits, then their batch."""
        a_lane = (self.queue.waiting_rows + max(1, rows)) / self._device.lanes
        whole, rest = divmod(a_lane, self.queue.max_rows)
        work_s = whole * self._full_batch_s + self.cost.predict(math.ceil(rest))
        return _MARGIN * (self._device.next_lane_s() + work_s)

    def _longest_wait_s(self) -> float:
        """At least ``expected_wait_s`` of a request that fits a batch, without asking the cost model."""
        batches = self.queue.waiting_rows / (self.queue.max_rows * self._device.lanes) + 3
        return _MARGIN * self._full_batch_s * batches

    def expire(self, now: float) -> None:
        """End every waiting request whose deadline has passed."""
        for job in self.queue.expire(now):
            job.finish(DeadlinePassed("the deadline passed while the request waited"))
        self.settle()

    def take(self, now: float, idle_lanes: int = 1) -> Run | None:
        """The next batch: small enough for the first deadline in the queue, where that can still be kept, and no larger
        than its share where several lanes are idle and sharing the rows is faster.
        """
        due = self.queue.next_deadline()
        # What could not be answered in time even if it ran now, alone, would only take the time of those who can.
        if due <= now + self.cost.predict(1):
            self.expire(now + self.cost.predict(1))
            due = self.queue.next_deadline()
        left_s = due - now
        limit = self.queue.max_rows
        if left_s < self._full_batch_s:
            limit = self.cost.largest(limit, left_s)
        if idle_lanes > 1 and self.queue.waiting_rows > 1:
            limit = self._share(limit, idle_lanes)
        batch = self.queue.take(now, limit)
        if batch is None:
            return None
        self.observer.depth(self.queue.waiting_rows)
        return Run(self, batch, now, self.cost.predict(batch.count))

    def _share(self, limit: int, idle_lanes: int) -> int:
        """The rows of one of several idle lanes, if a batch of that size takes well under the time of a whole one."""
        rows = min(limit, self.queue.waiting_rows)
        share = -(-rows // idle_lanes)
        whole_s = self.cost.predict(rows)
        return share if whole_s > INLINE_S and self.cost.predict(share) < _WORTH_SHARING * whole_s else limit

    def execute(self, run: Run, buffer: BatchBuffer, clock: Callable[[], float]) -> None:
        """Assemble, run, and note outputs or the error in ``run``. Runs in a lane: touches nothing else."""
        try:
            inputs = self._assemble(run.batch, buffer)
            run.started_at = clock()
            run.outputs = self.runner.run(inputs)
            self._check_rows(run)
        except Exception as error:  # noqa: BLE001  # whatever a model raises is the answer of its batch
            run.error = error
            run.started_at = run.started_at or clock()
        run.ended_at = clock()

    def _assemble(self, batch: Batch[Job], buffer: BatchBuffer) -> Arrays:
        if not self.signature.batches:
            return batch.slices[0].request.rows.inputs
        rows = self._pad(batch.count)
        if len(batch.slices) == 1 and batch.count == batch.slices[0].request.count == rows:
            return batch.slices[0].request.rows.inputs
        return {name: buffer.join(name, [_part(s, name) for s in batch.slices], rows) for name in self.signature.inputs}

    def _check_rows(self, run: Run) -> None:
        if not self.signature.batches:
            return
        rows = self._pad(run.batch.count)
        for name, output in zip(self.signature.output_names, run.outputs, strict=True):
            if len(output) != rows:
                raise ModelFailure(f"output {name!r} has {len(output)} rows for a batch of {rows}")

    def complete(self, run: Run) -> Sequence[Batch[Job]]:
        """Hand out the answers of a run; returns the halves to run again where it failed in company."""
        compute_s = run.ended_at - run.started_at
        batch_s = run.started_at - run.taken_at
        if run.error is None:
            self.cost.observe(run.batch.count, compute_s)
            if run.batch.count * 2 > self.queue.max_rows:
                self._full_batch_s = self.cost.predict(self.queue.max_rows)
            self.observer.ran(run.batch.count, batch_s, compute_s)
        elif len(run.batch.slices) > 1:
            return run.batch.halves()
        at = 0
        for part in run.batch.slices:
            job = part.request
            if not job.finished:
                self._deliver(job, part, at, run, batch_s, compute_s)
            at += part.count
        return ()

    def _deliver(self, job: Job, part: Slice[Job], at: int, run: Run, batch_s: float, compute_s: float) -> None:
        if run.error is not None:
            self.queue.cancel(job)
            logger.error("the model failed on a request of %d rows", job.count, exc_info=run.error)
            job.finish(ModelFailure(f"{type(run.error).__name__}: {run.error}"))
            return
        if not job.rows_done:
            job.queue_s = run.taken_at - job.arrived
            self.observer.queued(job.queue_s)
        job.batch_s += batch_s
        job.compute_s += compute_s
        job.rows_done += part.count
        outputs = run.outputs
        if self.signature.batches:
            if part.count != len(outputs[0]):
                outputs = [o[at : at + part.count] for o in outputs]
            if part.count != job.count:
                job.parts.append((part.start, outputs))
                if job.rows_done < job.count:
                    return
                outputs = self._rejoin(job)
        named = dict(zip(self.signature.output_names, outputs, strict=True))
        job.finish(Answer(named, job.queue_s, job.batch_s, job.compute_s))

    @staticmethod
    def _rejoin(job: Job) -> Sequence[np.ndarray]:
        ordered = [outputs for _, outputs in sorted(job.parts, key=lambda part: part[0])]
        return [np.concatenate(columns) for columns in zip(*ordered, strict=True)]


def _give_way() -> None:
    """Let the event loop go before the lanes where they share a core: a request that it reads late is late already."""
    if sys.platform == "linux":  # elsewhere the priority would be that of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _LANE_NICE)


def _part(part: Slice[Job], name: str) -> np.ndarray:
    array = part.request.rows.inputs[name]
    return array if part.count == len(array) else array[part.start : part.stop]


class Device:
    """The lanes of one device, shared fairly by the models on it."""

    def __init__(
        self,
        lanes: int,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
        inline_s: float = INLINE_S,
        empty: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.empty,
    ) -> None:
        self.lanes = lanes
        self.clock = clock
        self._inline_s = inline_s
        self._loop = loop
        self._idle = [BatchBuffer(empty) for _ in range(lanes)]
        # The pool's threads survive whatever a model raises, so a lane cannot be lost.
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane", initializer=_give_way)
        self._active: dict[Dispatcher, None] = {}
        self._share = FairShare()
        self._again: deque[tuple[Dispatcher, Batch[Job]]] = deque()
        self._running: set[Run] = set()
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def wake(self, dispatcher: Dispatcher) -> None:
        """``dispatcher`` has rows. They leave at the end of this turn of the loop, if a lane is free then."""
        if dispatcher not in self._active:
            self._share.enter(dispatcher)
            self._active[dispatcher] = None
        self._wake()

    def forget(self, dispatcher: Dispatcher) -> None:
        """``dispatcher`` has been drained and will not come back."""
        self._active.pop(dispatcher, None)
        self._share.forget(dispatcher)

    def next_lane_s(self) -> float:
        """Seconds until a lane is expected to be free."""
        if self._idle:
            return 0.0
        return max(0.0, min(run.taken_at + run.estimate_s for run in self._running) - self.clock())

    def close(self) -> None:
        """Give back the threads. Drain the dispatchers first."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.shutdown(wait=True)

    def _pump(self) -> None:
        """Start batches while there are both rows and free lanes."""
        self._woken = False
        now = self.clock()
        turn_ends = now + TURN_S
        while self._idle and (run := self._next(now)) is not None:
            if run.estimate_s > self._inline_s:
                self._start(run)
                continue
            buffer = self._idle[-1]
            run.dispatcher.running += 1
            run.dispatcher.execute(run, buffer, self.clock)
            self._complete(run)
            now = run.ended_at
            if now > turn_ends and (self._active or self._again):
                self._wake()
                break
        self._set_timer(now)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._pump)

    def _next(self, now: float) -> Run | None:
        if self._again:
            dispatcher, batch = self._again.popleft()
            return Run(dispatcher, batch, now, dispatcher.cost.predict(batch.count))
        held = []
        found = None
        while self._active:
            dispatcher = next(iter(self._active)) if len(self._active) == 1 else self._share.pick(self._active)
            found = dispatcher.take(now, len(self._idle))
            if found is None or not dispatcher.queue.waiting_rows:
                del self._active[dispatcher]
            if found is not None:
                self._share.charge(dispatcher, found.estimate_s)
                break
            if dispatcher.queue.waiting_rows:
                held.append(dispatcher)  # a partial batch that is kept for company
        self._active.update(dict.fromkeys(held))
        return found

    def _start(self, run: Run) -> None:
        buffer = self._idle.pop()
        self._running.add(run)
        run.dispatcher.running += 1

        def work() -> None:
            try:
                run.dispatcher.execute(run, buffer, self.clock)
            except BaseException as error:  # noqa: BLE001  # not even SystemExit in a model may cost the lane
                run.error, run.ended_at = error, self.clock()
            self._loop.call_soon_threadsafe(self._finish, run, buffer)

        self._pool.submit(work)

    def _finish(self, run: Run, buffer: BatchBuffer) -> None:
        """A lane is free again. Start the next batch before the answers are written: the device should not wait."""
        self._idle.append(buffer)
        self._running.discard(run)
        self._pump()
        self._complete(run)
        if self._again:
            self._wake()

    def _complete(self, run: Run) -> None:
        dispatcher = run.dispatcher
        self._share.charge(dispatcher, run.ended_at - run.taken_at - run.estimate_s)
        for half in dispatcher.complete(run):
            self._again.append((dispatcher, half))
        dispatcher.running -= 1
        dispatcher.settle()

    def _set_timer(self, now: float) -> None:
        """One timer for all deadlines and held batches. It may come early, never late."""
        due = math.inf
        for dispatcher in self._active:
            due = min(due, dispatcher.queue.next_deadline())
            if dispatcher.queue.max_wait_s and self._idle:
                due = min(due, dispatcher.queue.ready_at(now))
        if due >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - now), self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self.clock()
        for dispatcher in list(self._active):
            dispatcher.expire(now)
        self._pump()
