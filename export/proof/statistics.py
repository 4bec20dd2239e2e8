"""Reference statistics: how each input and output is distributed over real samples, to tell drift from it."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from model_store.manifest import Statistics

_BINS = 32


def summarise_all(chunks: Iterable[Mapping[str, np.ndarray]], rows: int) -> Iterator[Statistics]:
    """Of each tensor of numbers over so many rows, which come in chunks; none of tensors without elements."""
    parts: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        for name, array in chunk.items():
            parts.setdefault(name, []).append(array)
    for name, arrays in parts.items():
        if arrays[0].dtype.kind in "fiub" and any(array.size for array in arrays):
            yield summarise(name, arrays, rows)


def summarise(name: str, parts: list[np.ndarray], rows: int) -> Statistics:
    """Mean, spread, range and histogram over all elements of a tensor, given in parts; booleans count as 0 and 1."""
    values = np.concatenate([part.astype(np.float64).ravel() for part in parts])
    counts, edges = np.histogram(values, bins=_BINS)
    return Statistics(
        tensor=name,
        rows=rows,
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        histogram_edges=tuple(float(edge) for edge in edges),
        histogram_counts=tuple(int(count) for count in counts),
    )
