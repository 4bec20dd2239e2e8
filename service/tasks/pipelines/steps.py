"""The steps of a pipeline in service: tasks with their options, and parsed wires."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model_store.pipelines.names import suggest
from model_store.pipelines.order import fields_of_rows
from model_store.pipelines.wires import parse_wire
from model_store.tasks import Pipeline
from service.errors import InvalidInput
from service.tasks import classify, detect, embed, regress, segment
from service.tasks.pipelines.flow import find_needs
from service.tasks.pipelines.values import StepWires, parse_step
from service.tasks.reconstruction import reconstruct
from service.tasks.request import TaskOptions
from service.tasks.sequences import sequence

TASKS: Mapping[str, Any] = {
    module.NAME: module for module in (classify, detect, embed, regress, segment, sequence, reconstruct)
}
"""Name -> module of each task that a step can do."""


@dataclass(frozen=True, slots=True)
class PipelineSteps:
    """What is known about a pipeline before there is a request."""

    facts: Pipeline
    needs: Mapping[str, frozenset[str]]
    wires: Mapping[str, StepWires]
    options: Mapping[str, TaskOptions]
    """For each step that has a model."""
    metrics_of: Mapping[str, str]
    """For each step that compares vectors: the step whose model defines the metric."""
    fields: tuple[str, ...]
    """The fields of a row; none if a row is a single value."""
    lists: frozenset[str]
    """The fields that are lists."""
    answers_pictures: bool
    """Whether an output has parts of pictures."""


def read_steps(facts: Pipeline) -> PipelineSteps:
    """Raises InvalidInput, which names the step, for options that its task does not have."""
    options = {}
    for name, step in facts.steps.items():
        if step.model is not None:
            task = TASKS[str(step.task)]
            if unknown := sorted(step.options.keys() - set(task.Options.own())):
                known = suggest(unknown[0], task.Options.own())
                raise InvalidInput(f"steps.{name}.options: {task.NAME} has no option {unknown[0]!r:.60}{known}")
            try:
                options[name] = task.Options.parse(step.options)
            except InvalidInput as error:
                raise InvalidInput(f"steps.{name}.options.{error}") from None
    wires = {name: parse_step(step) for name, step in facts.steps.items()}
    return PipelineSteps(
        facts=facts,
        needs=find_needs(facts),
        wires=wires,
        options=options,
        metrics_of={name: parse_wire(s.vectors).source for name, s in facts.steps.items() if s.vectors is not None},
        fields=tuple(fields_of_rows(facts)),
        lists=frozenset(_find_lists(wires)),
        answers_pictures=any(facts.steps[parse_wire(wire).source].do == "crop" for wire in facts.outputs.values()),
    )


def _find_lists(steps: Mapping[str, StepWires]) -> Iterator[str]:
    """The fields of a row that a step takes as a list."""
    for step in steps.values():
        lists = (step.each, *(step.others[1:] if step.step.do == "crop" else step.others))
        yield from (str(wire.path[0]) for wire in lists if wire is not None and wire.is_of_request and wire.path)
