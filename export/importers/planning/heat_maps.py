"""Heat maps of the centres of objects. A cell is 4 x 4 pixels.

- ``centerface``, four outputs [batch, channels, height, width]: the heat map (1 channel), logarithms of the sides (2),
  offsets of the centre (2), five points (10). The first output with two channels has the sides.
- ``centernet``, two outputs: the heat map with a channel for each label, and the distances from a cell to the left,
  top, right and bottom of its box in pixels (4 channels). Channels are the second axis, or the last.
"""

from collections.abc import Sequence
from typing import Literal

from export.errors import SpecError
from export.importers.changes.heat_maps import DistancesToBoxes, FacesToBoxes, ReadHeatMap, at_places
from export.importers.planning.boxes import describe_boxes
from export.importers.planning.draft import Draft, ask_labels, holds_floats, resize, show
from export.importers.planning.layouts import add_defaults, require_opset
from model_store.graph import Tensor

_CANDIDATES = {"centerface": 1000, "centernet": 100}
"""Faces have many candidates beside each other. CenterNet counts only peaks, as the original does."""
_POINTS = ("right eye", "left eye", "nose", "right mouth corner", "left mouth corner")
"""Right is the person's right, which is left in the picture."""


def plan_heat_maps(draft: Draft) -> None:
    """Decode one of these layouts. Raises SpecError for outputs that do not fit."""
    kind = draft.ledger.get("boxes.layout")
    labels = ask_labels(draft, "boxes")
    if labels is None:
        return
    if kind == "centerface":
        layout, heat, maps = _find_faces(draft, labels)
        add_defaults(draft, 0.3, 300, "CenterFace: the defaults of its author", 0.5)
    else:
        layout, heat, maps = _find_objects(draft, labels)
        add_defaults(draft, 0.45, _CANDIDATES[kind], "the layout: peaks of the heat map", 0.3)
    if draft.ledger.missing:
        return
    require_opset(draft)
    cells = draft.choose_name("cells")
    scores, classes = _read(draft, heat, maps, layout, cells)
    outer = scores.shape
    boxes = resize(heat, draft.choose_name("boxes"), (*outer, 4))
    names = [at_places(one.name) for one in maps]
    points = None
    if kind == "centerface":
        points = resize(heat, draft.choose_name("points"), (*outer, len(_POINTS), 2))
        scale, offset, landmarks = names
        draft.changes.append(FacesToBoxes(cells, scale, offset, landmarks, boxes.name, points.name))
        draft.ledger.add("boxes.point_names", _POINTS, "CenterFace: its five points")
    else:
        [distances] = names
        draft.changes.append(DistancesToBoxes(cells, distances, boxes.name))
    given = {heat.name, *(one.name for one in maps)}
    others = [tensor for tensor in draft.outputs if tensor.name not in given]
    draft.outputs = [*others, scores, classes, boxes, *([points] if points else [])]
    describe_boxes(
        draft,
        boxes=boxes.name,
        scores=scores.name,
        classes=classes.name if len(labels) > 1 else None,
        points=points.name if points else None,
    )


def _read(
    draft: Draft, heat: Tensor, maps: Sequence[Tensor], layout: Literal["NCHW", "NHWC"], cells: str
) -> tuple[Tensor, Tensor]:
    """Scores and labels of the best places."""
    outer = (heat.shape[0], "candidates")
    scores = resize(heat, draft.choose_name("scores"), outer)
    classes = resize(heat, draft.choose_name("classes"), outer, "INT64")
    names = [one.name for one in maps]
    kind = draft.ledger.get("boxes.layout")
    change = ReadHeatMap(
        heat.name, names, scores.name, classes.name, cells, layout, kind == "centernet", _CANDIDATES[kind]
    )
    draft.changes.append(change)
    return scores, classes


def _find_faces(draft: Draft, labels: Sequence[str]) -> tuple[Literal["NCHW", "NHWC"], Tensor, list[Tensor]]:
    maps = [t for t in draft.outputs if holds_floats(t, 4)]
    by_size = [[t for t in maps if t.shape[1] == size] for size in (1, 2, 10)]
    if [len(found) for found in by_size] != [1, 2, 1] or len(labels) != 1:
        raise SpecError(
            f"{draft.name}: layout centerface: expected one label, and outputs [batch, channels, height, width] with "
            f"1, 2, 2 and 10 channels, got {len(labels)} labels and {show(draft.outputs)}"
        )
    [[heat], [scale, offset], [landmarks]] = by_size
    return "NCHW", heat, [scale, offset, landmarks]


def _find_objects(draft: Draft, labels: Sequence[str]) -> tuple[Literal["NCHW", "NHWC"], Tensor, list[Tensor]]:
    maps = [t for t in draft.outputs if holds_floats(t, 4)]
    layouts: tuple[tuple[Literal["NCHW", "NHWC"], int], ...] = (("NCHW", 1), ("NHWC", 3))
    for layout, axis in layouts:
        heats = [t for t in maps if t.shape[axis] == len(labels)]
        distances = [t for t in maps if t.shape[axis] == 4 and t not in heats[:1]]
        if len(heats) == 1 and len(distances) == 1:
            return layout, heats[0], distances
    raise SpecError(
        f"{draft.name}: layout centernet: expected two outputs with four axes, a heat map of {len(labels)} labels "
        f"({draft.ledger.origin('labels')}) and distances with 4 channels, got {show(draft.outputs)}"
    )
