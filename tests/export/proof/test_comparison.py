import numpy as np
import pytest

from export.proof.comparison import compare, measure_error
from model_store.golden import measure_magnitude


def test_worst_element_is_the_one_furthest_outside_its_own_tolerance():
    """A larger difference within its own tolerance is not the worst."""
    expected = np.array([[1000.0, 1.0], [0.0, 2.0]])
    got = np.array([[1000.5, 1.2], [0.0, 2.1]])
    difference = compare("y", expected, got, atol=0.01, rtol=0.001)
    assert difference.worst.index == (0, 1)
    assert difference.worst.tolerance == pytest.approx(0.011)
    assert difference.max_abs == 0.5
    assert difference.max_rel == pytest.approx(0.0005)


def test_one_wrong_element_among_a_million_is_found():
    """A single wrong element is enough; no mean hides it."""
    expected = np.zeros((1000, 1000), np.float32)
    got = expected.copy()
    got[812, 77] = 1e-3
    assert compare("y", expected, got, 1e-5, 1e-5).worst.index == (812, 77)


def test_integers_must_be_equal_beyond_what_floats_hold():
    """Two int64 that round to the same float64 still differ."""
    expected, got = np.array([2**62]), np.array([2**62 + 1])
    assert compare("ids", expected, got, atol=1e9, rtol=1.0).worst is not None


def test_booleans_must_be_equal():
    """No tolerance lets a wrong boolean through."""
    assert compare("mask", np.array([True]), np.array([False]), atol=2.0, rtol=2.0).worst is not None


@pytest.mark.parametrize(("expected", "got"), [(np.nan, 0.0), (0.0, np.nan), (np.inf, -np.inf), (1.0, np.inf)])
def test_unequal_values_that_are_not_finite_are_infinitely_wrong(expected, got):
    """NaN or infinity on one side only is an infinite error."""
    assert measure_error(np.array([expected]), np.array([got])).tolist() == [np.inf]


def test_rows_of_a_chunk_are_counted_from_the_start_of_the_batch():
    """The index of the worst element is its index in the whole batch."""
    assert compare("y", np.zeros((2, 1)), np.ones((2, 1)), 0, 0, first_row=128).worst.index == (128, 0)


def test_nothing_to_compare_is_no_difference():
    """Arrays without elements agree."""
    assert compare("y", np.zeros((0, 3)), np.zeros((0, 3)), 0, 0).worst is None


def test_magnitude_is_that_of_finite_elements():
    """NaN and infinities do not count for the scale of an output; without other numbers it is 0."""
    assert measure_magnitude(np.array([-3.0, np.nan, 2.0, np.inf])) == 3.0
    assert measure_magnitude(np.array([np.nan])) == measure_magnitude(np.zeros((0, 2))) == 0.0
    assert measure_magnitude(np.array([-(2**62), 1])) == 2.0**62
