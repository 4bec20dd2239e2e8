"""The difference of two arrays, element by element, never as a mean."""

from dataclasses import dataclass

import numpy as np

from export.errors import Element

Rounding = float | np.ndarray
"""How far rounding alone may move each element: see ``rounding.py``."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The worst difference over the outputs: absolute, and relative to the largest magnitude of its output."""

    max_abs: float
    max_rel: float
    worst: Element | None
    """The element that is furthest outside its tolerance; None if all are within."""

    def join(self, other: "Difference") -> "Difference":
        worst = max((d.worst for d in (self, other) if d.worst), key=lambda element: element.excess, default=None)
        return Difference(max(self.max_abs, other.max_abs), max(self.max_rel, other.max_rel), worst)


NO_DIFFERENCE = Difference(0.0, 0.0, None)


def measure_error(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    """``|got - expected|`` as float64; infinite if one of two unequal floats is not finite.

    Unequal integers count as at least 1, because float64 cannot hold every int64.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype.kind != "f":
        return np.where(expected != got, np.maximum(error, 1.0), 0.0)
    both_nan = np.isnan(expected) & np.isnan(got)
    return np.where(both_nan | (expected == got), 0.0, np.nan_to_num(error, nan=np.inf, posinf=np.inf))


def _tolerance(expected: np.ndarray, atol: float, rtol: float, rounding: Rounding = 0.0) -> np.ndarray:
    """How much each element may differ. Integers and booleans may differ only by ``rounding``."""
    magnitudes = np.abs(expected.astype(np.float64))
    return rounding + (atol + rtol * magnitudes if expected.dtype.kind == "f" else np.zeros_like(magnitudes))


def count_outside(expected: np.ndarray, got: np.ndarray, atol: float, rtol: float, rounding: Rounding = 0.0) -> int:
    """The number of rows with an element that differs by more than ``atol + rtol * |expected| + rounding``."""
    outside = measure_error(expected, got) > _tolerance(expected, atol, rtol, rounding)
    return int(outside.any(axis=tuple(range(1, outside.ndim))).sum())


def compare(
    name: str,
    expected: np.ndarray,
    got: np.ndarray,
    atol: float,
    rtol: float,
    first_row: int = 0,
    rounding: Rounding = 0.0,
) -> Difference:
    """The worst difference of two arrays of one shape, judged by ``atol + rtol * |expected| + rounding``.

    Integers and booleans must be equal, except for what rounding changes. ``first_row`` is added to the row index of
    the worst element, for arrays that are part of a larger batch.
    """
    if expected.size == 0:
        return NO_DIFFERENCE
    error = measure_error(expected, got)
    magnitudes = np.abs(expected.astype(np.float64))
    tolerance = _tolerance(expected, atol, rtol, rounding)
    largest, magnitude = float(error.max()), float(magnitudes.max())
    relative = largest / magnitude if magnitude > 0 else largest
    worst = None
    if (error > tolerance).any():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmax(error - tolerance)), error.shape))
        shown = (index[0] + first_row, *index[1:]) if index else ()
        worst = Element(name, shown, float(expected[index]), float(got[index]), float(tolerance[index]))
    return Difference(largest, relative, worst)
