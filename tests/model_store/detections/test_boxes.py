"""The boxes of an answer: labels, thresholds and non-maximum suppression."""

import numpy as np
import pytest

from model_store.detections.boxes import measure_overlap, select_boxes
from model_store.tasks import Detection

FACTS = Detection(overlap=0.5, threshold=0.25)
SQUARE = (0, 0, 10, 10)
NEAR = (1, 0, 11, 10)
"""Overlaps the square by 90 of 110 pixels."""
FAR = (20, 20, 30, 30)


def select(boxes, scores, facts=FACTS, **options):
    outputs = {"boxes": np.array(boxes, np.float32), "scores": np.array(scores, np.float32)}
    return select_boxes(outputs, facts, **options)


def test_no_candidate_above_the_threshold_gives_no_box() -> None:
    """An empty picture has an empty answer of the right shapes."""
    found = select([SQUARE], [[0.1, 0.2]])
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.labels.shape == (0,)


def test_no_candidates_give_no_box() -> None:
    """A graph may give no candidates at all."""
    assert len(select(np.zeros((0, 4)), np.zeros((0, 3))).boxes) == 0


def test_better_box_of_the_same_label_replaces_its_neighbour() -> None:
    """Of two boxes that overlap by more than the limit the one with the higher score stays."""
    found = select([NEAR, SQUARE, FAR], [[0.5, 0], [0.9, 0], [0.6, 0]])
    assert found.boxes.tolist() == [list(SQUARE), list(FAR)]
    assert found.candidates.tolist() == [1, 2]


def test_boxes_of_different_labels_stay_unless_the_manifest_says_otherwise() -> None:
    """A person on a horse are two boxes; with ``across_labels`` only the better one stays."""
    boxes, scores = [SQUARE, NEAR], [[0.9, 0], [0, 0.8]]
    assert select(boxes, scores).labels.tolist() == [0, 1]
    assert select(boxes, scores, FACTS.model_copy(update={"across_labels": True})).labels.tolist() == [0]


def test_final_boxes_of_a_graph_are_not_suppressed_again() -> None:
    """Without an overlap in the manifest all boxes above the threshold stay."""
    assert len(select([SQUARE, NEAR], [[0.9], [0.8]], FACTS.model_copy(update={"overlap": None})).boxes) == 2


def test_caller_chooses_threshold_labels_and_number() -> None:
    """A box counts for its best label only: a wanted second-best label brings no box."""
    boxes, scores = [SQUARE, FAR], [[0.4, 0.3], [0.1, 0.5]]
    assert select(boxes, scores, threshold=0.45).labels.tolist() == [1]
    assert select(boxes, scores, labels=[0]).labels.tolist() == [0]
    assert select(boxes, scores, labels=[1]).candidates.tolist() == [1]
    assert select(boxes, scores, max_detections=1).scores.tolist() == [0.5]


def test_large_boxes_of_half_precision_overlap() -> None:
    """Their area is more than a float16 holds."""
    boxes = np.array([(0, 0, 600, 600), (1, 0, 601, 600), (0, 1, 600, 601)], np.float16)
    outputs = {"boxes": boxes, "scores": np.array([[0.9], [0.8], [0.7]], np.float16)}
    assert select_boxes(outputs, FACTS).candidates.tolist() == [0]


def test_boxes_without_area_do_not_count() -> None:
    """Reversed, empty, or wholly outside the caller's picture: they take no place of others."""
    boxes = [(9, 9, 2, 2), (5, 5, 5, 9), (40, 0, 50, 10), SQUARE]
    found = select(boxes, [[0.9], [0.8], [0.7], [0.6]], max_detections=1, within=(0, 0, 30, 30))
    assert found.candidates.tolist() == [3]


def test_labels_may_come_from_an_output_of_their_own() -> None:
    """Graphs with NMS inside give one score and one class for each box."""
    outputs = {
        "boxes": np.array([SQUARE, FAR], np.float32),
        "scores": np.array([0.5, 0.9], np.float32),
        "classes": np.array([7, 3]),
    }
    assert select_boxes(outputs, FACTS.model_copy(update={"classes": "classes"})).labels.tolist() == [3, 7]


@pytest.mark.parametrize(
    ("other", "share"), [(SQUARE, 1.0), (NEAR, 90 / 110), (FAR, 0.0), ((5, 5, 5, 5), 0.0), ((9, 9, 2, 2), 0.0)]
)
def test_overlap_is_intersection_over_union(other, share) -> None:
    """Boxes without area, or with their corners exchanged, overlap nothing."""
    assert measure_overlap(np.array(SQUARE, np.float32), np.array([other], np.float32)).tolist() == pytest.approx(
        [share]
    )


@pytest.mark.parametrize("count", [1, 200, 700])
def test_suppression_equals_the_slow_definition(count: int) -> None:
    """On random boxes, few or many, the answer is that of comparing every pair of boxes in order of score."""
    random = np.random.default_rng(0)
    corners = random.uniform(0, 80, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)
    scores = random.random((count, 3)).astype(np.float32)
    best, kept = scores.argmax(axis=1), []
    for i in sorted(range(count), key=lambda i: -scores[i].max()):
        better = [j for j in kept if best[j] == best[i]]
        if scores[i].max() >= FACTS.threshold and not (measure_overlap(boxes[i], boxes[better]) > FACTS.overlap).any():
            kept.append(i)
    outputs = {"boxes": boxes, "scores": scores}
    for most in (3, 300, count):
        assert select_boxes(outputs, FACTS, max_detections=most).candidates.tolist() == kept[:most]
