"""Task routes: each request runs a task, a coroutine.

A planner reads the request and finds the model. The task then asks for one thing after the other (a run of a graph, the
loop, slow work in a thread) and is sent the answer, until it returns its result. In a stream, what it emits on the way
goes out at once as server-sent events. All of this is on the event loop's thread, except slow work.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from service.api import generate as generate_routes
from service.api import kserve
from service.api.handler import Responder, Start
from service.api.openapi.document import ROUTES as TASK_ROUTES
from service.api.task_plan import Planner, TaskPlan, context_of
from service.codecs.rows import check_count
from service.engine.batching.queue import Answer
from service.engine.loop.request import LoopResult
from service.errors import DeadlinePassed, Draining, InvalidInput, ModelFailure, ServiceError
from service.models.entry import Model
from service.models.registry import Registry
from service.protocol.json import render_json
from service.protocol.large_json import LARGE_BYTES
from service.tasks.request import read_request
from service.tasks.work import Admit, Call, Infer, Limits, Result, RunInThread, Wanted, Work
from service.transport import sse
from service.transport.request import JSON, Reply, Request

_ANSWER_SOUND = {f"/{route.task.NAME}" for route in TASK_ROUTES if route.sound is not None}
ROUTES: Mapping[str, Any] = {f"/{route.task.NAME}": route.task for route in TASK_ROUTES}
"""Route -> the module of its task, with ``NAME``, ``Options`` and ``work``."""


def plan_task(request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Read a request to a task route. Raises InvalidInput, UnsupportedMedia, UnknownModel, NotReady."""
    task = ROUTES[request.endpoint.route]
    headers = request.headers
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    accept = headers.get(b"accept", b"").decode("latin-1")
    asked = read_request(request.body, content_type, request.query, accept)
    if asked.wants_sound and request.endpoint.route not in _ANSWER_SOUND:
        raise InvalidInput(f"accept: audio/wav: {request.endpoint.route} answers no sounds: ask for JSON")
    if asked.rows:
        check_count(asked.rows, limits.max_rows)  # in the thread that read them, which also frees them
    options = task.Options.parse(asked.fields, asked.loose)
    version = None if options.version is None else str(options.version)
    model = registry.find_for_task(task.NAME, options.model, version)
    call = functools.partial(Call, options, asked.rows, context_of(model), limits, asked.wants_picture)
    return TaskPlan(model, lambda emit: task.work(call(emit, wants_sound=asked.wants_sound)), options.stream)


PLANNERS: Mapping[str, Planner] = {**dict.fromkeys(ROUTES, plan_task), **generate_routes.PLANNERS, **kserve.PLANNERS}
"""Every route that works by a task -> the function that reads its requests."""


class TaskRun:
    """The task of one request while it runs."""

    __slots__ = ("_batch_s", "_compute_s", "_plan", "_queue_s", "_release", "_responder", "_runner", "_work", "model")

    def __init__(self, runner: "TaskRunner", responder: Responder, plan: TaskPlan) -> None:
        self._runner = runner
        self._responder = responder
        self._plan = plan
        self.model = plan.model
        self._work: Work | None = None
        self._release: Callable[[], object] | None = None
        self._queue_s = self._batch_s = self._compute_s = 0.0

    def begin(self) -> None:
        self._work = self._plan.work(self._emit if self._plan.streams else None)
        self._go_on(None)

    def cancel(self) -> None:
        """The caller has gone, or the request has ended."""
        release, self._release = self._release, None
        if release is not None:
            release()
        self._close()

    def _go_on(self, answer: Any) -> None:
        """Send the task the answer, and do what it asks for next."""
        self._release = None
        if self._work is None:
            return
        try:
            try:
                self._ask(self._work.send(answer))
            except StopIteration as end:
                self._finish(end.value)
        except Exception as error:  # noqa: BLE001  # whatever a task raises becomes the answer of its request
            self._fail(error)

    def _ask(self, wanted: Wanted) -> None:
        model, schedule, runner = self.model, self._plan.schedule, self._runner
        left_s = self._responder.left_s(schedule.timeout_s)
        if isinstance(wanted, RunInThread):
            if wanted.admit is not None:
                self._admit(wanted.admit, left_s)
            future = runner.loop.run_in_executor(runner.threads, wanted.do)
            self._release = future.cancel
            future.add_done_callback(self._done_in_thread)
            self._responder.wait_at_most(max(0.0, left_s), "the task was done")
            return
        if left_s <= 0:
            raise DeadlinePassed("the deadline passed before the task was done")
        if isinstance(wanted, Infer):
            dispatcher = model.graphs[wanted.graph]
            rows = dispatcher.signature.check(wanted.inputs)
            timeout_s = dispatcher.limit_wait(left_s, schedule.wait_s)
            self._release = dispatcher.submit(rows, self._took, timeout_s=timeout_s, priority=schedule.priority)
        elif model.loop is not None:
            request = wanted.request
            self._release = model.loop.submit(request, self._took, timeout_s=left_s, priority=schedule.priority)
        else:
            raise ModelFailure(f"the manifest of {model.name!r} describes no loop")

    def _admit(self, wanted: Admit, left_s: float) -> None:
        """Raises Draining or TooLate for a request of that size."""
        if wanted.steps and self.model.loop is not None:
            self.model.loop.check_time(wanted.rows, wanted.steps, left_s)
        else:
            self.model.graphs[wanted.graph].check_time(wanted.rows, left_s)

    def _took(self, outcome: Answer | LoopResult | ServiceError) -> None:
        self._release = None  # it refers to what has just called this
        if isinstance(outcome, ServiceError):
            self._fail(outcome)
            return
        self._queue_s += outcome.queue_s
        self._compute_s += outcome.compute_s
        if isinstance(outcome, LoopResult):
            self._go_on(outcome)
        else:
            self._batch_s += outcome.batch_s
            self._go_on(outcome.outputs)

    def _done_in_thread(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or self._work is None:
            return
        self._responder.stop_waiting()
        error = done.exception()
        if error is None:
            self._go_on(done.result())
        elif isinstance(error, Exception):
            self._fail(error)

    def _emit(self, content: Mapping[str, Any]) -> None:
        self._responder.send(sse.event(render_json(content)))

    def _fail(self, error: Exception) -> None:
        self._close()
        self._responder.fail(error)

    def _finish(self, result: Result) -> None:
        self._close()
        if self._plan.streams:
            self._responder.send(sse.event(render_json(result.body), self._plan.last_event))
            self._responder.finish_stream(200)
            return
        times = Answer({}, self._queue_s, self._batch_s, self._compute_s)
        kind = JSON if result.media_type is None else (b"content-type", result.media_type.encode())

        def reply(body: bytes) -> None:
            self._responder.finish(Reply(200, [body], [kind]), times)

        if result.media_type is not None:
            reply(result.body)
        elif result.is_large or len(self._responder.request.body) > LARGE_BYTES:  # then the answer may be large too
            render = functools.partial(render_json, result.body)
            self._responder.run_in_thread(render, reply, is_answered=True)
        else:
            reply(render_json(result.body))

    def _close(self) -> None:
        """Break the reference cycle of the task: it would keep its arrays until the garbage collector runs."""
        work, self._work = self._work, None
        if work is not None:
            work.close()
        self._runner.ended(self)


class TaskRunner:
    """The tasks of a worker that run."""

    def __init__(self, registry: Registry, limits: Limits, loop: asyncio.AbstractEventLoop, threads: Executor) -> None:
        self.limits = limits
        self.loop = loop
        self.threads = threads
        self._registry = registry
        self._open: set[TaskRun] = set()
        self._is_draining = False
        self._run_ended = asyncio.Event()

    def starts(self) -> Mapping[str, Start]:
        return dict.fromkeys(PLANNERS, self.start)

    def start(self, responder: Responder) -> None:
        """Begin the task of a request whose body is complete. Raises ServiceError."""
        self._check_draining()
        request = responder.request
        read = functools.partial(PLANNERS[request.endpoint.route], request, self._registry, self.limits)
        if len(request.body) > LARGE_BYTES:
            responder.run_in_thread(read, functools.partial(self._begin, responder))
        else:
            self._begin(responder, read())

    def _begin(self, responder: Responder, plan: TaskPlan) -> None:
        self._check_draining()  # again: reading a large body takes a while
        responder.model_name = plan.model.name
        run = TaskRun(self, responder, plan)
        responder.cancel_work = run.cancel
        self._open.add(run)
        run.begin()

    def _check_draining(self) -> None:
        if self._is_draining:
            raise Draining("the server is stopping")

    def ended(self, run: TaskRun) -> None:
        self._open.discard(run)
        self._run_ended.set()  # wakes all that wait now
        self._run_ended.clear()

    async def release(self, model: Model) -> None:
        """Return when no open task uses the model. Its graphs may be idle between two runs of a task."""
        while any(run.model is model for run in self._open):
            await self._run_ended.wait()

    async def drain(self) -> None:
        """Refuse new tasks; return when the open ones have ended. Their graphs must go on until then."""
        self._is_draining = True
        while self._open:
            await self._run_ended.wait()
