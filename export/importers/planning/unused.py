"""Refuses options that would have no effect: whoever gives an option expects one."""

from export.errors import SpecError
from export.importers.changes.texts import FillPositions
from export.importers.planning.draft import Draft
from export.importers.planning.sounds import TASKS as SOUNDS
from export.importers.planning.texts import TASKS as TEXTS

_PICTURES = ("classify", "detect", "embed", "segment", "regress", "predict_sequence")
_USED_BY = {
    "output": ("classify", "embed", "segment", "regress", "predict_sequence"),
    "activation": ("classify", "detect", "predict_sequence"),
    "multi_label": ("classify",),
    "threshold": ("classify", "detect", "embed", "segment"),
    "ignored": ("segment",),
    "picture": _PICTURES,
    "sound": SOUNDS,
    "boxes": ("detect",),
    "vectors": ("embed",),
    "texts": TEXTS,
    "reading": ("predict_sequence",),
}
"""The tasks by the fact's path, or its first part."""
_ONLY_ROWS = {"detect": "pictures", "segment": "pictures", "tensors": "numbers"}
"""Tasks with rows of one kind."""
_TO_FREE_SIZES = ("picture.input", "picture.layout", "picture.channels")
"""What --free-sizes reads for every task."""
_DECODED = ("boxes.scores", "boxes.classes", "boxes.format", "boxes.units", "boxes.background", "activation")
"""What a layout of boxes says already."""
_POINTS = ("boxes.point_size", "boxes.point_names")
_SCORES = ("output", "activation", "multi_label", "threshold")


def refuse_other_tasks(draft: Draft) -> None:
    """Raise SpecError for options that the task cannot use."""
    ledger = draft.ledger
    task = ledger.get("task")
    for path in sorted(draft.said):
        tasks = _USED_BY.get(path, _USED_BY.get(path.partition(".")[0], ()))
        if task not in _PICTURES and path in _TO_FREE_SIZES and ledger.get("free_sizes"):
            continue
        if tasks and task not in tasks:
            advice = f"leave it out, or give --task {' or '.join(tasks)}"
            _refuse(draft, path, f"the task {task} has no use for it", advice)
    only = _ONLY_ROWS.get(task)
    if "rows" in draft.said and only is not None and ledger.get("rows") != only:
        _refuse(draft, "rows", f"the task {task} has no rows of {ledger.get('rows')}", "leave it out")
    if ledger.get("boxes.layout") is not None:
        for path in sorted(draft.said & set(_DECODED)):
            why = f"the layout {ledger.get('boxes.layout')} ({ledger.origin('boxes.layout')}) says it already"
            _refuse(draft, path, why, "leave it out")


def refuse_unused(draft: Draft) -> None:
    """Raise SpecError for options that the finished plan does not use."""
    classes, detection = draft.fields.get("classes"), draft.fields.get("detection")
    for path in sorted(draft.said):
        if path == "threshold" and classes is not None and not classes.multi_label:
            advice = "leave it out, or give --multi-label if a row may have several labels"
            _refuse(draft, path, "a model of one label for each row has no threshold", advice)
        if path in _SCORES and "classes" in draft.found.more:
            _refuse(draft, path, f"{draft.found.kind} says it already", "leave it out")
        if path in _POINTS and detection is not None and detection.points is None:
            _refuse(draft, path, "the boxes of this model have no points", "leave it out")
        if path.startswith("texts.") and "tokens" not in draft.fields:
            _refuse(draft, path, f"the model's rows are {draft.ledger.get('rows') or 'no texts'}", "leave it out")
        if path == "texts.first_position" and not any(isinstance(change, FillPositions) for change in draft.changes):
            _refuse(draft, path, "the graph takes no positions", "leave it out")
        takes_pictures = "image" in draft.fields or draft.ledger.get("task") not in _PICTURES
        if (path.startswith("picture.") or path == "free_sizes") and not takes_pictures:
            rows = draft.ledger.get("rows") or "numbers"
            _refuse(draft, path, f"the model's rows are {rows}, not pictures", "leave it out")


def _refuse(draft: Draft, path: str, why: str, advice: str) -> None:
    raise SpecError(f"{draft.name}: {draft.ledger.origin(path)}: {why}: {advice}")
