"""The lanes of a device: threads that run batches, and how the event loop uses them.

Nothing polls: a device is woken by a new request, by the end of a run, and by one timer for deadlines and held batches.
"""

import abc
import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mypy_extensions import mypyc_attr

from service.engine.batching.cost import CostModel, FairShare, may_try
from service.engine.batching.policy import INLINE_S, STUCK_S
from service.engine.batching.queue import Batch
from service.engine.execution.background import Background
from service.engine.execution.lane import NEVER, Lane, Stop, lane_thread
from service.engine.execution.observer import NullObserver, Observer
from service.engine.execution.runner import AllCores
from service.engine.tensors import BatchBuffer
from service.errors import Draining, ServiceError, TooLate

logger = logging.getLogger("sluice.engine")


class Run:
    """One run of a graph. Its times are on the device's clock.

    ``needs_lane``: it must not run on the event loop. ``in_lane``: it runs in a lane's thread. ``check_at``: when the
    first deadline of its requests passes. ``is_lost``: it did not end when it was told to.
    """

    def __init__(self, dispatcher: "LaneUser", taken_at: float, estimate_s: float) -> None:
        self.dispatcher = dispatcher
        self.taken_at = taken_at
        self.estimate_s = estimate_s
        self.started_at = self.ended_at = 0.0
        self.error: BaseException | None = None
        self.needs_lane = self.in_lane = False
        self.check_at = math.inf
        self.stop = NEVER
        self.is_lost = False


class BatchRun(Run):
    """The run of a batch with ``rows`` rows, padding included."""

    def __init__(self, dispatcher: "LaneUser", taken_at: float, estimate_s: float, batch: Batch) -> None:
        super().__init__(dispatcher, taken_at, estimate_s)
        self.batch = batch
        self.all_cores: AllCores | None = None
        self.rows = batch.count
        self.whole = False
        """Whether it is exactly one request, not cut."""
        self.outputs: Sequence[np.ndarray] = ()


@mypyc_attr(allow_interpreted_subclasses=True)
class LaneUser(abc.ABC):
    """A user of the device's lanes: the dispatcher of a model version, or its loop.

    All methods are called on the event loop; only ``execute`` may be called in a lane. ``running`` counts the runs that
    were taken and not yet delivered. ``may_inline`` is False if the time of a run depends on values: then no run is on
    the event loop.
    """

    def __init__(self, device: "Device", cost: CostModel | None, observer: Observer | None, may_inline: bool) -> None:
        self.running = 0
        self.cost = cost or CostModel()
        self.observer = observer or NullObserver()
        self._device = device
        self._needs_lane = not may_inline
        self._draining: asyncio.Future[None] | None = None
        self._ran_at = device.clock()
        self._is_probing = False
        """Whether a request was accepted, although the model seems too slow for it, to measure its speed anew."""
        self.is_background = False
        """Whether nobody waits for its answers (``background.py``)."""

    @property
    @abc.abstractmethod
    def waiting_rows(self) -> int: ...

    @property
    @abc.abstractmethod
    def has_work(self) -> bool:
        """Whether there is something to run, now or later."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self.running and not self.has_work

    @abc.abstractmethod
    def take(self, now: float, idle_lanes: int = 1) -> Run | None:
        """The next run; None if none is due."""

    @abc.abstractmethod
    def execute(self, run: Any, buffer: BatchBuffer, clock: Callable[[], float]) -> None:
        """Execute a run, and store the results in it. Must not raise."""

    def on_batch_done(self, run: Any) -> None:  # noqa: B027  # most have nothing to note
        """Note what the next ``take`` must know of a run. Must be quick: the lane waits."""

    @abc.abstractmethod
    def deliver(self, run: Any) -> Sequence[Run]:
        """Answer the requests of a run, after ``on_batch_done``. Returns what must run again."""

    @abc.abstractmethod
    def abandon(self, run: Any) -> None:
        """Fail the remaining requests of a run, after a fault of the server in ``on_batch_done`` or ``deliver``."""

    def give_way(self, run: Any) -> None:  # noqa: B027  # only background users do
        """Fail the remaining requests of a run, because others need its lane."""

    @abc.abstractmethod
    def expire(self, now: float) -> None:
        """Fail the waiting requests whose deadline has passed."""

    @abc.abstractmethod
    def expire_run(self, run: Any, now: float) -> float | None:
        """Fail the requests of a run whose deadline has passed. Returns the next deadline; None if nobody waits."""

    @abc.abstractmethod
    def next_timer(self, now: float, lane_is_idle: bool) -> float:
        """When to check again even if nothing happens; infinity for never."""

    def find_time_refusal(self, what: str, expected_s: float, timeout_s: float) -> ServiceError | None:
        """Draining; TooLate if ``what`` is expected to take longer than the timeout; None if it may run.

        A model that has rested long enough accepts one request for which it seems too slow, to measure its speed.
        """
        if self._draining is not None:
            return Draining("this version of the model is being taken out of service")
        if expected_s <= timeout_s:
            return None
        if self.is_idle and not self._device.lanes_run and may_try(self._device.clock() - self._ran_at, expected_s):
            self._is_probing = True
            return None
        self.observer.failed()
        return TooLate(
            f"{what} would take about {expected_s:.3g} s, longer than the timeout of {timeout_s:.3g} s",
            expected_s - timeout_s,
        )

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


class Device:
    """The lanes of one device, shared fairly by the models on it.

    ``splits``: two half batches side by side can be faster than a whole one, as on cores but not on a GPU. ``on_stuck``
    is called when a run does not end after it was told to, so that its lane is lost.
    """

    def __init__(
        self,
        lanes: int,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
        inline_s: float = INLINE_S,
        splits: bool = True,
        empty: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.empty,
        on_stuck: Callable[[], None] = lambda: None,
    ) -> None:
        self.lanes = lanes
        self._on_stuck = on_stuck
        self.clock = clock
        self.inline_s = inline_s
        self._splits = splits
        self._loop = loop
        self._lanes = [Lane[Run](number, BatchBuffer(empty)) for number in range(lanes)]
        self._idle = list(self._lanes)  # the one that became idle last runs first: its caches are warm
        self._active: dict[LaneUser, None] = {}
        self._background = Background[LaneUser, Run](lanes)
        self._share = FairShare()
        self._again: deque[Run] = deque()
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._watch_at = math.inf
        """When the first deadline of a running batch passes. May be too early, never too late."""

    def wake(self, dispatcher: LaneUser) -> None:
        """``dispatcher`` has rows. They start after this turn of the event loop, if a lane is idle then."""
        if dispatcher.is_background:
            self._background.users[dispatcher] = None
        elif dispatcher not in self._active:
            self._share.enter(dispatcher)
            self._active[dispatcher] = None
        self._wake()

    def forget(self, dispatcher: LaneUser) -> None:
        """``dispatcher`` has been drained and will not be used again."""
        self._active.pop(dispatcher, None)
        self._background.users.pop(dispatcher, None)
        self._share.forget(dispatcher)

    def check_runs(self, dispatcher: LaneUser) -> None:
        """A request of ``dispatcher`` was cancelled: tell its runs to end if nobody waits for them any more."""
        now = self.clock()
        for lane in self._lanes:
            run = lane.run
            if run is not None and run.dispatcher is dispatcher and not run.stop.asked:
                run.check_at = now
                self._watch_at = min(self._watch_at, self._watch(lane, now))
        self._set_timer(now)

    def is_wanted(self, by: LaneUser) -> bool:
        """Whether a user other than ``by`` has work. May be called in a lane."""
        return bool(self._again) or any(user is not by for user in list(self._active))

    @property
    def lanes_run(self) -> bool:
        """Whether any lane is busy."""
        return len(self._idle) < self.lanes

    def next_lane_s(self) -> float:
        """Seconds until a lane is expected to be idle."""
        if self._idle or self._background.run is not None:  # a background run gives way
            return 0.0
        return max(0.0, min(lane.free_at for lane in self._lanes) - self.clock())

    def close(self) -> None:
        """End the threads. Drain the dispatchers first."""
        if self._timer is not None:
            self._timer.cancel()
        for lane in self._lanes:
            if lane.run is not None:
                lane.run.stop.ask()
            if not lane.close(STUCK_S / self.lanes):
                logger.error("a run did not end when it was told to: its thread is left behind")

    def _pump(self) -> None:
        """Start batches while there are rows and idle lanes. At most one runs here, before sockets are read again."""
        self._woken = False
        now = self.clock()
        while self._idle and (run := self._next(now, len(self._idle))) is not None:
            if run.needs_lane or run.estimate_s > self.inline_s:
                self._start(run, self._idle.pop())
                continue
            run.dispatcher.execute(run, self._idle[-1].buffer, self.clock)
            self._on_batch_done(run)
            self._deliver(run)
            now = run.ended_at
            if self._active or self._again or self._background.users or self._background.again:
                self._wake()
            break
        if self._background.run is not None and self._active and not self._idle and self._background.make_way():
            self._background.run.check_at = now + STUCK_S
            self._watch_at = min(self._watch_at, now + STUCK_S)
        self._set_timer(now)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._pump)

    def _next(self, now: float, idle_lanes: int) -> Run | None:
        """The next batch, if ``idle_lanes`` are idle."""
        if self._again:
            again = self._again.popleft()
            again.taken_at = now
            self._share.begin(again.dispatcher, again.estimate_s)
            return again
        held: dict[LaneUser, None] = {}
        found: Run | None = None
        while found is None and self._active:
            dispatcher = self._share.pick(self._active)
            found = dispatcher.take(now, idle_lanes if self._splits else 1)
            if found is not None:
                self._share.begin(dispatcher, found.estimate_s)
                dispatcher.running += 1
            elif dispatcher.has_work:
                held[dispatcher] = None  # it holds a partial batch until more rows come
            if found is None or not dispatcher.has_work:
                del self._active[dispatcher]
        self._active.update(held)
        if found is None and (self._background.users or self._background.again):
            found = self._background.take(now, idle_lanes)
            if found is not None:
                self._share.begin(found.dispatcher, found.estimate_s)
        return found

    def _start(self, run: Run, lane: Lane[Run]) -> None:
        """Start a run in an idle lane."""
        lane.run = run
        lane.free_at = run.taken_at + run.estimate_s
        run.in_lane, run.stop, run.check_at = True, Stop(), run.taken_at
        self._watch_at = min(self._watch_at, self._watch(lane, run.taken_at))

        def work() -> None:
            lane_thread.stop = run.stop
            try:
                run.dispatcher.execute(run, lane.buffer, self.clock)
            except BaseException as error:  # noqa: BLE001  # not even SystemExit in a model may cost the lane
                run.error, run.ended_at = error, self.clock()
            self._loop.call_soon_threadsafe(self._finish, run, lane)

        lane.do(work)

    def _finish(self, run: Run, lane: Lane[Run]) -> None:
        """A run has ended: first give its lane the next batch, then write the answers."""
        lane.run = None
        self._idle.append(lane)
        if run is self._background.run:
            self._background.run = None
        if not run.is_lost:
            self._on_batch_done(run)
        try:
            self._pump()
        finally:
            if not run.is_lost:
                self._deliver(run)
        if self._again or self._background.again:
            self._wake()

    def _on_batch_done(self, run: Run) -> None:
        try:
            run.dispatcher.on_batch_done(run)
        except Exception:
            logger.exception("the results of a batch could not be processed")
            run.dispatcher.abandon(run)

    def _deliver(self, run: Run) -> None:
        dispatcher = run.dispatcher
        self._share.end(dispatcher, run.estimate_s, run.ended_at - run.taken_at)
        try:
            again = dispatcher.deliver(run)
            (self._background.again if dispatcher.is_background else self._again).extend(again)
            dispatcher.running += len(again)  # already, or a drain could end before them
        except Exception:  # a fault of the server costs these requests, but not the lane
            logger.exception("the answers of a batch could not be delivered")
            dispatcher.abandon(run)
        dispatcher.running -= 1
        dispatcher.settle()

    def _set_timer(self, now: float) -> None:
        """Set the timer for all deadlines and held batches. It may fire early, never late."""
        due = self._watch_at
        for dispatcher in self._active:
            due = min(due, dispatcher.next_timer(now, bool(self._idle)))
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
        if self._watch_at <= now:
            self._watch_at = min((self._watch(lane, now) for lane in self._lanes), default=math.inf)
        self._pump()

    def _watch(self, lane: Lane[Run], now: float) -> float:
        """Fail requests whose deadline has passed, and end a run that nobody waits for. Returns when to check again."""
        run = lane.run
        if run is None:
            return math.inf
        if run.check_at <= now and run.stop.asked:
            self._lose(run)
        elif run.check_at <= now:
            due = run.dispatcher.expire_run(run, now)
            if due is None:
                run.stop.ask()
            run.check_at = now + STUCK_S if due is None else due
        return run.check_at

    def _lose(self, run: Run) -> None:
        """Continue without a run and its lane. Only the end of the process can end them."""
        logger.error("a run did not end within %.0f s after it was told to: its lane is lost", STUCK_S)
        run.is_lost, run.check_at = True, math.inf
        if run is self._background.run:
            self._background.run = None
        self._share.end(run.dispatcher, run.estimate_s, 0.0)
        run.dispatcher.abandon(run)
        run.dispatcher.running -= 1
        run.dispatcher.settle()
        self._on_stuck()
