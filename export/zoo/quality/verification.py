"""How well the similarity of two rows tells whether they are of one class."""

from typing import NamedTuple

import numpy as np


class Pairs(NamedTuple):
    """Each pair of rows once: its cosine or another similarity, float64 [pairs], and whether the two are of one class,
    bool [pairs]."""

    similarity: np.ndarray
    same: np.ndarray


def compare_pairs(vectors: np.ndarray, labels: np.ndarray) -> Pairs:
    """All pairs of rows: ``vectors`` [rows, size] of any length but 0, ``labels`` integers [rows]."""
    units = vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    first, second = np.triu_indices(len(labels), 1)
    return Pairs((units @ units.T)[first, second], labels[first] == labels[second])


def measure_auroc(pairs: Pairs) -> float:
    """The area under the receiver operating characteristic: how often a same pair is more similar than a different one.

    Equal ones count half. Raises ValueError where pairs of one kind are missing.
    """
    _check_kinds(pairs)
    _, places, counts = np.unique(pairs.similarity, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # equal ones share their mean rank
    same, different = int(pairs.same.sum()), int((~pairs.same).sum())
    return float((ranks[pairs.same].sum() - same * (same + 1) / 2) / (same * different))


def find_equal_error(pairs: Pairs) -> float:
    """The least similarity of a pair that is accepted as the same, with as large a share of wrongs among both kinds.

    It lies in the middle of two similarities that occur. Raises ValueError where pairs of one kind are missing.
    """
    _check_kinds(pairs)
    values, places = np.unique(pairs.similarity, return_inverse=True)
    same, different = (np.bincount(places[kind], minlength=len(values)) for kind in (pairs.same, ~pairs.same))
    rejected = np.concatenate([[0], np.cumsum(same)]) / same.sum()  # if what is below each value is rejected
    accepted = 1 - np.concatenate([[0], np.cumsum(different)]) / different.sum()
    gaps = np.abs(rejected - accepted)
    best = np.flatnonzero(gaps == gaps.min())
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    return float(edges[best].mean())


def measure_errors(pairs: Pairs, threshold: float) -> tuple[float, float]:
    """The share of different pairs that is accepted at a threshold, and of same pairs that is rejected, 0..1.

    Raises ValueError where pairs of one kind are missing.
    """
    _check_kinds(pairs)
    accepted = pairs.similarity >= threshold
    return float(accepted[~pairs.same].mean()), float((~accepted[pairs.same]).mean())


def _check_kinds(pairs: Pairs) -> None:
    if pairs.same.all() or not pairs.same.any():
        raise ValueError(f"expected same and different pairs, got {pairs.same.sum()} of {len(pairs.same)} the same")
