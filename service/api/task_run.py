"""Drives the coroutine of a task: does what it awaits, sends it the results, and answers its request."""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol

from service.api.handler import Responder
from service.api.task_plan import TaskPlan
from service.engine.batching.queue import Answer
from service.engine.loop.request import LoopResult
from service.engine.tensors import Arrays
from service.errors import DeadlinePassed, InvalidInput, ModelFailure, ServiceError
from service.metrics.spans import Trace
from service.models.entry import Model, Served
from service.models.schedule_policy import UNSCHEDULED, Schedule
from service.protocol.json import render_json
from service.tasks.request import takes_long
from service.tasks.work import Admit, Awaited, Infer, Iterate, Result, RunInThread, Work
from service.transport import sse
from service.transport.request import JSON, Exposure, Reply, render_server_timing


class Threads(Protocol):
    """Where slow work runs."""

    loop: asyncio.AbstractEventLoop
    threads: Executor


class TaskDriver(ABC):
    """Drives one coroutine until ``_done``, ``_fail`` or ``cancel`` is called.

    ``model`` is None for work that runs no graph. ``trace`` is None if the request was not sampled.
    """

    __slots__ = (
        "_asked",
        "_exposure",
        "_release",
        "_responder",
        "_schedule",
        "_threads",
        "_work",
        "batch_rows",
        "batch_s",
        "compute_s",
        "model",
        "queue_s",
        "trace",
    )

    def __init__(
        self, threads: Threads, responder: Responder, model: Model | None, schedule: Schedule = UNSCHEDULED
    ) -> None:
        self._threads = threads
        self._responder = responder
        self._schedule = schedule
        self.model = model
        self.trace = responder.request.trace
        self._exposure: Exposure | None = None
        """Records inputs and outputs of the graphs, if the request is compared with another version."""
        self._asked: tuple[str, Arrays] | None = None
        self._work: Work | None = None
        self._release: Callable[[], object] | None = None
        self.queue_s = self.batch_s = self.compute_s = 0.0
        self.batch_rows = 0
        """The rows of the largest batch."""

    def begin(self, work: Work) -> None:
        self._work = work
        self._go_on(None)

    def cancel(self) -> None:
        """Nobody waits for the result any more."""
        release, self._release = self._release, None
        if release is not None:
            release()
        self._close()

    @abstractmethod
    def _done(self, result: Result) -> None:
        """The work has returned."""

    @abstractmethod
    def _fail(self, error: Exception) -> None:
        """The work has raised, or what it asked for has failed."""

    def _wait_at_most(self, left_s: float, what: str) -> None:
        self._responder.wait_at_most(max(0.0, left_s), what)

    def _stop_waiting(self) -> None:
        self._responder.stop_waiting()

    def _go_on(self, answer: Any) -> None:
        """Send the coroutine a result, and do what it awaits next."""
        self._release = None
        if self._work is None:
            return
        try:
            try:
                self._ask(self._work.send(answer))
            except StopIteration as end:
                self._done(end.value)
        except Exception as error:  # noqa: BLE001  # whatever a task raises becomes the answer of its request
            self._fail(error)

    def _ask(self, wanted: Awaited) -> None:
        schedule = self._schedule
        left_s = self._responder.left_s(schedule.timeout_s)
        if isinstance(wanted, RunInThread):
            if wanted.admit is not None:
                self._admit(wanted.admit, left_s)
            future = self._threads.loop.run_in_executor(self._threads.threads, wanted.do)
            self._release = future.cancel
            future.add_done_callback(self._done_in_thread)
            self._wait_at_most(left_s, "the task was done")
            return
        if left_s <= 0:
            raise DeadlinePassed("the deadline passed before the task was done")
        model = self.model
        if isinstance(wanted, Infer) and model is not None:
            dispatcher = model.graphs[wanted.graph]
            rows = dispatcher.signature.check(wanted.inputs)
            self._responder.charge(rows.number)
            if self._exposure is not None:
                self._asked = wanted.graph, rows.inputs
            if self.trace is not None:
                rows.trace = model.trace(self.trace)
            timeout_s = dispatcher.limit_wait(left_s, schedule.wait_s)
            self._release = dispatcher.submit(rows, self._took, timeout_s=timeout_s, priority=schedule.priority)
        elif isinstance(wanted, Iterate) and model is not None and model.loop is not None:
            request, took = wanted.request, self._took
            self._responder.charge(request.rows)
            if self.trace is not None:
                took = functools.partial(self._took_loop, self.trace.begin(f"loop {model.name}"), request.steps)
            self._release = model.loop.submit(request, took, timeout_s=left_s, priority=schedule.priority)
        else:
            name = None if model is None else model.name
            raise ModelFailure(f"{name!r} has nothing that does {type(wanted).__name__}")

    def _admit(self, wanted: Admit, left_s: float) -> None:
        """Raises Draining or TooLate if a request of that size would not be answered in time."""
        if self.model is None:
            return
        if wanted.steps and self.model.loop is not None:
            self.model.loop.check_time(wanted.rows, wanted.steps, left_s)
        else:
            self.model.graphs[wanted.graph].check_time(wanted.rows, left_s)

    def _took_loop(self, trace: Trace, most_steps: int, outcome: LoopResult | ServiceError) -> None:
        """The loop of a sampled request has ended."""
        if isinstance(outcome, LoopResult):
            trace.end(
                steps=max((len(one.tokens) + one.has_ended for one in outcome.sentences), default=most_steps),
                batch_rows=outcome.batch_rows,
                queue_s=outcome.queue_s,
                compute_s=outcome.compute_s,
            )
        else:
            trace.end(reason=outcome.reason)
        self._took(outcome)

    def _took(self, outcome: Answer | LoopResult | ServiceError) -> None:
        self._release = None  # it refers to the caller of this function
        if isinstance(outcome, ServiceError):
            takes_texts = self.model is not None and self.model.manifest.tokens is not None
            if takes_texts and isinstance(outcome, InvalidInput):  # the tokenizer has made the ids, not the caller
                outcome = ModelFailure(f"the graph does not take what its tokenizer gives: {outcome}")
            self._fail(outcome)
            return
        self.queue_s += outcome.queue_s
        self.compute_s += outcome.compute_s
        self.batch_rows = max(self.batch_rows, outcome.batch_rows)
        if isinstance(outcome, LoopResult):
            self._go_on(outcome)
        else:
            self.batch_s += outcome.batch_s
            if self._exposure is not None and self._asked is not None:
                self._exposure.note_run(*self._asked, outcome.outputs)
            self._go_on(outcome.outputs)

    def _done_in_thread(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or self._work is None:
            return
        self._stop_waiting()
        error = done.exception()
        if error is None:
            self._go_on(done.result())
        elif isinstance(error, Exception):
            self._fail(error)

    def _close(self) -> None:
        """Break the reference cycle of the task, which would keep its arrays until the garbage collector runs."""
        work, self._work = self._work, None
        if work is not None:
            work.close()


class Runs(Threads, Protocol):
    """Holds the open runs of a worker."""

    def ended(self, run: "TaskRun") -> None: ...


class TaskRun(TaskDriver):
    """Drives a task whose result is the answer to a request."""

    __slots__ = ("_plan", "_runs")

    def __init__(self, runs: Runs, responder: Responder, plan: TaskPlan) -> None:
        super().__init__(runs, responder, plan.model if isinstance(plan.model, Model) else None, plan.schedule)
        self._runs = runs
        self._plan = plan
        if self.model is not None:
            self._exposure = responder.request.exposure

    def start(self) -> None:
        self.begin(self._plan.work(self._emit if self._plan.streams else None))

    def uses(self, model: Served) -> bool:
        """Whether the version must stay until the run ends."""
        return self._plan.model is model or model in self._plan.steps.values()

    def _emit(self, content: Mapping[str, Any]) -> None:
        self._responder.send(sse.render_event(render_json(content)))

    def _fail(self, error: Exception) -> None:
        self._close()
        self._responder.fail(error)

    def _done(self, result: Result) -> None:
        self._close()
        times = Answer({}, self.queue_s, self.batch_s, self.compute_s, self.batch_rows)
        if self._plan.streams:
            timing = b""
            if self._plan.last_event is not None:  # in the event, because the header has already been sent
                stages_s = (self.queue_s, self.batch_s, self.compute_s)
                total_s = self._responder.elapsed_s()
                timing = b"server-timing: " + render_server_timing(total_s, stages_s, self.batch_rows)
            self._responder.send(sse.render_event(render_json(result.body), self._plan.last_event, timing))
            self._responder.finish_stream(200, times)
            return
        kind = JSON if result.media_type is None else (b"content-type", result.media_type.encode())

        def reply(body: bytes) -> None:
            self._responder.finish(Reply(200, [body], [kind]), times)

        if result.media_type is not None:
            reply(result.body)
        elif result.is_large or takes_long(self._responder.request.body):
            render: Callable[[], bytes] = functools.partial(render_json, result.body)
            self._responder.run_in_thread(render, reply, is_answered=True)
        else:
            reply(render_json(result.body))

    def _close(self) -> None:
        super()._close()
        self._runs.ended(self)
