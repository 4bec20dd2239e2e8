"""The plan of an import: every fact with its origin, the changes of the graph, and the resulting description.

Planning writes nothing, and reads only the files that facts name: labels, symbols and a tokenizer. A fact that is
neither given nor measured is guessed, and shown as a guess. If a guess would be dangerous, as for the scaling of
pictures or the order of labels, one error asks for all such facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from export.errors import SpecError
from export.importers.changes.change import Change
from export.importers.changes.classes import AddProbabilities
from export.importers.changes.shapes import FixDefaults
from export.importers.facts import Fact, Facts, Ledger, value_of
from export.importers.labels import find_twice, read_labels
from export.importers.options import list_paths
from export.importers.planning.detection import plan_detection
from export.importers.planning.draft import Draft
from export.importers.planning.pictures import plan_picture
from export.importers.planning.reading import plan_reading
from export.importers.planning.rows import plan_classes, plan_masks, plan_numbers, plan_vectors
from export.importers.planning.sounds import plan_sound
from export.importers.planning.texts import plan_texts
from export.importers.planning.unused import refuse_other_tasks, refuse_unused
from export.importers.sources.source import Found, OnnxModel
from export.spec.description import ModelDescription
from model_store.graph import MAIN, Graph, Tensor
from model_store.manifest import Batching, Manifest, describe

_TASKS = {
    "classify": plan_classes,
    "detect": plan_detection,
    "embed": plan_vectors,
    "segment": plan_masks,
    "regress": plan_numbers,
    "predict_sequence": plan_reading,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What an import will do."""

    kind: str
    graph: Graph
    """Its inputs and outputs before the changes."""
    inputs: tuple[Tensor, ...]
    """Its inputs after the changes."""
    facts: Mapping[str, Fact]
    """Every fact by its path, in the order in which they are shown."""
    changes: tuple[Change, ...]
    """The changes of the graph, in order."""
    description: ModelDescription
    notes: tuple[str, ...]

    def get(self, path: str) -> Any:
        """The value of a fact; None if there is none."""
        return value_of(self.facts, path)


def make_plan(found: Found, layers: Sequence[Facts]) -> Plan:
    """Plan the import of what a source found. ``layers`` are the facts that a person gives; the first layer wins.

    Raises MissingFacts, which lists the options to give, and SpecError for facts that contradict the graph and options
    that would have no effect.
    """
    ledger = Ledger.merge([*layers, found.facts])
    if ledger.get("name") is None:
        raise SpecError("the model has no name: give --name")
    draft = Draft(ledger, found, frozenset(path for layer in layers for path in layer))
    _plan_task(draft)
    refuse_other_tasks(draft)
    _fix_defaults(draft)
    _read_labels(draft)
    plan_sound(draft)
    plan_texts(draft)
    if "tokens" not in draft.fields:
        plan_picture(draft)
    task = ledger.get("task")
    if task in _TASKS:
        _TASKS[task](draft)
    _refuse_changes(draft)
    draft.drop_outputs()
    ledger.check_complete(draft.name, (*found.notes, *draft.notes))
    refuse_unused(draft)
    description = _describe(draft)
    _check(draft, description)
    return Plan(
        kind=found.kind,
        graph=found.model.graph,
        inputs=tuple(draft.inputs),
        facts={path: ledger.facts[path] for path in list_paths() if path in ledger.facts},
        changes=(*found.changes, *draft.changes),
        description=description,
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
        ledger.guess("task", "tensors", "nothing says what the model is for; give --task")


def _read_labels(draft: Draft) -> None:
    """Read a file of labels. Duplicate labels are an error if a person gives them, and a note if a source does."""
    ledger = draft.ledger
    if isinstance(given := ledger.get("labels"), str):
        ledger.replace("labels", read_labels(given))
    twice = find_twice(ledger.get("labels") or ())
    if not twice:
        return
    where = f"{ledger.origin('labels')}: the label {twice[0]!r} occurs more than once"
    if "labels" in draft.said:
        raise SpecError(f"{draft.name}: {where}: expected different names, so that callers can tell labels apart")
    draft.notes.append(f"{where}: callers cannot tell which is meant; --labels gives other names")


def _refuse_changes(draft: Draft) -> None:
    """Raise SpecError for changes of a PyTorch model: its export gives the outputs that the manifest describes."""
    if isinstance(draft.found.model, OnnxModel):
        return
    others = [str(change) for change in draft.changes if not isinstance(change, AddProbabilities)]
    if others:
        raise SpecError(
            f"{draft.name}: options ask for a change that the export of a PyTorch model does not need ({others[0]}): "
            "leave them out"
        )


def _fix_defaults(draft: Draft) -> None:
    """Make inputs with defaults constant: callers of a task never send them."""
    names = [tensor.name for tensor in draft.inputs if tensor.optional]
    if names and draft.ledger.get("task") != "tensors" and isinstance(draft.found.model, OnnxModel):
        draft.changes.append(FixDefaults(names))
        draft.inputs = [tensor for tensor in draft.inputs if not tensor.optional]


def _describe(draft: Draft) -> ModelDescription:
    ledger = draft.ledger
    return ModelDescription(
        name=draft.name,
        task=ledger.get("task"),
        labels=ledger.get("labels") or (),
        batching=draft.make(Batching, "batching", max_rows=ledger.get("max_rows")),
        licence=ledger.get("licence"),
        description=ledger.get("description") or "",
        data=ledger.get("data"),
        **draft.fields,
        **draft.found.more,
    )


def _check(draft: Draft, description: ModelDescription) -> None:
    """Raise SpecError if the description does not fit the changed graph, assuming that its rows are on axis 0."""
    if description.task == "tensors":
        return

    def place(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(t.model_copy(update={"batch_axis": 0}) if t.shape else t for t in tensors)

    kept = [tensor for tensor in draft.outputs if not draft.answers or tensor.name in draft.answers]
    graph = Graph(file="main.onnx", inputs=place(draft.inputs), outputs=place(kept))
    try:
        Manifest(**description.in_manifest(), graphs={MAIN: graph})
    except ValidationError as error:
        raise SpecError(f"{draft.name}: the graph does not fit its description: {describe(error)}") from None
