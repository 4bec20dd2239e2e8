"""How well boxes are found.

The measure is that of Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, at one overlap, with the whole
curve of precision over recall instead of 101 points of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model_store.detections.boxes import Boxes, measure_overlap


class TrueBoxes(NamedTuple):
    """The boxes that a picture has: ``boxes`` [n, 4] as left, top, right, bottom, and ``labels`` integers [n]."""

    boxes: np.ndarray
    labels: np.ndarray


def measure_mean_precision(found: Sequence[Boxes], true: Sequence[TrueBoxes], overlap: float = 0.5) -> float:
    """The mean average precision, 0..1, over the labels that ``true`` has.

    ``found`` and ``true`` have the same pictures in the same order, with the boxes found by falling score. A box is
    right where its intersection over union with a true box of its label is at least ``overlap``. Each true box counts
    once, for the box with the highest score.
    Raises ValueError where there is no true box.
    """
    labels = sorted({int(label) for picture in true for label in picture.labels})
    if not labels:
        raise ValueError("expected at least one true box, got none")
    return float(np.mean([_measure_label(found, true, label, overlap) for label in labels]))


def _measure_label(found: Sequence[Boxes], true: Sequence[TrueBoxes], label: int, overlap: float) -> float:
    """The average precision of one label."""
    scores, right = [], []
    for got, wanted in zip(found, true, strict=True):
        mine = got.labels == label
        scores.append(got.scores[mine])
        right.append(_match(got.boxes[mine], wanted.boxes[wanted.labels == label], overlap))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _integrate(np.concatenate(right)[order], sum(int((wanted.labels == label).sum()) for wanted in true))


def _match(boxes: np.ndarray, known: np.ndarray, overlap: float) -> np.ndarray:
    """Whether each box, highest score first, is right. It takes the true box that it overlaps most, of those left."""
    free = np.ones(len(known), bool)
    right = np.zeros(len(boxes), bool)
    for position, box in enumerate(boxes):
        shares = np.where(free, measure_overlap(box, known), -1.0)
        if len(shares) and shares.max() >= overlap:
            right[position] = True
            free[shares.argmax()] = False
    return right


def _integrate(right: np.ndarray, count: int) -> float:
    """The area under the curve of precision over recall. ``right`` is in the order of falling scores.

    The precision at a recall is the largest at that recall or beyond.
    """
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / count)


def choose_threshold(found: Sequence[Boxes], true: Sequence[TrueBoxes], overlap: float = 0.5) -> float:
    """The least score of an answer for which the harmonic mean of precision and recall is highest, over all labels.

    Raises ValueError where no box is right.
    """
    right = _match_all(found, true, overlap)
    if not right.any():
        raise ValueError("expected at least one box that is right, got none")
    scores = np.concatenate([picture.scores for picture in found])
    order = np.argsort(-scores, kind="stable")
    count = sum(len(wanted.labels) for wanted in true)
    means = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + count)
    return float(scores[order][means.argmax()])


def measure_answers(found: Sequence[Boxes], true: Sequence[TrueBoxes], overlap: float = 0.5) -> tuple[float, float]:
    """Precision and recall: the share of boxes found that are right, and of true boxes that were found, 0..1.

    Over all labels. Raises ValueError where no box was found, or none is true.
    """
    right, count = _match_all(found, true, overlap), sum(len(wanted.labels) for wanted in true)
    if not len(right) or not count:
        raise ValueError(f"expected at least one box found and one true box, got {len(right)} and {count}")
    return float(right.mean()), float(right.sum() / count)


def _match_all(found: Sequence[Boxes], true: Sequence[TrueBoxes], overlap: float) -> np.ndarray:
    """Whether each box of all pictures is right."""
    rights = []
    for got, wanted in zip(found, true, strict=True):
        right = np.zeros(len(got.labels), bool)
        for label in np.unique(got.labels):
            mine = got.labels == label
            right[mine] = _match(got.boxes[mine], wanted.boxes[wanted.labels == label], overlap)
        rights.append(right)
    return np.concatenate(rights)
