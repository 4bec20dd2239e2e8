"""The dispatcher of a graph: it queues requests, gives batches to the lanes of the device, and answers the requests.

Life of a request
1. ``submit`` checks that it can be answered in time and queues it. The device is woken once in each turn of the event
   loop, so all requests that arrive in one turn can share a batch.
2. While a lane is idle, the device takes the next batch of the model whose turn it is. A short batch runs on the event
   loop, a long one in the lane's thread.
3. A batch that fails is cut in halves until the request that fails is alone.
4. When all rows of a request have run, its ``done`` is called once, with an Answer or an error.

Everything but a run in a lane happens on the event loop's thread.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.engine.batching import policy
from service.engine.batching.cost import CostModel, RunMemory, SizedCosts
from service.engine.batching.queue import Answer, Batch, BatchQueue, Done, QueuedRequest
from service.engine.execution.device import BatchRun, Device, LaneUser
from service.engine.execution.observer import Observer
from service.engine.execution.runner import AllCores, Runner
from service.engine.tensors import Arrays, BatchBuffer, Rows, Signature, is_aligned
from service.errors import DeadlinePassed, ModelFailure, QueueFull, ServiceError, TryLater
from service.metrics.spans import RowsTrace, RunTimes
from service.metrics.times import Tally, Times

logger = logging.getLogger("sluice.engine")


class Dispatcher(LaneUser):
    """Runs the requests of one graph in batches.

    pad            returns the rows that a batch runs with, padding included
    all_cores      runs batches that have all lanes to themselves
    least_s        the least age, in seconds, at which a request that runs may expire

    If rows may have any size:

    row_elements   the size of the rows that ``cost`` was measured with
    memory         limits the bytes of a run
    most_elements  limits the elements of a batch; None: only its rows are limited
    """

    def __init__(
        self,
        runner: Runner,
        signature: Signature,
        device: Device,
        queue: BatchQueue,
        *,
        cost: CostModel | None = None,
        pad: Callable[[int], int] = lambda rows: rows,
        all_cores: AllCores | None = None,
        observer: Observer | None = None,
        may_inline: bool = True,
        row_elements: int | None = None,
        memory: RunMemory | None = None,
        most_elements: int | None = None,
        least_s: float = 0.0,
    ) -> None:
        super().__init__(device, cost, observer, may_inline)
        self.runner = runner
        self.signature = signature
        self.queue = queue
        self.all_cores = all_cores
        self.memory = memory if signature.is_dynamic else None
        self._sized = SizedCosts(row_elements)
        self._pad = pad
        self._least_s = least_s
        self.batch_rows = pad(self.cost.efficient(queue.max_rows))
        """The most rows of a batch, if they have the usual size. Chosen once: larger batches then never run, so their
        cost would not be learned again."""
        self.most_elements = most_elements if signature.is_dynamic else None
        if self.most_elements is None:
            queue.max_rows = self.batch_rows

    def submit(self, rows: Rows, done: Done, *, timeout_s: float = math.inf, priority: int = 1) -> Callable[[], None]:
        """Queue checked rows. Returns a function that cancels the request.

        ``priority`` is 0 (first) or 1. Raises Draining, QueueFull, TooLate, BodyTooLarge.
        """
        elements = self._size_of(rows)
        if self.memory is not None:
            self.memory.check(elements)
        self.check_time(rows.number, timeout_s, elements)
        return self.enqueue(rows, done, timeout_s, priority)

    def enqueue(self, rows: Rows, done: Done, timeout_s: float, priority: int) -> Callable[[], None]:
        """As ``submit``, for rows that ``find_refusal`` has already accepted. Raises QueueFull."""
        now = self._device.clock()
        request = QueuedRequest(rows, now, now + timeout_s, priority, done)
        try:
            self.queue.offer(request, lambda: self.expected_wait_s(0))
        except QueueFull:
            self.observer.failed()
            raise
        self._device.wake(self)
        return _Cancel(self, request)

    def answer_no_rows(self, rows: Rows) -> Answer:
        """Answer checked inputs that have no rows, without a run. Raises Draining."""
        self.check_time(rows.number, math.inf)
        self.observer.answered(Tally(1))
        if self.observer.traces:
            now = self._device.clock()
            self.observer.traced(Times(rows.number, now, now, 0.0, 0.0, 0.0))
        return Answer(self.signature.answer_no_rows(rows.inputs), 0.0, 0.0, 0.0)

    def check_time(self, rows: int, timeout_s: float, row_elements: int = 0) -> None:
        """Raises what ``find_refusal`` returns: Draining, TooLate."""
        refusal = self.find_refusal(rows, timeout_s, row_elements)
        if refusal is not None:
            raise refusal

    def find_refusal(self, rows: int, timeout_s: float, row_elements: int = 0) -> ServiceError | None:
        """Draining; TooLate if ``rows`` more rows would not be answered in time; None if they may be queued.

        ``row_elements`` is the size of the rows, 0 if it is not known yet.
        """
        # A cheap upper bound for a request that fits into a batch.
        if rows <= self.batch_rows and not self.signature.is_dynamic and self._draining is None:
            batches = 3 + self.queue.waiting_rows / (self.batch_rows * self._device.lanes)
            if policy.WAIT_MARGIN * batches * self._full_batch_s <= timeout_s:
                return None
        return self.find_time_refusal("the answer", self.expected_wait_s(rows, row_elements), timeout_s)

    def cancel(self, request: QueuedRequest) -> None:
        """Remove a waiting request from the queue. The answer of a running one is thrown away."""
        if not request.finished:
            self.observer.failed(self._device.clock() - request.arrived)
        request.finished = True
        self.queue.cancel(request)
        self._device.check_runs(self)
        self.settle()

    @property
    def waiting_rows(self) -> int:
        return self.queue.waiting_rows

    @property
    def has_work(self) -> bool:
        return self.queue.waiting_rows > 0

    @property
    def _full_batch_s(self) -> float:
        return self.cost.predict(self.batch_rows)

    @property
    def _reserve_s(self) -> float:
        """How long before the first deadline a held batch leaves."""
        return policy.RUN_MARGIN * self._full_batch_s + policy.BATCH_OVERHEAD_S

    def expected_wait_s(self, rows: int, row_elements: int = 0) -> float:
        """Seconds until ``rows`` more rows would be answered: for a lane, for what waits, and for their own batch."""
        a_lane = math.ceil((self.queue.waiting_rows + max(1, rows)) / self._device.lanes)
        before = -(-a_lane // self.batch_rows) - 1
        wait_s = self._device.next_lane_s() + before * self._full_batch_s
        cost, _ = self._sized.find(row_elements if self.signature.is_dynamic else 0, self.cost)
        own_s = cost.predict(a_lane - before * self.batch_rows)
        return policy.WAIT_MARGIN * wait_s + policy.RUN_MARGIN * own_s

    def limit_wait(self, timeout_s: float, wait_s: float) -> float:
        """The timeout of a request that may wait in the queue for ``wait_s``, at most ``timeout_s``.

        If nothing is before it, it need not wait, so all of ``timeout_s`` is left.
        """
        if self.is_idle and not self._device.next_lane_s():
            return timeout_s
        return min(timeout_s, wait_s + policy.WAIT_MARGIN * self._full_batch_s + policy.BATCH_OVERHEAD_S)

    def expire(self, now: float) -> None:
        """Fail every waiting request whose deadline has passed."""
        for request in self.queue.expire(now):
            self._fail(request, now, DeadlinePassed("the deadline passed while the request waited"))
        self.settle()

    def expire_run(self, run: BatchRun, now: float) -> float | None:
        """Fail the requests of a run whose deadline has passed. The others keep waiting."""
        next_at = None
        for request in [part.request for part in run.batch.slices if not part.request.finished]:
            due = max(request.deadline, request.arrived + self._least_s)
            if due > now:
                next_at = due if next_at is None else min(next_at, due)
            else:
                self.queue.cancel(request)
                self._fail(request, now, DeadlinePassed("the deadline passed while the model ran"))
        return next_at

    def _fail(self, request: QueuedRequest, now: float, error: ServiceError) -> None:
        self.observer.failed(now - request.arrived)
        request.finish(error)

    def next_timer(self, now: float, lane_is_idle: bool) -> float:
        """When to check again if nothing happens: at the first deadline, or when a held batch is due."""
        due = self.queue.next_deadline()
        if self.queue.max_wait_s and lane_is_idle:
            due = min(due, self.queue.ready_at(now, self._reserve_s))
        return due

    def take(self, now: float, idle_lanes: int = 1) -> BatchRun | None:
        """The next batch. It is small enough for the first deadline in the queue. It is no larger than a fair share if
        several lanes are idle and sharing is faster.
        """
        head = self.queue.head() if self.signature.is_dynamic else None
        elements = 0 if head is None else head.rows.row_elements
        cost, _ = self._sized.find(elements, self.cost)
        due = self.queue.next_deadline()
        # A request that would be late even if it ran now and alone is failed: it would only delay others.
        ends_at = now if self._is_probing else now + cost.predict(1)
        if due <= ends_at:
            self.expire(ends_at)
            return self.take(now, idle_lanes)
        limit = self.batch_rows
        if self.most_elements is not None:
            # Fewer rows than the smallest batch would cost as much.
            limit = min(self.queue.max_rows, max(self._pad(1), self.most_elements // max(1, elements)))
        if self.memory is not None:
            limit = min(limit, self.memory.most_rows(elements))
        limit = cost.largest(limit, (due - now) / policy.RUN_MARGIN)
        if idle_lanes > 1 and self.queue.waiting_rows > 1:
            limit = cost.share(limit, self.queue.waiting_rows, idle_lanes, self._device.inline_s)
        batch = self.queue.take(now, limit, self._reserve_s if self.queue.max_wait_s else 0.0)
        if batch is None:
            return None
        self._is_probing = False
        run = self._plan(batch, now)
        has_room = not self.queue.waiting_rows and idle_lanes >= self._device.lanes
        if self.all_cores is not None and has_room:
            run.all_cores = self.all_cores
            if cost is self.cost:
                run.estimate_s = run.all_cores.cost.predict(batch.count)
        return run

    def _plan(self, batch: Batch, now: float) -> BatchRun:
        """The run of a batch that is taken now."""
        cost, is_known = self._sized.find(self._size_of(batch.slices[0].request.rows), self.cost)
        run = BatchRun(self, now, cost.predict(batch.count), batch)
        run.needs_lane = self._needs_lane or not is_known
        return run

    def _size_of(self, rows: Rows) -> int:
        """The elements of each row; 0 if all requests have rows of one size."""
        return rows.row_elements if self.signature.is_dynamic else 0

    def execute(self, run: BatchRun, buffer: BatchBuffer, clock: Callable[[], float]) -> None:
        """Assemble and run the batch, and store the outputs or the error in ``run``. May be called in a lane."""
        try:
            inputs = self._assemble(run, buffer)
            run.started_at = clock()
            run.outputs = (run.all_cores or self).runner.run(inputs)
            if not run.whole:
                self.signature.check_rows(run.outputs, run.rows)
        except Exception as error:  # noqa: BLE001  # whatever a model raises is the answer of its batch
            run.error = error
            run.started_at = run.started_at or clock()
        run.ended_at = clock()

    def _assemble(self, run: BatchRun, buffer: BatchBuffer) -> Arrays:
        batch = run.batch
        first = batch.slices[0].request.rows
        if first.whole or not self.signature.batches:
            run.whole = True
            return {name: array if is_aligned(array) else array.copy() for name, array in first.inputs.items()}
        run.rows = self._pad(batch.count)
        return batch.join(self.signature, buffer, run.rows)

    def deliver(self, run: BatchRun) -> Sequence[BatchRun]:
        """Answer the requests of a run. Returns the halves of a failed batch, which must run again."""
        self._ran_at = run.ended_at
        if run.error is None:
            now = self._device.clock()
            self._trace(run)
            self._answer(run, now)
            self._learn(run, now)
            return ()
        request = run.batch.slices[0].request
        if run.stop.asked:  # nobody waits for it, and a run that was stopped early tells nothing about the cost
            if run.ended_at - run.started_at > run.estimate_s:
                self._learn_cost(run)
        elif len(run.batch.slices) > 1:
            return [self._plan(half, run.ended_at) for half in run.batch.halves()]
        elif not request.finished:
            self.queue.cancel(request)
            self.observer.failed(run.ended_at - request.arrived)
            request.fail(run.error)
        return ()

    def _trace(self, run: BatchRun) -> None:
        """Report the run to the traces of its sampled requests. Call it before the answers, which end the traces."""
        together: list[RowsTrace] = []
        for part in run.batch.slices:
            trace = part.request.rows.trace
            if trace is not None and not part.request.finished:
                together.append(trace)
        if together:
            rows = run.batch.count
            try:
                together[0].ran(RunTimes(rows, run.rows or rows, run.taken_at, run.started_at, run.ended_at), together)
            except Exception:
                logger.exception("a batch could not be traced")

    def _learn(self, run: BatchRun, answered_at: float) -> None:
        """Count a run and learn its cost, after its answers are sent. A fault here must not cost an answer."""
        rows, compute_s = run.batch.count, run.ended_at - run.started_at
        try:
            self._learn_cost(run)
            self.observer.ran(rows, run.started_at - run.taken_at, compute_s, answered_at - run.ended_at)
        except Exception:
            logger.exception("a batch could not be counted")

    def _learn_cost(self, run: BatchRun) -> None:
        elements = self._size_of(run.batch.slices[0].request.rows)
        self._sized.observe(run.batch.count, elements, run.ended_at - run.started_at, (run.all_cores or self).cost)

    def abandon(self, run: BatchRun) -> None:
        self._fail_batch(run, ModelFailure("a fault of the server"))

    def give_way(self, run: BatchRun) -> None:
        self._fail_batch(run, TryLater("others need the lane"))

    def _fail_batch(self, run: BatchRun, error: ServiceError) -> None:
        for part in run.batch.slices:
            self.queue.cancel(part.request)
            part.request.finish(error)

    def _answer(self, run: BatchRun, now: float) -> None:
        """Give each request of a batch its rows, and count the requests that are complete."""
        taken_at, batch_s, compute_s = run.taken_at, run.started_at - run.taken_at, run.ended_at - run.started_at
        batch_rows = run.batch.count
        names = self.signature.output_names
        axes = [None] * len(names) if run.whole else self.signature.output_axes
        only = names[0] if axes == [0] else None  # a fast path for the most frequent case
        observer = self.observer
        answered, total_s, all_queue_s, all_batch_s, all_compute_s = 0, 0.0, 0.0, 0.0, 0.0
        waits_s: list[float] = []
        at = 0
        for part in run.batch.slices:
            begin, at = at, at + part.stop - part.start
            request = part.request
            if request.finished:
                continue
            if not request.rows_done:
                if request.arrived < taken_at:
                    request.queue_s = taken_at - request.arrived
                waits_s.append(request.queue_s)
            request.batch_s += batch_s
            request.compute_s += compute_s
            named: Arrays
            if only is not None and at - begin == request.rows.number:
                named = {only: run.outputs[0][begin:at]}
            else:
                outputs = part.cut_outputs(run.outputs, axes, begin)
                if outputs is None:
                    continue
                named = dict(zip(names, outputs, strict=True))
            request.finish(Answer(named, request.queue_s, request.batch_s, request.compute_s, batch_rows))
            answered += 1
            total_s += now - request.arrived
            all_queue_s += request.queue_s
            all_batch_s += request.batch_s
            all_compute_s += request.compute_s
            if observer.traces:
                times = (request.arrived, now, request.queue_s, request.batch_s, request.compute_s)
                observer.traced(Times(request.rows.number, *times))
        observer.queued(waits_s)
        if answered:
            observer.answered(Tally(answered, total_s, all_queue_s, all_batch_s, all_compute_s))


@dataclass(eq=False)
class _Cancel:
    """Cancels a request. Compiled, this is one object; ``functools.partial`` would be three."""

    dispatcher: Dispatcher
    request: QueuedRequest

    def __call__(self) -> None:
        self.dispatcher.cancel(self.request)
