import numpy as np
import pytest

from export.zoo.quality.precision import TrueBoxes, choose_threshold, measure_answers, measure_mean_precision
from model_store.detections.boxes import Boxes

SQUARE = (0, 0, 10, 10)
SHIFTED = (4, 0, 14, 10)  # shares 60 of 140 with SQUARE
CLOSE = (2, 0, 12, 10)  # shares 80 of 120
FAR = (50, 50, 60, 60)


def find(*boxes):
    """Boxes found, each as (box, label, score)."""
    places, labels, scores = zip(*boxes, strict=True) if boxes else ((), (), ())
    return Boxes(
        np.array(places, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.arange(len(boxes)),
    )


def expect(*boxes):
    """True boxes, each as (box, label)."""
    places, labels = zip(*boxes, strict=True) if boxes else ((), ())
    return TrueBoxes(np.array(places, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def test_all_boxes_found_and_no_other_is_one():
    """Over two pictures and two labels, perfect answers give one."""
    found = [find((SQUARE, 0, 0.9), (FAR, 1, 0.4)), find((SQUARE, 1, 0.2))]
    assert measure_mean_precision(found, [expect((SQUARE, 0), (FAR, 1)), expect((SQUARE, 1))]) == 1


def test_wrong_box_between_right_ones_costs_precision_of_what_follows():
    """Right, wrong, right of two true boxes: half of the recall at precision 1, half at 2/3."""
    found = [find((SQUARE, 0, 0.9)), find((FAR, 0, 0.8), (SQUARE, 0, 0.7))]
    true = [expect((SQUARE, 0)), expect((SQUARE, 0))]
    assert measure_mean_precision(found, true) == pytest.approx((1 + 2 / 3) / 2)


def test_precision_at_a_recall_is_the_largest_from_there_on():
    """Wrong, right, right of two: the first half of the recall counts 2/3 too, not 1/2."""
    found = [find((FAR, 0, 0.9), (SQUARE, 0, 0.8)), find((SQUARE, 0, 0.7))]
    assert measure_mean_precision(found, [expect((SQUARE, 0)), expect((SQUARE, 0))]) == pytest.approx(2 / 3)


def test_true_box_that_is_missed_bounds_the_recall():
    """One of four true boxes found is a quarter, and a false box below it does not matter."""
    found = [find((SQUARE, 0, 0.9), (FAR, 0, 0.1)), find(), find(), find()]
    assert measure_mean_precision(found, [expect((SQUARE, 0))] * 4) == 0.25


def test_true_box_counts_once():
    """The second box at one place is wrong, though it overlaps too."""
    found, true = [find((SQUARE, 0, 0.9), (CLOSE, 0, 0.8)), find((SQUARE, 0, 0.7))], [expect((SQUARE, 0))] * 2
    assert measure_mean_precision(found, true) == pytest.approx((1 + 2 / 3) / 2)


def test_box_takes_the_true_box_that_it_overlaps_most_of_those_left():
    """Two boxes between two true ones get one each."""
    found = [find((SQUARE, 0, 0.9), (CLOSE, 0, 0.8))]
    assert measure_mean_precision(found, [expect((SQUARE, 0), (SHIFTED, 0))]) == 1


@pytest.mark.parametrize(("overlap", "expected"), [(0.66, 1), (0.67, 0)])
def test_box_must_overlap_enough(overlap, expected):
    """Boxes that share two thirds are right up to that overlap."""
    assert measure_mean_precision([find((CLOSE, 0, 0.9))], [expect((SQUARE, 0))], overlap) == expected


def test_label_must_be_right_and_labels_count_alike():
    """Label 0 is found twice, label 1 was taken for label 2: the mean over the labels 0 and 1 is one half."""
    found = [find((SQUARE, 0, 0.9), (FAR, 2, 0.9)), find((SQUARE, 0, 0.9))]
    assert measure_mean_precision(found, [expect((SQUARE, 0), (FAR, 1)), expect((SQUARE, 0))]) == 0.5


def test_nothing_found_is_zero():
    """A detector without answers has the precision zero."""
    assert measure_mean_precision([find()], [expect((SQUARE, 3))]) == 0


def test_pictures_without_true_boxes_are_refused():
    """There is no mean over no label."""
    with pytest.raises(ValueError, match="expected at least one true box"):
        measure_mean_precision([find((SQUARE, 0, 0.9))], [expect()])


def test_precision_and_recall_are_over_all_labels():
    """Two of three boxes are right, of four true ones."""
    found = [find((SQUARE, 0, 0.9), (FAR, 1, 0.8)), find((SQUARE, 1, 0.7))]
    true = [expect((SQUARE, 0), (FAR, 1)), expect((SQUARE, 0), (FAR, 0))]
    assert measure_answers(found, true) == (pytest.approx(2 / 3), 0.5)


def test_threshold_is_the_score_of_the_last_box_worth_taking():
    """Right, wrong, right, wrong of two true boxes: the mean is 2/3 after one box, and 4/5 after three."""
    found = [find((SQUARE, 0, 0.9), (FAR, 0, 0.8)), find((SQUARE, 0, 0.7), (FAR, 0, 0.6))]
    assert choose_threshold(found, [expect((SQUARE, 0))] * 2) == pytest.approx(0.7)


def test_threshold_without_a_right_box_is_refused():
    """There is no best threshold where every answer is wrong."""
    with pytest.raises(ValueError, match="expected at least one box that is right"):
        choose_threshold([find((FAR, 0, 0.9))], [expect((SQUARE, 0))])
