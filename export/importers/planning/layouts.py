"""Candidates as rows of numbers, as Ultralytics exports them.

- ``yolov5`` [batch, candidates, 5 + labels]: centre, width and height in pixels, an objectness, and a score for each
  label, which is multiplied by the objectness. Models of masks have coefficients after these numbers.
- ``yolov8`` [batch, 4 + labels, candidates], YOLOv8 and newer: the same without objectness, a column for each
  candidate. Coefficients of masks, or points, come after these numbers.
- ``rtdetr`` [batch, candidates, 4 + labels]: centre, width and height as fractions of the sides, and scores. No box is
  suppressed, because RT-DETR is trained to give one box for each object.
- ``end2end`` [batch, candidates, 6]: left, top, right, bottom in pixels, score, label. No box is suppressed.
  Coefficients or points come after these numbers.

Models of masks have a second output [batch, n, height, width], the prototypes.
"""

from dataclasses import dataclass

from export.errors import SpecError
from export.importers.changes.candidates import OPSET, BestCandidates, ColumnsLast, Part, SplitColumns
from export.importers.changes.change import opset_of
from export.importers.changes.opset import RaiseOpset
from export.importers.planning.boxes import describe_boxes, make_corners, pick_labels
from export.importers.planning.draft import Draft, ask_labels, holds_floats, resize, show
from model_store.graph import Tensor

CANDIDATES = 1000
"""How many candidates are kept of several thousand: copying and searching the others would be wasted."""


@dataclass(frozen=True)
class Layout:
    """The columns of a candidate, and what Ultralytics does with it by default."""

    scores: int
    """The first column of the scores."""
    factor: int | None
    """The column by which the scores are multiplied."""
    overlap: float | str
    max_detections: int
    origin: str


_LAYOUTS = {
    "yolov5": Layout(5, 4, 0.45, 1000, "YOLOv5: the defaults of detect.py"),
    "yolov8": Layout(4, None, 0.7, 300, "Ultralytics: the defaults of predict"),
    "rtdetr": Layout(4, None, "none", 300, "Ultralytics: the defaults of predict for RT-DETR"),
    "end2end": Layout(4, None, "none", 300, "the layout: the graph gives final boxes"),
}


def plan_rows(draft: Draft) -> None:
    """Decode one of these layouts. Raises SpecError for numbers that do not fit."""
    ledger = draft.ledger
    kind = ledger.get("boxes.layout")
    layout = _LAYOUTS[kind]
    labels = ask_labels(draft, "boxes")
    output, prototypes = _find_rows(draft)
    if output is None or labels is None:
        return
    size = output.shape[1 if kind == "yolov8" else 2]
    if not isinstance(size, int) or (layout.scores + 2 if kind == "end2end" else layout.scores + len(labels)) > size:
        raise SpecError(_misfit(draft, output, len(labels)))
    first = 6 if kind == "end2end" else layout.scores + len(labels)
    parts, points, coefficients = _plan_rest(draft, output, prototypes, first, size, len(labels))
    if ledger.missing or "image" not in draft.fields:
        return
    add_defaults(draft, layout.overlap, layout.max_detections, layout.origin)
    require_opset(draft)
    if kind == "end2end":
        boxes, scores, classes = _split_final(draft, output, parts, len(labels))
    else:
        rows = _order(draft, output, layout, len(labels))
        boxes, scores, classes = _split(draft, rows, layout, parts, len(labels))
        boxes = make_corners(draft, boxes, "boxes", "cxcywh", kind == "rtdetr")
    describe_boxes(
        draft,
        boxes=boxes.name,
        scores=scores.name,
        classes=classes.name if classes else None,
        points=points,
        coefficients=coefficients,
        prototypes=prototypes.name if prototypes and coefficients else None,
    )


def add_defaults(draft: Draft, overlap: float | str, max_detections: int, origin: str, threshold: float = 0.25) -> None:
    """Set the defaults of a layout, for facts that nobody gives."""
    draft.ledger.add("threshold", threshold, origin)
    draft.ledger.add("boxes.overlap", overlap, origin)
    draft.ledger.add("boxes.max_detections", max_detections, origin)


def require_opset(draft: Draft) -> None:
    """Bring an old graph to the operators that the layouts need."""
    if draft.content and opset_of(draft.proto) < OPSET:
        draft.changes.append(RaiseOpset(OPSET))


def _find_rows(draft: Draft) -> tuple[Tensor | None, Tensor | None]:
    """The output with the candidates, None if it must be asked for; and the output with the prototypes of masks."""
    said = draft.ledger.get("boxes.boxes")
    able = [t for t in draft.outputs if holds_floats(t, 3)]
    found = [draft.find(said, "boxes.boxes")] if said is not None else able
    if len(found) != 1:
        draft.ledger.ask(f"which output [batch, ..., ...] has the candidates: {show(draft.outputs)}: give --boxes")
        return None, None
    if len(found[0].shape) != 3:
        raise SpecError(f"{draft.name}: --boxes {said}: expected an output with three axes, got {show(found)}")
    masks = [t for t in draft.outputs if holds_floats(t, 4) and isinstance(t.shape[1], int)]
    return found[0], masks[0] if len(masks) == 1 else None


def _misfit(draft: Draft, output: Tensor, labels: int) -> str:
    kind = draft.ledger.get("boxes.layout")
    forms = {
        "yolov5": f"[batch, candidates, 5 + {labels} labels]",
        "yolov8": f"[batch, 4 + {labels} labels, candidates]",
        "rtdetr": f"[batch, candidates, 4 + {labels} labels]",
        "end2end": "[batch, candidates, 6]",
    }
    return (
        f"{draft.name}: layout {kind} ({draft.ledger.origin('boxes.layout')}): expected {forms[kind]}, then points or "
        f"coefficients of masks, got {show([output])}: give another --box-layout, or as many --labels as the graph has"
    )


def _plan_rest(
    draft: Draft, output: Tensor, prototypes: Tensor | None, first: int, size: int, labels: int
) -> tuple[list[Part], str | None, str | None]:
    """The parts from column ``first`` on, and the names of points and coefficients among them."""
    rest = size - first
    if rest == 0:
        return [], None, None
    if prototypes is not None and prototypes.shape[1] == rest:
        name = draft.choose_name("coefficients")
        return [Part(name, first, size)], None, name
    ledger = draft.ledger
    each = ledger.get("boxes.point_size")
    if each is None:
        names = ledger.get("boxes.point_names")
        if names is None or rest % len(names) or rest // len(names) not in (2, 3):
            raise SpecError(
                f"{_misfit(draft, output, labels)}: it has {rest} more numbers: give --point-size if they are points"
            )
        each = ledger.add("boxes.point_size", rest // len(names), "the graph, and the number of names")
    if rest % each:
        raise SpecError(
            f"{draft.name}: {show([output])} has {rest} numbers after its scores: expected points of {each} numbers "
            f"({ledger.origin('boxes.point_size')})"
        )
    name = draft.choose_name("points")
    return [Part(name, first, size, (rest // each, each))], name, None


def _order(draft: Draft, output: Tensor, layout: Layout, labels: int) -> Tensor:
    """The best candidates as rows of an array."""
    if draft.ledger.get("boxes.layout") == "yolov8":
        batch, size, candidates = output.shape
        rows = resize(output, draft.choose_name("rows"), (batch, candidates, size))
        draft.change(ColumnsLast(output.name, rows.name), output.name, rows)
        output = rows
    batch, candidates, size = output.shape
    if isinstance(candidates, int) and candidates <= CANDIDATES:
        return output
    best = resize(output, draft.choose_name("candidates"), (batch, CANDIDATES, size))
    if isinstance(candidates, str):
        best = resize(output, best.name, (batch, "candidates", size))
    stop = layout.scores + labels
    change = BestCandidates(output.name, best.name, layout.scores, stop, layout.factor, CANDIDATES)
    draft.change(change, output.name, best)
    return best


def _split(
    draft: Draft, rows: Tensor, layout: Layout, parts: list[Part], labels: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Boxes as they are, scores, and the labels if there are several."""
    outer = rows.shape[:2]
    boxes = resize(rows, draft.choose_name("centres"), (*outer, 4))
    scores = resize(rows, draft.choose_name("scores"), (*outer, labels) if labels > 1 else outer)
    if labels > 1:
        scores = resize(scores, draft.choose_name("every_score"), scores.shape)
    shape = None if labels > 1 else ()
    columns = [Part(boxes.name, 0, 4), Part(scores.name, layout.scores, layout.scores + labels, shape, layout.factor)]
    _change(draft, rows, [*columns, *parts], boxes, scores)
    if labels == 1:
        return boxes, scores, None
    best, classes = pick_labels(draft, scores, "scores")
    return boxes, best, classes


def _split_final(draft: Draft, output: Tensor, parts: list[Part], labels: int) -> tuple[Tensor, Tensor, Tensor | None]:
    outer = output.shape[:2]
    boxes = resize(output, draft.choose_name("boxes"), (*outer, 4))
    scores = resize(output, draft.choose_name("scores"), outer)
    classes = resize(output, draft.choose_name("classes"), outer, "INT64")
    columns = [Part(boxes.name, 0, 4), Part(scores.name, 4, 5, ())]
    if labels == 1:
        _change(draft, output, [*columns, *parts], boxes, scores)
        return boxes, scores, None
    _change(draft, output, [*columns, Part(classes.name, 5, 6, (), whole=True), *parts], boxes, scores, classes)
    return boxes, scores, classes


def _change(draft: Draft, rows: Tensor, parts: list[Part], *made: Tensor) -> None:
    """Split the columns. ``made`` are the outputs of the first parts; those of the others follow from their shapes."""
    others = [
        resize(rows, part.name, (*rows.shape[:2], *(part.shape or (part.stop - part.start,))))
        for part in parts[len(made) :]
    ]
    draft.change(SplitColumns(rows.name, tuple(parts)), rows.name, *made, *others)
