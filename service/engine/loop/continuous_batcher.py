"""The loop of a model version: rows of many requests, each at its own step, run in one batch.

Life of a loop request
1. ``submit`` checks that it can end in time, and adds its rows to the slot table.
2. Whenever a lane is idle, the table forms a batch. Rows that wait for their first step join rows at later steps. The
   state of a batch is in arrays with one entry for each slot. While no row joins or leaves, the outputs of a step are
   the inputs of the next. Otherwise the arrays are assembled anew, which costs one copy.
3. A step that fails is run again in halves until the rows that fail are alone. The others continue.
4. After each step, rows continue or end. A request is answered when its last row has ended. It may leave at any time;
   its slots are free before the next step.

State stays with its row: if the rows of the graph are independent, other rows of a batch cannot change a row's results.
Everything but ``execute`` happens on the event loop's thread.
"""

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_store.tasks import Carry
from service.engine.batching.cost import CostModel, RunMemory
from service.engine.batching.policy import NEW_RUN_WEIGHT, RUN_MARGIN
from service.engine.execution.device import Device, LaneUser
from service.engine.execution.observer import Observer
from service.engine.execution.runner import StepRunner
from service.engine.loop.decoding import begin_row
from service.engine.loop.request import LoopRequest
from service.engine.loop.sequence import Done, LoopSequence, SteadyRun, advance
from service.engine.loop.slots import RunningBatch, SlotTable, Span
from service.engine.loop.step import LoopStep, StepGraph
from service.engine.tensors import BatchBuffer, Signature
from service.errors import DeadlinePassed, InvalidInput, ModelFailure, QueueFull
from service.metrics.times import Tally, Times

logger = logging.getLogger("sluice.engine")


class ContinuousBatcher(LaneUser):
    """Runs the requests to the loop of one model version.

    ``carries`` tells which inputs take which outputs. ``pad`` and ``may_inline`` are as for a dispatcher. ``memory``
    limits a step, by the size to which rows grow. ``prefix`` is the input that takes all tokens so far, if there is
    one: then only rows of the same length share a step.
    """

    def __init__(
        self,
        runner: StepRunner,
        signature: Signature,
        carries: Sequence[Carry],
        device: Device,
        table: SlotTable[LoopSequence],
        *,
        max_rows: int,
        cost: CostModel | None = None,
        pad: Callable[[int], int] = lambda rows: rows,
        observer: Observer | None = None,
        may_inline: bool = True,
        memory: RunMemory | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(device, cost, observer, may_inline)
        self.table = table
        self._carried = [c.input for c in carries]
        changing = [signature.inputs[c.input] for c in carries if c.output is not None]
        if prefix is not None:
            changing.append(signature.inputs[prefix])
            self._carried.append(prefix)
        self._may_grow = any(isinstance(size, str) for tensor in changing for size in tensor.row_shape)
        self._max_rows = min(max_rows, table.max_slots)
        self._memory = memory
        self._most_elements = 0
        """The size of the largest row in the loop."""
        self._step_rows = self.cost.efficient(self._max_rows)
        self._graph = StepGraph(runner, signature, carries, pad, pad(self._step_rows))
        self._usual_steps = 0.0
        """How many steps rows that write tokens usually make: a running mean, 0 until one has ended. Few texts are as
        long as they may be, so whether a request ends in time is judged by the usual length."""

    def submit(
        self, request: LoopRequest, done: Done, *, timeout_s: float = math.inf, priority: int = 1
    ) -> Callable[[], None]:
        """Begin a request. Returns a function that removes its rows before their next step.

        Raises InvalidInput, BodyTooLarge, Draining, QueueFull, TooLate; ModelFailure if its inputs do not fit.
        """
        key = self._check(request)
        elements = self._count_elements(request)
        if self._memory is not None:
            self._memory.check(elements)
        width = request.decoding.width if request.decoding else 1
        if width > self._max_rows:
            why = " because the rows of the model share no steps" if self._max_rows == 1 else ""
            raise InvalidInput(f"beams: expected at most {self._max_rows}{why}, got {width}")
        steps = request.steps if request.decoding is None else min(request.steps, max(1, round(self._usual_steps)))
        self.check_time(request.rows * width, steps, timeout_s)
        most_elements = elements if self.is_idle else max(elements, self._most_elements)
        now = self._device.clock()
        sequence = LoopSequence(key, request.rows, now, now + timeout_s, priority, width, request=request, done=done)
        decoding = request.decoding
        sequence.is_special = decoding is None or not decoding.is_plain
        if decoding is not None:
            sequence.sentences = [begin_row(decoding, row) for row in range(request.rows)]
        try:
            self.table.offer(sequence, lambda: self.expected_s(0, 1))
        except QueueFull:
            self.observer.failed()
            raise
        self._most_elements = most_elements
        self._device.wake(self)
        return functools.partial(self._cancel, sequence)

    def check_time(self, slots: int, steps: int, timeout_s: float) -> None:
        """Raises Draining; TooLate if ``slots`` more slots would not make ``steps`` steps in time."""
        refusal = self.find_time_refusal(
            "1 step" if steps == 1 else f"{steps} steps", self.expected_s(slots, steps), timeout_s
        )
        if refusal is not None:
            raise refusal

    def expected_s(self, slots: int, steps: int) -> float:
        """Seconds until ``slots`` more slots would have made ``steps`` steps."""
        together = self.table.used_slots + self.table.waiting_rows + slots
        a_step = min(max(1, together), self._step_rows)
        turns = max(1.0, together / (self._step_rows * self._device.lanes))
        return RUN_MARGIN * steps * turns * self.cost.predict(a_step)

    def _cancel(self, sequence: LoopSequence) -> None:
        if not sequence.answered:
            self.observer.failed(self._device.clock() - sequence.arrived)
        sequence.answered = True
        if not sequence.gone:
            self.table.leave(sequence)
        self.settle()

    @property
    def waiting_rows(self) -> int:
        return self.table.waiting_rows

    @property
    def has_work(self) -> bool:
        return self.table.can_step

    # Called by the device

    def next_timer(self, now: float, lane_is_idle: bool) -> float:
        return self.table.next_deadline()

    def expire(self, now: float) -> None:
        expired = self.table.expire(now)
        for sequence in expired:
            self.observer.failed(now - sequence.arrived)
            sequence.finish(DeadlinePassed("the deadline passed before the last step"))
        self.settle()

    def expire_run(self, run: LoopStep, now: float) -> float | None:
        self.expire(now)
        return min((s.sequence.deadline for s in run.batch.spans if not s.sequence.gone), default=None)

    def take(self, now: float, idle_lanes: int = 1) -> LoopStep | None:
        """The next batch. Waiting rows go first. It is no larger than a lane's share, if sharing is faster."""
        self.expire(now)
        together = self.table.used_slots + self.table.waiting_rows
        limit = self.cost.share(self._step_rows, together, self._device.lanes, self._device.inline_s)
        if self._memory is not None:
            limit = min(limit, self._memory.most_rows(self._most_elements))
        batch = self.table.take(limit)
        if batch is None:
            return None
        if batch.steady is None:
            self._note_new_rows(batch, now)
        step = LoopStep(self, now, self.cost.predict(batch.slots), batch, self.table.departures)
        step.needs_lane = self._needs_lane
        return step

    def _note_new_rows(self, batch: RunningBatch[LoopSequence], now: float) -> None:
        """Store the results of rows that change their batch, and note when new rows begin."""
        waits_s = []
        for span in batch.spans:
            if isinstance(span.place, SteadyRun):
                span.place.flush(span)
            sequence = span.sequence
            if math.isnan(sequence.began_at):
                sequence.began_at = now
                waits_s.append(max(0.0, now - sequence.arrived))
        self.observer.queued(waits_s)

    def execute(self, run: LoopStep, buffer: BatchBuffer, clock: Callable[[], float]) -> None:
        def may_go_on() -> bool:
            """Whether the next step may follow at once: nobody waits for this batch or this lane."""
            return (
                run.in_lane
                and not self.table.waiting_rows
                and self.table.departures == run.departures
                and not self._device.is_wanted(self)
            )

        self._graph.execute(run, clock, may_go_on)

    def on_batch_done(self, run: LoopStep) -> None:
        """Take the results of a step. Rows that have not ended rest until a batch takes them."""
        batch, compute_s = run.batch, (run.ended_at - run.started_at) / run.steps
        self._ran_at = run.ended_at
        if run.error is not None:
            run.lost = [(span.sequence, run.error) for span in batch.spans]
        elif not run.lost:
            self.cost.observe(batch.slots, compute_s)
            for _ in range(run.steps):
                self.observer.ran(batch.slots, (run.started_at - run.taken_at) / run.steps, compute_s)
        for sequence, _ in run.lost:
            self.table.leave(sequence)
        steady = batch.steady
        if steady is None or not run.outputs:
            self.table.rest(batch, ())
        else:
            if self._may_grow:  # rows with fewer steps no longer fit
                batch.key = self._key_of(steady.arrays)
            steady.note(run.outputs, compute_s)
            if steady.count < steady.quiet_steps and run.departures == self.table.departures:
                self.table.rest_whole(batch)
            else:
                self._handle_rows(run, steady)
        run.is_taken_in = True
        if self.table.can_step:
            self._device.wake(self)

    def _handle_rows(self, run: LoopStep, steady: SteadyRun) -> None:
        """Handle rows one by one, because some end, have failed or left, or are watched."""
        going: list[Span[LoopSequence]] = []
        for span in run.batch.spans:
            sequence = span.sequence
            if not sequence.gone:
                steady.flush(span)
                done = sequence.rows_done
                going += advance(span, run.outputs, run.choice)
                if done < sequence.rows_done and sequence.request.decoding is not None:
                    self._usual_steps += (span.step - self._usual_steps) * (
                        NEW_RUN_WEIGHT if self._usual_steps else 1.0
                    )
                if sequence.rows_done == sequence.rows:
                    sequence.gone = True
                    run.finished.append(sequence)
        self.table.rest(run.batch, going)

    def deliver(self, run: LoopStep) -> Sequence[LoopStep]:
        """Answer the requests that have ended or failed."""
        for sequence, error in run.lost:
            if not sequence.answered:
                logger.error("the model failed at a step of a request of %d rows", sequence.rows, exc_info=error)
                self.observer.failed(run.ended_at - sequence.arrived)
                sequence.finish(ModelFailure(f"{type(error).__name__}: {error}"))
        if run.finished:
            self._answer(run.finished, self._device.clock())
        return ()

    def abandon(self, run: LoopStep) -> None:
        """Fail the requests that could not be answered, or all of the batch if its results could not be taken."""
        ended = [*run.finished, *(sequence for sequence, _ in run.lost)]
        if not run.is_taken_in:
            ended += [span.sequence for span in run.batch.spans]
            self.table.rest(run.batch, ())
        for sequence in ended:
            if not sequence.gone:
                self.table.leave(sequence)
            sequence.finish(ModelFailure("a fault of the server"))

    def _answer(self, finished: Sequence[LoopSequence], now: float) -> None:
        """Answer and count requests whose last row has ended."""
        tally = Tally()
        for sequence in finished:
            if sequence.answered:
                continue
            result = sequence.describe()
            sequence.finish(result)
            total_s = now - sequence.arrived
            # Between its steps a row waits for a lane, and while its batch is assembled.
            between_s = max(0.0, total_s - result.queue_s - result.compute_s)
            tally.requests += 1
            tally.total_s += total_s
            tally.queue_s += result.queue_s
            tally.batch_s += between_s
            tally.compute_s += result.compute_s
            if self.observer.traces:
                times = Times(sequence.rows, sequence.arrived, now, result.queue_s, between_s, result.compute_s)
                self.observer.traced(times)
        if tally.requests:
            self.observer.answered(tally)

    def _check(self, request: LoopRequest) -> tuple[tuple[int, ...], ...]:
        """The key of requests that may share their first step. Raises ModelFailure if the inputs do not fit."""
        given = {*request.begin, *request.changing}
        if given != self._graph.signature.inputs.keys():
            raise ModelFailure(
                f"a loop request has {sorted(given)}, a step takes {sorted(self._graph.signature.inputs)}"
            )
        absent = [name for name in self._carried if name not in request.begin]
        if absent:
            raise ModelFailure(f"a loop request does not begin with {absent}, which are carried")
        if request.steps < 1 or request.rows < 1:
            raise ModelFailure(f"a loop request of {request.rows} rows and {request.steps} steps")
        return self._key_of(request.begin)

    def _count_elements(self, request: LoopRequest) -> int:
        """The size of a row at its last step, as far as known: what begins empty grows at each step."""
        elements = sum(array.size for array in request.begin.values()) // request.rows
        if self._may_grow:
            empty = [array.shape[1:] for array in request.begin.values() if not array.size]
            places = sum(math.prod(size for size in shape if size) for shape in empty)
            places += request.decoding is not None and request.decoding.takes_all
            elements += places * request.steps
        return elements

    def _key_of(self, arrays: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
        """The key of rows that may share a step: the shapes of the carried inputs."""
        return tuple(arrays[name].shape[1:] for name in self._carried)
