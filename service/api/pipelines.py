"""The route of pipelines: a request drives the coroutines of its steps side by side.

Rules
- The coroutine of the pipeline begins steps (``BeginStep``), and waits until one ends (``AwaitStep``).
- All steps share the deadline of the request. One timer watches it while the pipeline waits.
- If a step fails, or the request is cancelled, all steps end.
- A request runs on the versions that were in service when it began. They stay until it ends.
"""

import functools
import time
from collections import deque

from service.api.handler import Responder
from service.api.steps import find_steps
from service.api.task_plan import TaskPlan
from service.api.task_run import Runs, TaskDriver, TaskRun
from service.codecs.model_context import ModelContext
from service.errors import DeadlinePassed, ServiceError
from service.models.pipeline import Pipeline
from service.models.registry import Registry
from service.tasks.pipelines import pipeline as task
from service.tasks.pipelines.values import gather_files
from service.tasks.request import TaskRequest
from service.tasks.work import Awaited, AwaitStep, BeginStep, Call, Limits, Result, StepEnd

ROUTE = f"/{task.NAME}"


def make_plan(
    pipeline: Pipeline, options: task.Options, asked: TaskRequest, registry: Registry, limits: Limits
) -> TaskPlan:
    """The plan of a request to a pipeline. Raises UnknownModel and NotReady, which name the step."""
    models = find_steps(registry, pipeline)
    rows, steps = asked.rows, pipeline.steps
    if asked.names and rows and steps.fields:
        rows = [gather_files(rows, asked.names, steps.fields, steps.lists)]
    contexts = {name: model.context for name, model in models.items()}
    context = ModelContext(pipeline.name, pipeline.version, pipeline.manifest)
    call = functools.partial(Call, options, rows, context, limits, asked.wants_picture)
    return TaskPlan(
        pipeline,
        lambda emit: task.work(call(emit), pipeline.steps, contexts),
        options.stream,
        steps=models,
        rows=len(rows or ()),
    )


class PipelineRun(TaskRun):
    """A request to a pipeline in progress."""

    __slots__ = ("_ended", "_is_waiting", "_pipeline", "_steps")

    def __init__(self, runs: Runs, responder: Responder, plan: TaskPlan, pipeline: Pipeline) -> None:
        super().__init__(runs, responder, plan)
        self._pipeline = pipeline
        self._steps: dict[str, _StepDriver] = {}
        self._ended: deque[StepEnd] = deque()
        self._is_waiting = False

    def _ask(self, wanted: Awaited) -> None:
        if isinstance(wanted, BeginStep):
            driver = _StepDriver(self, wanted)
            self._steps[wanted.step] = driver
            driver.begin(wanted.work)
            self._go_on(None)
        elif not isinstance(wanted, AwaitStep):
            super()._ask(wanted)
        elif self._ended:
            self._go_on(self._ended.popleft())
        else:
            left_s = self._responder.left_s()
            running = " or ".join(self._steps)
            if left_s <= 0:
                raise DeadlinePassed(f"step {running}: the deadline passed before it was done")
            self._is_waiting = True
            self._wait_at_most(left_s, f"step {running} was done")

    def step_ended(self, step: str, end: StepEnd, batch_s: float, batch_rows: int) -> None:
        """Add the times of the step, and go on if the pipeline waits."""
        del self._steps[step]
        self.queue_s += end.queue_s
        self.batch_s += batch_s
        self.batch_rows = max(self.batch_rows, batch_rows)
        self.compute_s += end.compute_s
        self._pipeline.count(step, end.total_s)
        if not self._is_waiting:
            self._ended.append(end)
            return
        self._is_waiting = False
        self._stop_waiting()
        self._go_on(end)

    def step_failed(self, step: str, error: Exception) -> None:
        """End all steps and the request."""
        self._steps.pop(step, None)
        self._fail(error)

    def _close(self) -> None:
        steps, self._steps = self._steps, {}
        for driver in steps.values():
            driver.cancel()
        self._ended.clear()
        super()._close()


class _StepDriver(TaskDriver):
    """A step in progress."""

    __slots__ = ("_began", "_run", "_wanted")

    def __init__(self, run: PipelineRun, wanted: BeginStep) -> None:
        super().__init__(run._runs, run._responder, run._plan.steps.get(wanted.step))
        if self.trace is not None:
            self.trace = self.trace.begin(f"step {wanted.step}")
        self._run = run
        self._wanted = wanted
        self._began = time.perf_counter()

    def _wait_at_most(self, left_s: float, what: str) -> None:
        """A step has no timer: that of the pipeline watches the deadline."""

    def _stop_waiting(self) -> None:
        """A step has no timer."""

    def _done(self, result: Result) -> None:
        self._close()
        seconds = time.perf_counter() - self._began
        self._end_trace()
        end = StepEnd(self._wanted.step, result, self.queue_s, self.compute_s, seconds)
        self._run.step_ended(self._wanted.step, end, self.batch_s, self.batch_rows)

    def _fail(self, error: Exception) -> None:
        self._close()
        self._end_trace(error.reason if isinstance(error, ServiceError) else ServiceError.reason)
        if isinstance(error, ServiceError):
            error = self._wanted.tell(error)
        else:
            error.add_note(f"in step {self._wanted.step}")
        self._run.step_failed(self._wanted.step, error)

    def _end_trace(self, reason: str = "") -> None:
        if self.trace is not None:
            model = "" if self.model is None else self.model.name
            self.trace.end(model=model, queue_s=self.queue_s, compute_s=self.compute_s, reason=reason)
