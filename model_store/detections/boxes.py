"""Selects boxes from the candidates of one picture: the best label of each, then non-maximum suppression."""

import itertools
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from model_store.tasks.detection import Detection

_MOST_CANDIDATES = 30_000
"""If more candidates are above the threshold, only this many, the best ones, are compared."""

_COMPARED_AT_ONCE = 256
"""Pairs of this many boxes are held in memory: some megabytes."""


class Boxes(NamedTuple):
    """Boxes of one picture, highest score first."""

    boxes: np.ndarray
    """float [n, 4]: left, top, right, bottom, in pixels of the picture that the graph takes."""
    scores: np.ndarray
    """float [n], from 0 to 1."""
    labels: np.ndarray
    """int64 [n]: positions in the labels of the model."""
    candidates: np.ndarray
    """int64 [n]: the positions among the candidates, for their points and masks."""


def select_boxes(
    outputs: Mapping[str, np.ndarray],
    facts: Detection,
    threshold: float | None = None,
    max_detections: int | None = None,
    labels: Collection[int] | None = None,
    within: tuple[float, float, float, float] | None = None,
) -> Boxes:
    """Select boxes. ``outputs`` are those of the graph for one picture, without the batch axis.

    ``labels`` are the positions of the wanted labels; None: all. ``within`` is the part of the graph's picture that the
    caller's picture covers; None: all of it. Boxes without area there are left out. For other options, None means the
    value in ``facts``.
    """
    scores, best = _best_labels(outputs, facts)
    wanted = scores >= (facts.threshold if threshold is None else threshold)
    boxes = outputs[facts.boxes].astype(np.float32, copy=False)  # the area of a large box does not fit a float16
    wanted &= _have_area(boxes, within)
    if labels is not None:
        wanted &= np.isin(best, list(labels))
    found = np.flatnonzero(wanted)
    found = found[np.argsort(-scores[found], kind="stable")][:_MOST_CANDIDATES]
    count = facts.max_detections if max_detections is None else max_detections
    if facts.overlap is not None:
        found = _suppress(boxes, None if facts.across_labels else best, found, facts.overlap, count)
    kept = found[:count]
    return Boxes(boxes[kept], scores[kept], best[kept], kept)


def measure_overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [..., 4] with others [..., 4], with broadcasting; 0 for boxes without area."""
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)  # contiguous coordinates: pairs would take four times as long
    other_left, other_top, other_right, other_bottom = np.moveaxis(others, -1, 0)
    width = np.minimum(right, other_right) - np.maximum(left, other_left)
    height = np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    common = _area(width, height)
    union = _area(right - left, bottom - top) + _area(other_right - other_left, other_bottom - other_top) - common
    shares: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shares


def _have_area(boxes: np.ndarray, within: tuple[float, float, float, float] | None) -> np.ndarray:
    """Which boxes have an area, within a part of the picture."""
    low, high = boxes[:, :2], boxes[:, 2:]
    if within is not None:
        low, high = np.maximum(low, np.array(within[:2])), np.minimum(high, np.array(within[2:]))
    have: np.ndarray = np.all(high > low, axis=1)
    return have


def _area(width: np.ndarray, height: np.ndarray) -> np.ndarray:
    area: np.ndarray = np.maximum(width, 0) * np.maximum(height, 0)
    return area


def _best_labels(outputs: Mapping[str, np.ndarray], facts: Detection) -> tuple[np.ndarray, np.ndarray]:
    """The score and the label of each candidate."""
    scores = outputs[facts.scores]
    if scores.ndim == 2:
        best = scores.argmax(axis=1)
        return np.take_along_axis(scores, best[:, None], axis=1)[:, 0], best
    best = np.zeros(len(scores), np.int64) if facts.classes is None else outputs[facts.classes]
    return scores, best


def _suppress(
    boxes: np.ndarray, labels: np.ndarray | None, found: np.ndarray, overlap: float, count: int
) -> np.ndarray:
    """The positions in ``found``, in its order, whose boxes no earlier kept box overlaps by more; at most ``count``.

    With ``labels``, only boxes of the same label exclude each other.
    """
    kept: list[int] = []
    while len(found) > _COMPARED_AT_ONCE and len(kept) < count:
        first, found = int(found[0]), found[1:]
        kept.append(first)
        apart = measure_overlap(boxes[first], boxes[found]) <= overlap
        if labels is not None:
            apart |= labels[found] != labels[first]
        found = found[apart]
    if len(kept) < count:
        kept += found[_keep_apart(boxes, labels, found, overlap)].tolist()
    return np.array(kept[:count], np.int64)


def _keep_apart(boxes: np.ndarray, labels: np.ndarray | None, found: np.ndarray, overlap: float) -> np.ndarray:
    """Whether each of a few boxes is kept. Comparing one box at a time would take ten times as long."""
    pairs = np.ones((len(found), len(found)), bool)
    if labels is not None:
        of_found = labels[found]
        pairs = of_found[:, None] == of_found
    one, other = np.divmod(np.flatnonzero(np.triu(pairs, 1)), len(found))
    sides = np.ascontiguousarray(boxes[found].T)
    exclude = measure_overlap(sides.take(one, 1).T, sides.take(other, 1).T) > overlap
    one, other = one[exclude], other[exclude]
    kept = np.ones(len(found), bool)
    begins = np.flatnonzero(np.diff(one, prepend=-1)).tolist()
    for begin, end in itertools.pairwise([*begins, len(one)]):  # all that exclude a box come before it
        if kept[one[begin]]:
            kept[other[begin:end]] = False
    return kept
