"""Reference statistics are finite for any finite numbers."""

import numpy as np
import pytest

from export.proof.statistics import summarise


@pytest.mark.parametrize(
    "values", [[1e300, 2.0], [1.7e308, -1.7e308], [1e17, 1e17], [1e300, 1e300], [1.0, np.nextafter(1, 2)], [3.0, 3.0]]
)
def test_large_or_close_numbers_have_a_histogram(values: list[float]) -> None:
    """Neither squares nor ranges overflow, and no two edges are equal."""
    found = summarise("x", [np.array(values)], 2)
    assert (found.minimum, found.maximum) == pytest.approx((min(values), max(values)))
    assert np.isfinite([found.mean, found.std, *found.histogram_edges]).all()
    assert (np.diff(found.histogram_edges) > 0).all()
    assert sum(found.histogram_counts) == 2
