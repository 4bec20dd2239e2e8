"""Task routes: each request runs a task, which is a coroutine.

A planner reads the request and finds the model. The coroutine then awaits one thing after another (a run of a graph,
the loop, slow work in a thread), until it returns its result. What a stream emits goes out at once as server-sent
events. All of this happens on the event loop's thread, except slow work.
"""

import asyncio
import functools
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from service.api import embeddings, kserve, pipelines
from service.api import generate as generate_routes
from service.api.continuing import find_for_states
from service.api.handler import Responder, Start
from service.api.openapi.document import ROUTES as TASK_ROUTES
from service.api.pipelines import PipelineRun
from service.api.steps import find_pipeline
from service.api.task_plan import Planner, TaskPlan
from service.api.task_run import TaskRun
from service.codecs.rows import check_count
from service.errors import Draining, InvalidInput
from service.models.entry import Served
from service.models.pipeline import Pipeline
from service.models.registry import Registry
from service.tasks.request import TaskRequest, read_request, takes_long
from service.tasks.sequences.forecast import ForecastOptions
from service.tasks.work import Call, Limits
from service.transport.request import Request

_ANSWER_SOUND = {f"/{route.task.NAME}" for route in TASK_ROUTES if route.sound is not None}
ROUTES: Mapping[str, Any] = {f"/{route.task.NAME}": route.task for route in TASK_ROUTES}
"""Route -> the module of its task, with ``NAME``, ``Options`` and ``work``."""


def plan_task(request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Read a request to a task route. Raises InvalidInput, UnsupportedMedia, UnknownModel, NotReady."""
    task = ROUTES[request.endpoint.route]
    asked, options = _read(request, limits)
    if isinstance(options, ForecastOptions):
        model = find_for_states(registry, options, task.NAME, asked.rows or (), limits.state_key, request)
        model.has_given_states |= options.return_state
    else:
        model = registry.find_for_task(task.NAME, options.model, options.wanted_version, request)
    call = functools.partial(Call, options, asked.rows, model.context, limits, asked.wants_picture)
    work = lambda emit: task.work(call(emit, wants_sound=asked.wants_sound))  # noqa: E731
    return TaskPlan(model, work, options.stream, rows=len(asked.rows or ()))


def plan_pipeline(request: Request, registry: Registry, limits: Limits) -> TaskPlan:
    """Read a request to a pipeline. Raises InvalidInput, UnsupportedMedia, UnknownModel, NotReady."""
    asked, options = _read(request, limits)
    pipeline = find_pipeline(registry, options.model, options.wanted_version, request)
    return pipelines.make_plan(pipeline, options, asked, registry, limits)


def _read(request: Request, limits: Limits) -> tuple[TaskRequest, Any]:
    """A request to a task route, and its options. Raises InvalidInput, UnsupportedMedia."""
    route, headers = request.endpoint.route, request.headers
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    accept = headers.get(b"accept", b"").decode("latin-1")
    asked = read_request(request.body, content_type, request.query, accept)
    if asked.wants_sound and route not in _ANSWER_SOUND:
        raise InvalidInput(f"accept: audio/wav: {route} answers no sounds: ask for JSON")
    if asked.rows:
        check_count(asked.rows, limits.max_rows)  # here, because the thread that has read the rows must free them
    return asked, ROUTES[route].Options.parse(asked.fields, asked.loose)


PLANNERS: Mapping[str, Planner] = {
    **dict.fromkeys(ROUTES, plan_task),
    pipelines.ROUTE: plan_pipeline,
    **generate_routes.PLANNERS,
    **kserve.PLANNERS,
    **embeddings.PLANNERS,
}
"""Route that runs a task -> the function that reads its requests."""


class TaskRunner:
    """Runs the tasks of a worker."""

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
        if takes_long(request.body):
            responder.run_in_thread(read, functools.partial(self.begin, responder))
        else:
            self.begin(responder, read())

    def begin(self, responder: Responder, plan: TaskPlan) -> None:
        """Begin a planned task. Raises Draining."""
        self._check_draining()  # again: to read a large body takes a while
        model = plan.model
        if model.is_closed or any(step.is_closed for step in plan.steps.values()):
            responder.go_on_late()  # a version left service while a thread read the body: plan again
            return
        responder.model_name, responder.version = model.name, model.version
        responder.rows = plan.rows
        run = (
            PipelineRun(self, responder, plan, model) if isinstance(model, Pipeline) else TaskRun(self, responder, plan)
        )
        responder.cancel_work = run.cancel
        self._open.add(run)
        run.start()

    def _check_draining(self) -> None:
        if self._is_draining:
            raise Draining("the server is stopping")

    def ended(self, run: TaskRun) -> None:
        self._open.discard(run)
        self._run_ended.set()  # wake everyone who waits
        self._run_ended.clear()

    def use(self, model: Served) -> bool:
        """Whether an open task uses this version."""
        return any(run.uses(model) for run in self._open)

    async def release(self, model: Served) -> None:
        """Return when no open task uses this version. Between two runs of a task its graphs may be idle."""
        while self.use(model):
            await self._run_ended.wait()

    async def drain(self) -> None:
        """Refuse new tasks, and return when the open ones have ended. Graphs must accept runs until then."""
        self._is_draining = True
        while self._open:
            await self._run_ended.wait()
