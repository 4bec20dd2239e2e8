import numpy as np
import pytest

from export.zoo.quality.verification import Pairs, compare_pairs, find_equal_error, measure_auroc, measure_errors


def make_pairs(same, different):
    similarity = np.array([*same, *different])
    return Pairs(similarity, np.arange(len(similarity)) < len(same))


def test_each_pair_is_compared_once_whatever_the_lengths():
    """Three rows make three pairs; the cosine does not depend on the lengths of the vectors."""
    pairs = compare_pairs(np.array([[2, 0], [0, 5], [3, 3]], np.float32), np.array([1, 0, 1]))
    assert pairs.similarity == pytest.approx([0, 0.5**0.5, 0.5**0.5])
    assert pairs.same.tolist() == [False, True, False]


def test_auroc_counts_the_pairs_in_order():
    """Of six comparisons, four are in order and one is equal: 4.5 of 6."""
    assert measure_auroc(make_pairs([0.9, 0.5], [0.5, 0.1, 0.7])) == pytest.approx(4.5 / 6)


@pytest.mark.parametrize(("same", "different", "expected"), [([1, 2], [-1, 0], 1), ([0], [1], 0), ([3, 3], [3], 0.5)])
def test_auroc_goes_from_wrong_over_chance_to_perfect(same, different, expected):
    """It is one where all same pairs come first, zero where they come last, and one half where all are equal."""
    assert measure_auroc(make_pairs(same, different)) == expected


def test_equal_error_is_between_kinds_that_are_apart():
    """Without errors, the threshold is in the middle of the gap."""
    assert find_equal_error(make_pairs([0.8, 0.9], [0.2, 0.4, 0.1])) == pytest.approx(0.6)


def test_equal_error_makes_as_many_mistakes_of_both_kinds():
    """With one stray pair of four on each side, a quarter of each kind is wrong."""
    pairs = make_pairs([0.9, 0.8, 0.7, 0.2], [0.1, 0.3, 0.35, 0.75])
    threshold = find_equal_error(pairs)
    assert 0.35 < threshold <= 0.7
    assert measure_errors(pairs, threshold) == (0.25, 0.25)


def test_threshold_itself_is_accepted():
    """A pair exactly at the threshold counts as the same."""
    assert measure_errors(make_pairs([0.5], [0.5, 0.4]), 0.5) == (0.5, 0)


@pytest.mark.parametrize("measure", [measure_auroc, find_equal_error, lambda pairs: measure_errors(pairs, 0.0)])
def test_pairs_of_one_kind_are_refused(measure):
    """Without different pairs there is nothing to tell apart."""
    with pytest.raises(ValueError, match="expected same and different pairs, got 2 of 2 the same"):
        measure(make_pairs([0.1, 0.2], []))
