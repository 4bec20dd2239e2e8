"""Compares the outputs that one version has sent with those of another version for the same rows."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

import numpy as np

from model_store.datatypes import datatype_of
from model_store.graph import MAIN
from model_store.manifest import Manifest
from service.engine.tensors import Arrays

_USUAL_ATOL: Final = 1e-3
_USUAL_RTOL: Final = 1e-3
_THRESHOLD: Final = 0.5


class Tolerance(NamedTuple):
    """Two answers agree if all numbers are within ``atol + rtol * |sent|`` and all else is equal.

    If the manifest has classes, they also agree if every row gets the same label: a version that was trained again
    gives other numbers. ``scores`` is the output with the scores. ``threshold``: a row may have several labels, those
    with at least this score.
    """

    atol: float
    rtol: float
    scores: str | None = None
    threshold: float | None = None

    @classmethod
    def usual(cls) -> Self:
        """For graphs without golden samples."""
        return cls(_USUAL_ATOL, _USUAL_RTOL)


def find_tolerance(manifest: Manifest, graph: str) -> Tolerance:
    """The tolerance of a graph: that of its golden samples, if it has any."""
    golden = manifest.golden_of(graph)
    atol, rtol = (_USUAL_ATOL, _USUAL_RTOL) if golden is None else (golden.atol, golden.rtol)
    classes = manifest.classes if graph == MAIN else None
    if classes is None:
        return Tolerance(atol, rtol)
    threshold = (classes.threshold or _THRESHOLD) if classes.multi_label else None
    return Tolerance(atol, rtol, classes.probabilities, threshold)


class GraphRun(NamedTuple):
    """A run of a graph for a request: its rows, and the outputs that the answer was made from."""

    graph: str
    inputs: Arrays
    outputs: Arrays

    @property
    def size_bytes(self) -> int:
        """The memory that it holds. An array may be a view of a larger one, which it keeps in memory."""
        return sum(_held_bytes(array) for arrays in (self.inputs, self.outputs) for array in arrays.values())


def _held_bytes(array: np.ndarray) -> int:
    base = array.base
    if isinstance(base, np.ndarray):
        return max(array.nbytes, base.nbytes)
    return max(array.nbytes, len(base)) if isinstance(base, bytes) else array.nbytes


def agree(sent: Arrays, got: Arrays, tolerance: Tolerance) -> bool:
    """Whether two answers agree in all outputs that both have. They disagree if there is none, or if shapes differ."""
    names = [name for name in sent if name in got]
    if not names:
        return False
    scores = tolerance.scores
    if scores in names and _same_labels(sent[scores], got[scores], tolerance.threshold):
        return True
    return all(_is_near(sent[name], got[name], tolerance) for name in names)


def _is_near(sent: np.ndarray, got: np.ndarray, tolerance: Tolerance) -> bool:
    kind = datatype_of(sent).kind
    if sent.shape != got.shape or datatype_of(got).kind != kind:
        return False
    if kind not in "fiu":
        return bool(np.array_equal(sent, got))
    wanted = sent.astype(np.float64)
    return bool(np.isclose(got.astype(np.float64), wanted, tolerance.rtol, tolerance.atol, equal_nan=True).all())


def _same_labels(sent: np.ndarray, got: np.ndarray, threshold: float | None) -> bool:
    if sent.shape != got.shape or not sent.ndim or not sent.shape[-1]:
        return False
    if threshold is not None:
        return bool(np.array_equal(sent >= threshold, got >= threshold))
    return bool(np.array_equal(sent.argmax(axis=-1), got.argmax(axis=-1)))


def count_bytes(runs: Sequence[GraphRun]) -> int:
    return sum(run.size_bytes for run in runs)


def find_tolerances(manifest: Manifest) -> Mapping[str, Tolerance]:
    """The tolerance of each graph."""
    return {graph: find_tolerance(manifest, graph) for graph in manifest.graphs}
