"""pipeline: sends rows through several models. Each step is batched in the queue of its own model."""

import functools
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from model_store.pictures.cutting import Cut
from service.codecs.model_context import ModelContext, known
from service.codecs.pictures.writer import as_image, write_png
from service.codecs.rows import check_count
from service.errors import BodyTooLarge, Cancelled, InvalidInput, ServiceError
from service.tasks.pipelines.compare import compare
from service.tasks.pipelines.crop import crop
from service.tasks.pipelines.faults import tell_fault
from service.tasks.pipelines.flow import Flow
from service.tasks.pipelines.steps import TASKS, PipelineSteps
from service.tasks.pipelines.values import VALUE_BYTES, Places, StepWires, Taken, Values, check_rows
from service.tasks.request import TaskOptions
from service.tasks.work import AwaitStep, BeginStep, Call, IsOver, Result, StepEnd, Work, run_in_thread, run_stoppable

NAME = "pipeline"
_MOST_WRITTEN = 1
"""The pictures of an answer may have this many times the pixels of the largest picture of a request."""


class Options(TaskOptions):
    """The fields of a request besides its rows."""

    timings: bool = False
    """answer with the rows and seconds of each step too"""


async def work(call: Call[Options], steps: PipelineSteps, models: Mapping[str, ModelContext]) -> Result:
    """``{"model", "version", "predictions": [{output: value}], "timings"?: {step: {"rows", "queue_s", "compute_s",
    "total_s"}}}``.

    ``models`` has the model of each step that has one. Events: a step that has ended, and its number of rows.
    """
    if call.wants_picture:
        raise InvalidInput("accept: image/png: a pipeline has no picture of its answer: ask for JSON")
    rows = call.rows or []
    check_count(rows, call.limits.max_rows)
    await run_in_thread(lambda: check_rows(rows, steps.fields), len(rows) * VALUE_BYTES)
    timings: dict[str, dict[str, Any]] = {}
    with call.limits.room.open() as take:
        run = _Run(call, steps, models, Values(steps.facts, rows), take)
        while not run.flow.is_done:
            for name in run.flow.take():
                begin = await run.prepare(name)
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
        outputs = await run_in_thread(run.values.outputs, run.values.weigh_outputs())
        if steps.answers_pictures:
            outputs = await _write_pictures(outputs, _MOST_WRITTEN * call.limits.max_pixels)
    more = {"timings": {name: timings[name] for name in steps.facts.steps}} if call.options.timings else {}
    return call.answer(run.is_large, predictions=outputs, **more)


async def _write_pictures(outputs: Any, most_pixels: int) -> Any:
    """The outputs, with pictures as PNG files. Raises BodyTooLarge for more than ``most_pixels`` pixels."""

    def write(is_over: IsOver) -> Any:
        pixels = sum(math.prod(part.size) for part in _find_cuts(outputs))
        if pixels > most_pixels:
            raise BodyTooLarge(
                f"expected parts of at most {most_pixels} pixels together, which the answer shows, got {pixels}: send "
                "fewer boxes"
            )
        return _show(outputs, is_over)

    return await run_stoppable(write)


def _find_cuts(value: Any) -> Iterator[Cut]:
    if isinstance(value, Cut):
        yield value
    elif isinstance(value, list | dict):
        for element in value.values() if isinstance(value, dict) else value:
            yield from _find_cuts(element)


def _show(value: Any, is_over: IsOver) -> Any:
    if isinstance(value, Cut):
        if is_over():
            raise Cancelled("nobody waits for the pictures any more")
        return as_image(write_png(value.take()))
    if isinstance(value, list):
        return [_show(element, is_over) for element in value]
    return {name: _show(element, is_over) for name, element in value.items()} if isinstance(value, dict) else value


async def _answer(work: Awaitable[Any]) -> Result:
    """The result of an operation in the form of a task's result."""
    return Result({"predictions": await work})


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
        self._taken: dict[str, Taken] = {}
        self.is_large = steps.answers_pictures
        """Whether the answer may be slow to write."""

    async def prepare(self, name: str) -> BeginStep | None:
        """How to begin a step; None if no row needs it. Raises ServiceError, which names the step."""
        wires = self._steps.wires[name]
        begun = await self._begin(name, wires)
        if begun is None:
            return None
        work, places = begun
        return BeginStep(name, work, functools.partial(tell_fault, name, wires, places))

    async def _begin(self, name: str, wires: StepWires) -> tuple[Work, Places] | None:
        step, call, values = wires.step, self._call, self.values
        taken = await self._look(name, wires, values.take_operands if step.model is None else values.take)
        if not taken.rows:
            return None
        self._taken[name] = taken
        if step.model is not None:
            of_step = Call(self._steps.options[name], taken.rows, self._models[name], call.limits, owns_rows=False)
            return TASKS[str(step.task)].work(of_step), taken.places
        rows = [at for at, _ in taken.places]
        if step.do == "crop":
            return _answer(crop(wires, rows, taken.rows, call.limits, self._take)), ()
        facts = known(self._models[self._steps.metrics_of[name]].manifest.embedding)
        return _answer(compare(wires, rows, taken.rows, facts)), ()

    async def _look(self, name: str, wires: StepWires, take: Callable[[str, StepWires], Taken]) -> Taken:
        """The rows of a step."""

        def look() -> Taken:
            try:
                return take(name, wires)
            except ServiceError as error:
                raise tell_fault(name, wires, (), error) from error

        return await run_in_thread(look, self.values.weigh_step(wires))

    def put(self, end: StepEnd) -> int:
        """Store the answer of a step. Returns its number of rows."""
        self.flow.end(end.step)
        taken = self._taken.pop(end.step)
        self.is_large = self.is_large or end.result.is_large
        self.values.put(end.step, taken, end.result.body["predictions"])
        return len(taken.rows)
