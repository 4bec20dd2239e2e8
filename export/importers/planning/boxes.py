"""Boxes, their scores and their labels."""

from collections.abc import Sequence
from typing import cast

from export.errors import SpecError
from export.importers.changes.boxes import (
    Background,
    BestLabels,
    FixCandidates,
    Form,
    LabelScores,
    ToCorners,
    WholeClasses,
)
from export.importers.changes.shapes import AddBatchAxis
from export.importers.flags import show_flag
from export.importers.planning.draft import FLOATS, SIDES, Draft, ask_labels, resize, show
from export.importers.planning.rows import PROBABLE
from model_store.graph import Tensor
from model_store.tasks import Detection

_BOXES = ("boxes", "pred_boxes", "bboxes", "detection_boxes")
_SCORES = ("scores", "logits", "confidences", "detection_scores", "probabilities")
_CLASSES = ("classes", "labels", "class_ids", "detection_classes")
_MOST_FOUND = 300
"""Candidates of a graph that returns as many boxes as it finds."""


def plan_boxes(draft: Draft) -> None:
    """Find the outputs with boxes, scores and labels, and plan how they get the form of the manifest."""
    ledger = draft.ledger
    ask_labels(draft, "boxes")
    boxes = _find(draft, "boxes.boxes", _BOXES)
    scores = _find(draft, "boxes.scores", _SCORES)
    classes = _find(draft, "boxes.classes", _CLASSES, required=False)
    _ask_form(draft, boxes)
    if boxes is None or scores is None or ledger.missing:
        return
    boxes, scores, classes = _add_batch(draft, boxes, scores, classes)
    if len(boxes.shape) != 3 or boxes.shape[2] != 4 or len(scores.shape) not in (2, 3):
        raise SpecError(
            f"{draft.name}: expected boxes [batch, candidates, 4] and scores [batch, candidates, labels] or [batch, "
            f"candidates], got {show([boxes, scores])}"
        )
    scores, classes = _plan_scores(draft, scores, classes)
    boxes = _plan_form(draft, boxes)
    if ledger.missing:
        return
    if _counts_by_content(draft, boxes):
        scores, classes = _fix_count(draft, boxes, scores, classes)
    describe_boxes(draft, boxes=boxes.name, scores=scores.name, classes=classes.name if classes else None)


def pick_labels(draft: Draft, scores: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The best score of each candidate, an output that is called ``name`` if that is free, and its label."""
    best = resize(scores, draft.choose_name(name), scores.shape[:2])
    labels = resize(scores, draft.choose_name("classes"), scores.shape[:2], "INT64")
    draft.change(BestLabels(scores.name, best.name, labels.name), scores.name, best, labels)
    return best, labels


def describe_boxes(draft: Draft, **outputs: str | None) -> None:
    """Set ``detection``. ``outputs`` are its fields that name outputs."""
    ledger = draft.ledger
    draft.answers |= {name for name in outputs.values() if name is not None}
    overlap = ledger.guess("boxes.overlap", 0.45, "the usual limit; none if the graph gives final boxes")
    facts = draft.make(
        Detection,
        "boxes",
        **outputs,
        point_names=ledger.get("boxes.point_names") if outputs.get("points") is not None else None,
        threshold=ledger.get("threshold"),
        across_labels=ledger.get("boxes.across_labels"),
        max_detections=ledger.get("boxes.max_detections"),
    )
    overlap = None if overlap == "none" else overlap
    draft.fields["detection"] = facts.model_copy(update={"overlap": overlap})


def _find(draft: Draft, path: str, usual: Sequence[str], required: bool = True) -> Tensor | None:
    """The output that a person names, or the one with a usual name."""
    ledger = draft.ledger
    said = ledger.get(path)
    if said is not None:
        return draft.find(said, path)
    found = [tensor for tensor in draft.outputs if tensor.name.lower() in usual]
    if len(found) == 1:
        ledger.guess(path, found[0].name, "its name")
        return found[0]
    if required:
        what = path.partition(".")[2]
        ledger.ask(f"which output has the {what}: {show(draft.outputs)}: give {show_flag(path)}")
    return None


def _ask_form(draft: Draft, boxes: Tensor | None) -> None:
    ledger = draft.ledger
    if boxes is None:
        return
    flags = {"boxes.format": "--box-format ltrb, cxcywh or ltwh", "boxes.units": "--box-units pixels or fractions"}
    missing = [flag for path, flag in flags.items() if ledger.get(path) is None]
    if missing:
        ledger.ask(f"what the numbers of {boxes.name!r} are: give {', '.join(missing)}")


def _add_batch(
    draft: Draft, boxes: Tensor, scores: Tensor, classes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tensors with a batch axis of one row, if they have none: [n, 4] becomes [1, n, 4]."""
    if len(boxes.shape) != 2 or len(scores.shape) not in (1, 2):
        return boxes, scores, classes
    given = [boxes, scores, *([classes] if classes is not None else [])]
    draft.changes.append(AddBatchAxis([tensor.name for tensor in given]))
    added = {t.name: resize(t, t.name, [1, *t.shape]) for t in given}
    draft.outputs = [added.get(tensor.name, tensor) for tensor in draft.outputs]
    return added[boxes.name], added[scores.name], None if classes is None else added[classes.name]


def _plan_scores(draft: Draft, scores: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Probabilities of the labels."""
    ledger = draft.ledger
    count = len(ledger.get("labels"))
    maker = draft.maker(scores.name)
    if ledger.get("activation") is None:
        if maker in PROBABLE or maker in ("NonMaxSuppression", "TopK", "GatherND"):
            ledger.add("activation", "none", f"the graph: {maker} makes {scores.name!r}")
        else:
            ledger.ask(
                f"whether {scores.name!r} has scores from 0 to 1: give --activation none, or softmax or sigmoid "
                "to have them made"
            )
            return scores, classes
    background = _find_background(draft, scores, count)
    if background is None:
        return scores, classes
    has_labels = len(scores.shape) == 3
    is_open = has_labels and not isinstance(scores.shape[2], int)  # then the change declares and checks it
    if ledger.get("activation") != "none" or background != "none" or is_open:
        shape = [*scores.shape[:2], count] if has_labels else scores.shape
        made = resize(scores, draft.choose_name("scores"), shape)
        change = LabelScores(scores.name, made.name, ledger.get("activation"), background, count if is_open else None)
        draft.change(change, scores.name, made)
        scores = made
    if has_labels and ledger.get("activation") == "softmax" and count > 1:
        return pick_labels(draft, scores, "best_scores")
    if count == 1:
        return scores, None
    if classes is not None and classes.datatype != "INT64":
        whole = resize(classes, draft.choose_name("classes"), classes.shape, "INT64")
        draft.change(WholeClasses(classes.name, whole.name), classes.name, whole)
        classes = whole
    return scores, classes


def _find_background(draft: Draft, scores: Tensor, count: int) -> Background | None:
    """Which score means "nothing here"; None if it must be asked for. Raises SpecError if the numbers do not fit."""
    ledger = draft.ledger
    if len(scores.shape) == 2:
        ledger.add("boxes.background", "none", f"the graph: {scores.name!r} has one score for each box")
        return "none"
    width = scores.shape[2]
    if width == count:
        ledger.add("boxes.background", "none", f"the graph: {scores.name!r} has {width} scores, as many as labels")
    elif width == count + 1 and ledger.get("boxes.background") is None:
        ledger.ask(
            f"which of the {width} scores of {scores.name!r} means that there is nothing, since there are {count} "
            "labels: give --background first or last"
        )
        return None
    background = cast(Background, ledger.get("boxes.background") or "none")
    if isinstance(width, int) and width != count + (background != "none"):
        raise SpecError(
            f"{draft.name}: output {scores.name!r} has {width} scores for each box, but there are {count} labels "
            f"({ledger.origin('labels')}): name each of them"
        )
    return background


def _plan_form(draft: Draft, boxes: Tensor) -> Tensor:
    ledger = draft.ledger
    form, units = ledger.get("boxes.format"), ledger.get("boxes.units")
    if (form, units) == ("ltrb", "pixels") or "image" not in draft.fields:
        return boxes
    if boxes.datatype not in FLOATS:
        raise SpecError(f"{draft.name}: output {show([boxes])}: expected floats")
    return make_corners(draft, boxes, "corners", form, units == "fractions")


def make_corners(draft: Draft, boxes: Tensor, name: str, form: Form, fractions: bool) -> Tensor:
    """Left, top, right and bottom in pixels, an output that is called ``name`` if that is free."""
    image = draft.fields["image"]
    made = resize(boxes, draft.choose_name(name), boxes.shape)
    change = ToCorners(boxes.name, made.name, form, fractions, image.input, SIDES[image.layout])
    draft.change(change, boxes.name, made)
    return made


def _counts_by_content(draft: Draft, boxes: Tensor) -> bool:
    """Whether the number of candidates depends on what a picture shows, not only on its size."""
    if not isinstance(boxes.shape[1], str) or boxes.shape[0] != 1:
        return False
    image = draft.fields.get("image")
    return (image is not None and image.height is not None) or draft.has_operator("NonMaxSuppression", "NonZero")


def _fix_count(draft: Draft, boxes: Tensor, scores: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """A fixed number of candidates, for a graph that returns as many as it finds."""
    if len(scores.shape) == 3:
        scores, labels = pick_labels(draft, scores, "best_scores")
        classes = labels if len(draft.ledger.get("labels")) > 1 else None
    most = draft.ledger.get("boxes.max_detections") or _MOST_FOUND
    draft.changes.append(FixCandidates(boxes.name, scores.name, classes.name if classes else None, most))
    return scores, classes
