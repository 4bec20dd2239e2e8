"""pipeline: rows through several models, each step batched in its own model's queue."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from model_store.pictures.cutting import Cut
from service.codecs.model_context import ModelContext, known
from service.codecs.pictures.writer import as_image, write_png
from service.errors import InvalidInput, ServiceError
from service.tasks.pipelines.compare import compare
from service.tasks.pipelines.crop import crop
from service.tasks.pipelines.faults import tell_fault
from service.tasks.pipelines.flow import Flow
from service.tasks.pipelines.steps import TASKS, PipelineSteps
from service.tasks.pipelines.values import Places, StepWires, Taken, Values, check_rows
from service.tasks.request import TaskOptions
from service.tasks.work import AwaitStep, BeginStep, Call, Result, RunInThread, StepEnd, Work

NAME = "pipeline"


class Options(TaskOptions):
    """The fields of a request besides its rows."""

    timings: bool = False
    """answer with the rows and seconds of each step too"""


async def work(call: Call[Options], steps: PipelineSteps, models: Mapping[str, ModelContext]) -> Result:
    """``{"model", "version", "predictions": [{output: value}], "timings"?: {step: {"rows", "queue_s", "compute_s",
    "total_s"}}}``.

    ``models`` has the model of each step that has one. Events: the step that has ended, and how many rows it had.
    """
    if call.wants_picture:
        raise InvalidInput("accept: image/png: a pipeline has no picture of its answer: ask for JSON")
    rows = call.rows
    if not rows or len(rows) > call.limits.max_rows:
        raise InvalidInput(f"inputs: expected an array of 1 to {call.limits.max_rows} rows, got {len(rows or ())}")
    check_rows(rows, steps.fields)
    timings: dict[str, dict[str, Any]] = {}
    with call.limits.room.open() as take:
        run = _Run(call, steps, models, Values(steps.facts, rows), take)
        while not run.flow.is_done:
            for name in run.flow.take():
                begin = run.prepare(name)
                if begin is None:
                    run.flow.end(name)
                    timings[name] = {"rows": 0, "queue_s": 0.0, "compute_s": 0.0, "total_s": 0.0}
                else:
                    await begin
            if run.flow.running:
                end = await AwaitStep()
                count = run.put(end)
                timings[end.step] = {"rows": count, **{f: getattr(end, f) for f in ("queue_s", "compute_s", "total_s")}}
                if call.emit is not None:
                    call.emit({"step": end.step, "rows": count})
        outputs = run.values.outputs()
        if steps.answers_pictures:
            outputs = await RunInThread(lambda: _show(outputs))
    more = {"timings": {name: timings[name] for name in steps.facts.steps}} if call.options.timings else {}
    return call.answer(run.is_large, predictions=outputs, **more)


def _show(value: Any) -> Any:
    """The value with PNG files in place of pictures."""
    if isinstance(value, Cut):
        return as_image(write_png(value.take()))
    if isinstance(value, list):
        return [_show(element) for element in value]
    return {name: _show(element) for name, element in value.items()} if isinstance(value, dict) else value


async def _answer(work: Awaitable[Any]) -> Result:
    """The work of an operation, as that of a task."""
    return Result(await work)


class _Run:
    """The steps of one request."""

    def __init__(
        self,
        call: Call[Options],
        steps: PipelineSteps,
        models: Mapping[str, ModelContext],
        values: Values,
        take: Callable[[int], None],
    ) -> None:
        self.flow = Flow(steps.needs)
        self.values = values
        self._call = call
        self._steps = steps
        self._models = models
        self._take = take
        self._taken: dict[str, Taken | list[int]] = {}
        self.is_large = steps.answers_pictures
        """Whether the answer may take long to write."""

    def prepare(self, name: str) -> BeginStep | None:
        """How to begin a step; None where none of the rows needs it. Raises ServiceError, naming the step."""
        wires = self._steps.wires[name]
        try:
            begun = self._begin(name, wires)
        except ServiceError as error:
            raise tell_fault(name, wires, (), error) from error
        if begun is None:
            return None
        work, places = begun
        return BeginStep(name, work, functools.partial(tell_fault, name, wires, places))

    def _begin(self, name: str, wires: StepWires) -> tuple[Work, Places] | None:
        step, call = wires.step, self._call
        if step.model is not None:
            taken = self.values.take(name, wires)
            if not taken.rows:
                return None
            self._taken[name] = taken
            of_step = Call(self._steps.options[name], taken.rows, self._models[name], call.limits, owns_rows=False)
            return TASKS[str(step.task)].work(of_step), taken.places
        rows, operands = self.values.take_operands(name, wires)
        if not rows:
            return None
        self._taken[name] = rows
        if step.do == "crop":
            return _answer(crop(wires, rows, operands, call.limits, self._take)), ()
        facts = known(self._models[self._steps.metrics_of[name]].manifest.embedding)
        return _answer(compare(wires, rows, operands, facts)), ()

    def put(self, end: StepEnd) -> int:
        """Keep what a step answered. Returns how many rows it had."""
        self.flow.end(end.step)
        taken = self._taken.pop(end.step)
        self.is_large = self.is_large or end.result.is_large
        if isinstance(taken, Taken):
            self.values.put(end.step, taken, end.result.body["predictions"])
            return len(taken.rows)
        self.values.put_results(end.step, taken, end.result.body)
        return len(taken)
