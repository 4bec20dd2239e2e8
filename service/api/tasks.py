"""Task routes: a task's generator, driven by what the engine answers.

Life of an errand: the request is read and its model found (`opening.py`); the task says what it wants next (a
run of a graph, a loop request through the loop, something slow done aside) and is sent the answer, until it returns its
result. What it emits on the way goes out at once as server-sent events, where the caller asked for a stream.

Everything is on the event loop's thread, apart from what is done aside. An errand that its caller leaves gives back
what it holds in the engine at once.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol

from model_store.manifest import Task as TaskName
from service.api import generate as generate_routes
from service.api import kserve
from service.api.task_plan import Opener, Opening
from service.engine.execution.queued_request import Answer
from service.engine.loop.request import LoopResult
from service.errors import DeadlinePassed, Draining, ModelFailure, ServiceError
from service.models.registry import Model, Registry
from service.protocol.text import render_json
from service.tasks import classify, generate, reconstruct, sequence
from service.tasks.request import TaskOptions, TaskRequest, read_request
from service.tasks.work import Aside, Emit, Infer, Iterate, Limits, Result, Subject, Work
from service.transport import sse
from service.transport.request import JSON, Call, Reply


class Task(Protocol):
    """What the module of a task offers."""

    NAME: TaskName
    Options: type[TaskOptions]

    def work(self, options: Any, request: TaskRequest, subject: Subject, limits: Limits, emit: Emit | None) -> Work: ...


ROUTES: Mapping[str, Any] = {f"/{task.NAME}": task for task in (classify, sequence, reconstruct, generate)}
"""Route -> the module of its task."""


def open_task(call: Call, registry: Registry, limits: Limits) -> Opening:
    """Read a request to a task route. Raises InvalidInput, UnsupportedMedia, UnknownModel, NotReady."""
    task: Task = ROUTES[call.endpoint.route]
    headers = call.headers
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    accept = headers.get(b"accept", b"").decode("latin-1")
    request = read_request(call.body, content_type, call.query, accept)
    options = task.Options.parse(request.fields, request.loose)
    version = None if options.version is None else str(options.version)
    model = registry.find_for_task(task.NAME, options.model, version)
    subject = Subject(model.name, model.version, model.manifest)
    return Opening(model, lambda emit: task.work(options, request, subject, limits, emit), options.stream)


OPENERS: Mapping[str, Opener] = {**dict.fromkeys(ROUTES, open_task), **generate_routes.OPENERS, **kserve.OPENERS}
"""Every route that works by a task -> who reads its requests."""


class Plane(Protocol):
    """What an errand asks of the request handler."""

    clock: Callable[[], float]

    def fail(self, call: Call, error: Exception) -> None: ...
    def finish(self, call: Call, reply: Reply, times: Answer | None) -> None: ...
    def finish_stream(self, call: Call, status: int) -> None: ...


class Errand:
    """A task under way for a call."""

    __slots__ = ("_batch_s", "_call", "_compute_s", "_errands", "_opening", "_queue_s", "_release", "_work", "model")

    def __init__(self, errands: "Errands", call: Call, opening: Opening) -> None:
        self._errands = errands
        self._call = call
        self._opening = opening
        self.model = opening.model
        self._work: Work | None = None
        self._release: Callable[[], object] | None = None
        self._queue_s = self._batch_s = self._compute_s = 0.0

    def begin(self) -> None:
        self._work = self._opening.work(self._emit if self._opening.streams else None)
        self._go_on(None)

    def cancel(self) -> None:
        """The caller has gone, or the call has ended."""
        release, self._release = self._release, None
        if release is not None:
            release()
        self._close()

    def _go_on(self, answer: Any) -> None:
        """Send the task what it asked for, and do what it asks for next."""
        self._release = None
        if self._work is None:
            return
        try:
            self._ask(self._work.send(answer))
        except StopIteration as end:
            self._finish(end.value)
        except Exception as error:  # noqa: BLE001  # whatever a task raises becomes the answer of its call
            self._fail(error)

    def _ask(self, wish: Infer | Iterate | Aside) -> None:
        model, errands, priority = self.model, self._errands, self._opening.priority
        if isinstance(wish, Aside):
            future = errands.loop.run_in_executor(errands.executor, wish.do)
            self._release = future.cancel
            future.add_done_callback(self._done_aside)
            return
        left_s = (self._opening.timeout_s or errands.deadline_s) - (errands.handler.clock() - self._call.began)
        if left_s <= 0:
            raise DeadlinePassed("the deadline passed before the last step of the task")
        if isinstance(wish, Infer):
            dispatcher = model.graphs[wish.graph]
            rows = dispatcher.signature.check(wish.inputs)
            job = dispatcher.submit(rows, self._took, timeout_s=left_s, priority=priority)
            self._release = functools.partial(dispatcher.cancel, job)
            return
        loop = model.loop
        if loop is None:
            raise ModelFailure(f"the manifest of {model.name!r} describes no loop")
        sequence = loop.submit(wish.request, self._took, timeout_s=left_s, priority=priority)
        self._release = functools.partial(loop.cancel, sequence)

    def _took(self, outcome: Answer | LoopResult | ServiceError) -> None:
        """The engine has answered."""
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

    def _done_aside(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or self._work is None:
            return
        error = done.exception()
        if error is None:
            self._go_on(done.result())
        elif isinstance(error, Exception):
            self._fail(error)

    def _emit(self, content: Mapping[str, Any]) -> None:
        self._send(sse.event(render_json(content)))

    def _send(self, chunk: bytes) -> None:
        if not self._call.opened:
            self._call.open(200, [*sse.HEADERS, (b"x-request-id", self._call.request_id.encode())])
        self._call.send(chunk)

    def _fail(self, error: Exception) -> None:
        self._close()
        self._errands.handler.fail(self._call, error)

    def _finish(self, result: Result) -> None:
        self._close()
        if self._opening.streams:
            self._send(sse.event(render_json(result.body), self._opening.last_event))
            self._errands.handler.finish_stream(self._call, 200)
            return
        if result.media_type is None:
            reply = Reply(200, [render_json(result.body)], [JSON])
        else:
            reply = Reply(200, [result.body], [(b"content-type", result.media_type.encode())])
        times = Answer({}, self._queue_s, self._batch_s, self._compute_s)
        self._errands.handler.finish(self._call, reply, times)

    def _close(self) -> None:
        """Let go of the task. Without this a reference cycle would keep its arrays until the collector comes."""
        work, self._work = self._work, None
        if work is not None:
            work.close()
        self._errands.ended(self)


class Errands:
    """The errands of a worker."""

    def __init__(
        self,
        handler: Plane,
        registry: Registry,
        limits: Limits,
        deadline_s: float,
        loop: asyncio.AbstractEventLoop,
        executor: Executor,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.deadline_s = deadline_s
        self.loop = loop
        self.executor = executor
        self._registry = registry
        self._open: set[Errand] = set()
        self._drained: asyncio.Future[None] | None = None
        self._released: list[tuple[Model, asyncio.Future[None]]] = []

    def start(self, call: Call) -> None:
        """Begin the errand of a call whose body is complete. Raises ServiceError."""
        if self._drained is not None:
            raise Draining("the server is stopping")
        opening = OPENERS[call.endpoint.route](call, self._registry, self.limits)
        call.model = opening.model
        errand = call.job = Errand(self, call, opening)
        self._open.add(errand)
        errand.begin()

    def ended(self, errand: Errand) -> None:
        self._open.discard(errand)
        for model, released in self._released:
            if not released.done() and not self._holds(model):
                released.set_result(None)
        if self._drained is not None and not self._open and not self._drained.done():
            self._drained.set_result(None)

    def _holds(self, model: Model) -> bool:
        return any(errand.model is model for errand in self._open)

    async def release(self, model: Model) -> None:
        """Return when no open errand is the model's: between two runs of one its graphs are idle, but not done with."""
        if self._holds(model):
            waits = (model, self.loop.create_future())
            self._released.append(waits)
            await waits[1]
            self._released.remove(waits)

    async def drain(self) -> None:
        """Refuse new errands; return when the open ones have ended. Their graphs must go on until then."""
        if self._drained is None:
            self._drained = self.loop.create_future()
        if self._open:
            await asyncio.shield(self._drained)
