"""Boxes, points and masks for an answer, in pixels of the caller's picture."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as Pillow

from model_store.detections.boxes import Boxes
from model_store.pictures.geometry import Placement
from model_store.tasks import Detection
from service.codecs.pictures.writer import as_image, encode_mask
from service.errors import InvalidInput

_DIGITS = 2
"""Decimal places of coordinates."""
_MOST_MASK_PIXELS = 1 << 26
"""They take about two seconds."""


class Mask(NamedTuple):
    """The pixels of a box that belong to the object: bool [height, width], at ``left`` and ``top`` of the picture."""

    left: int
    top: int
    inside: np.ndarray


class PlacedBox(NamedTuple):
    """One box of an answer. Coordinates are pixels of the caller's picture."""

    box: Sequence[float]
    """left, top, right, bottom"""
    label: int
    """The position in the labels of the model."""
    score: float
    points: Sequence[Sequence[float]] = ()
    mask: Mask | None = None


def describe_box(found: PlacedBox, facts: Detection, labels: Sequence[str]) -> dict[str, Any]:
    """A box as a JSON value."""
    answer: dict[str, Any] = {
        "box": list(found.box),
        "label": labels[found.label],
        "index": found.label,
        "score": found.score,
    }
    if found.points:
        answer["points"] = [
            {
                **({"name": facts.point_names[i]} if facts.point_names else {}),
                **dict(zip(("x", "y", "score"), point, strict=False)),
            }
            for i, point in enumerate(found.points)
        ]
    if found.mask is not None:
        picture = as_image(encode_mask(found.mask.inside))
        answer["mask"] = {"left": found.mask.left, "top": found.mask.top, **picture}
    return answer


class MaskBudget:
    """Limits the pixels of all masks of a request, because a small file may be a large picture with many boxes."""

    def __init__(self) -> None:
        self._left_pixels = _MOST_MASK_PIXELS

    def take(self, pixels: int) -> None:
        """Raises InvalidInput if too few pixels are left."""
        self._left_pixels -= pixels
        if self._left_pixels < 0:
            raise InvalidInput(
                f"masks: expected at most {_MOST_MASK_PIXELS} pixels in the masks of all boxes, got more: ask for "
                "fewer boxes (threshold, max_detections, classes) or for no masks (masks: false), or send a smaller "
                "picture"
            )


def place_boxes(
    outputs: Mapping[str, np.ndarray],
    selected: Boxes,
    facts: Detection,
    placement: Placement,
    size: tuple[int, int],
    masks: MaskBudget | None,
) -> Iterator[PlacedBox]:
    """The selected boxes, clipped to the caller's picture. ``masks`` None: without masks.

    ``outputs`` are those of the graph for one picture. ``size`` is the height and width of the graph's picture.
    """
    boxes = _to_caller(selected.boxes.reshape(-1, 2, 2), placement).reshape(-1, 4)
    points = [] if facts.points is None else _place_points(outputs[facts.points][selected.candidates], placement)
    for i, (left, top, right, bottom) in enumerate(boxes.tolist()):
        if right <= left or bottom <= top:  # nothing is left after clipping and rounding
            continue
        mask = None
        if masks is not None and facts.coefficients is not None and facts.prototypes is not None:
            masks.take(math.ceil(right - left) * math.ceil(bottom - top))
            coefficients = outputs[facts.coefficients][selected.candidates[i]]
            mask = _make_mask(coefficients, outputs[facts.prototypes], boxes[i], placement, size)
        label, score = int(selected.labels[i]), float(selected.scores[i])
        yield PlacedBox((left, top, right, bottom), label, score, points[i] if points else (), mask)


def _to_caller(places: np.ndarray, placement: Placement) -> np.ndarray:
    """Coordinates [..., 2] in the graph's picture -> in the caller's picture, rounded and clipped."""
    offset, scale = (placement.offset_x, placement.offset_y), (placement.scale_x, placement.scale_y)
    moved = (places.astype(np.float64) - offset) / scale
    rounded: np.ndarray = moved.clip(0, (placement.width, placement.height)).round(_DIGITS)
    return rounded


def _place_points(points: np.ndarray, placement: Placement) -> list[list[list[float]]]:
    """Points [boxes, points, 2 or 3] in the caller's picture. The third number is a score."""
    placed = np.concatenate([_to_caller(points[..., :2], placement), points[..., 2:]], axis=-1)
    nested: list[list[list[float]]] = placed.tolist()
    return nested


def _make_mask(
    coefficients: np.ndarray, prototypes: np.ndarray, box: np.ndarray, placement: Placement, size: tuple[int, int]
) -> Mask:
    """The mask of a box: where the sigmoid of coefficients [n] times prototypes [n, height, width] is above 0.5."""
    left, top = (int(edge) for edge in np.floor(box[:2]))
    right, bottom = (int(edge) for edge in np.ceil(box[2:]))
    height, width = prototypes.shape[1:]
    scale, offset = (placement.scale_x, placement.scale_y), (placement.offset_x, placement.offset_y)
    corners = (np.array([(left, top), (right, bottom)]) * scale + offset) * (width / size[1], height / size[0])
    # At least one pixel of the prototypes: the box may lie at the edge, or be rounded beyond it.
    part = (*corners[0].clip(0, (width - 1, height - 1)).tolist(), *corners[1].clip(1, (width, height)).tolist())
    logits = np.tensordot(coefficients, prototypes, 1).astype(np.float32)
    shown = Pillow.fromarray(logits).resize((right - left, bottom - top), Pillow.Resampling.BILINEAR, part)
    return Mask(left, top, np.asarray(shown) > 0)
