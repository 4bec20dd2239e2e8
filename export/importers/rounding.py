"""How far two results are apart, and how much of that may be rounding."""

import numpy as np

LIMIT = 1e-4
"""A difference above this share of an output's largest magnitude is more than rounding."""


def measure_errors(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The difference of each element, float64: 0 where both are equal, or both are NaN."""
    same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.abs(wanted.astype(np.float64) - found))
