"""Reference statistics: the distribution of each input and output over real samples, for detecting drift."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from model_store.manifest import Statistics

_BINS = 32
_LARGE = 1e100
"""Larger numbers are scaled down before the calculation, because their squares and ranges would not be finite."""


def summarise_all(chunks: Iterable[Mapping[str, np.ndarray]], rows: int) -> Iterator[Statistics]:
    """Statistics of each numeric tensor over ``rows`` rows, given in chunks. Skips tensors without finite values."""
    parts: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        for name, array in chunk.items():
            parts.setdefault(name, []).append(array)
    for name, arrays in parts.items():
        if arrays[0].dtype.kind in "fiub" and any(np.isfinite(array.astype(np.float64)).any() for array in arrays):
            yield summarise(name, arrays, rows)


def summarise(name: str, parts: list[np.ndarray], rows: int) -> Statistics:
    """Mean, spread, range and histogram over the finite elements of a tensor, given in parts. Booleans count as 0 and
    1; NaN is a missing value of a table."""
    values = np.concatenate([part.astype(np.float64).ravel() for part in parts])
    values = values[np.isfinite(values)]
    scale = max(1.0, float(np.abs(values).max()) / _LARGE)
    values = values / scale
    low, high = values.min(), values.max()
    least = 8 * _BINS * np.spacing(max(abs(low), abs(high)))
    if high - low < least and (high > low or least > 1):  # else the edges would be equal; NumPy widens small constants
        low, high = low - least, high + least
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    return Statistics(
        tensor=name,
        rows=rows,
        mean=float(values.mean()) * scale,
        std=float(values.std()) * scale,
        minimum=float(values.min()) * scale,
        maximum=float(values.max()) * scale,
        histogram_edges=tuple(float(edge) * scale for edge in edges),
        histogram_counts=tuple(int(count) for count in counts),
    )
