"""The plan of an import: every fact with its origin, the changes of the graph, and the description that follows.

It reads and writes nothing but files of labels. What is neither said nor measured is guessed and shown as a guess; what
would be dangerous to guess, such as the scaling of pictures or the order of labels, is asked for in one error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from export.errors import SpecError
from export.importers.changes.change import Change
from export.importers.facts import Fact, Facts, Ledger
from export.importers.flags import show_flag
from export.importers.labels import read_labels
from export.importers.options import list_paths
from export.importers.planning.detection import plan_detection
from export.importers.planning.draft import Draft
from export.importers.planning.pictures import plan_picture
from export.importers.planning.rows import plan_classes, plan_masks, plan_numbers, plan_vectors
from export.importers.sources.source import Found
from export.spec.description import ModelDescription
from model_store.manifest import Batching, describe

_TASKS = {
    "classify": plan_classes,
    "detect": plan_detection,
    "embed": plan_vectors,
    "segment": plan_masks,
    "regress": plan_numbers,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What an import will do."""

    kind: str
    facts: Mapping[str, Fact]
    """By path, in the order in which they are shown."""
    changes: tuple[Change, ...]
    """Of the graph, in order."""
    description: ModelDescription
    notes: tuple[str, ...]

    def get(self, path: str) -> Any:
        """The value of a fact; None if there is none."""
        return self.facts[path].value if path in self.facts else None


def make_plan(found: Found, layers: Sequence[Facts]) -> Plan:
    """Plan the import of what a source gave. ``layers`` are what a person says, what counts most first.

    Raises MissingFacts, which lists the options to give, and SpecError for facts that contradict the graph.
    """
    ledger = Ledger.merge([*layers, found.facts])
    if ledger.get("name") is None:
        raise SpecError(f"the model has no name: give {show_flag('name')}")
    draft = Draft(ledger, found)
    _plan_task(draft)
    if isinstance(given := ledger.get("labels"), str):
        ledger.replace("labels", read_labels(given))
    plan_picture(draft)
    task = ledger.get("task")
    if task in _TASKS:
        _TASKS[task](draft)
    draft.drop_outputs()
    ledger.check_complete(draft.name)
    return Plan(
        kind=found.kind,
        facts={path: ledger.facts[path] for path in list_paths() if path in ledger.facts},
        changes=(*found.changes, *draft.changes),
        description=_describe(draft, found),
        notes=(*found.notes, *draft.notes),
    )


def _plan_task(draft: Draft) -> None:
    ledger = draft.ledger
    if ledger.get("task") is not None:
        task = ledger.get("task")
        if task not in (*_TASKS, "tensors") and not draft.found.more:
            raise SpecError(
                f"{draft.name}: task {task}: expected one of {', '.join(_TASKS)}, tensors: describe other tasks in an "
                "OnnxSpec, and publish it by `sluice export`"
            )
    elif ledger.get("boxes.boxes") is not None or ledger.get("boxes.layout") is not None:
        ledger.guess("task", "detect", "an output with boxes, or their layout, is named")
    elif ledger.get("labels") is not None:
        ledger.guess("task", "classify", "labels are given")
    else:
        ledger.guess("task", "tensors", f"nothing says what the model is for; {show_flag('task')} says it")


def _describe(draft: Draft, found: Found) -> ModelDescription:
    ledger = draft.ledger
    said = {field: ledger.get(field) for field in ("name", "task", "licence", "data")}
    labels = ledger.get("labels") or ()
    try:
        batching = Batching(max_rows=ledger.get("max_rows"))
    except ValidationError as error:
        raise SpecError(f"{draft.name}: {describe(error)}") from None
    fields = {"labels": labels, "description": ledger.get("description") or "", "batching": batching}
    return ModelDescription(**{**said, **fields, **draft.fields, **found.more})
