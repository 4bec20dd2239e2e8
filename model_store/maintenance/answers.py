"""Compares the golden answers of two versions.

If both versions store the same inputs, their stored answers are compared. Otherwise the graph of the second version
runs on the stored inputs of the first, on the CPU.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model_store.datatypes import datatype_of
from model_store.errors import StoreError, first_line
from model_store.golden import GoldenSamples, measure_magnitude
from model_store.graph import MAIN
from model_store.graphs.sessions import CpuSession
from model_store.manifest import Golden, Manifest
from model_store.store import ModelVersion


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """One output. ``largest`` is the largest absolute difference.

    It is None for texts, if shapes or datatypes differ, and if only one of two numbers is finite.
    """

    output: str
    largest: float | None
    of_magnitude: float | None
    """``largest`` relative to the largest magnitude of the answers of the first version."""
    elements: int
    """The number of elements that differ; all if shapes or datatypes differ."""
    of_elements: int
    """The number of all elements."""
    labels: int | None = None
    """The number of rows in which another class has the highest score; None if the output holds no scores."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The golden answers of one graph. ``note`` says why they were not compared; "" if they were."""

    graph: str
    source: Literal["stored", "run", ""]
    """Where the answers of the second version come from: stored for the same inputs, or made by a run of its graph."""
    rows: int
    outputs: tuple[OutputDifference, ...] = ()
    note: str = ""


def compare_answers(before: ModelVersion, old: Manifest, after: ModelVersion, new: Manifest) -> Iterator[Answers]:
    """Compare each graph of which the first version has golden samples. Raises StoreError."""
    for name, facts in _list_golden(old).items():
        if name not in new.graphs:
            yield Answers(name, "", facts.rows, note="the other version has no such graph")
            continue
        samples = GoldenSamples.from_bytes(before.read(old, facts.file))
        source, answers, note = _find_answers(samples, after, new, name)
        scores = _list_scores(new) if name == MAIN else set()
        differences = tuple(
            _compare_output(output, expected, answers.get(output), output in scores)
            for output, expected in samples.outputs.items()
        )
        yield Answers(name, source, facts.rows, () if note else differences, note)


def _list_golden(manifest: Manifest) -> dict[str, Golden]:
    return ({MAIN: manifest.golden} if manifest.golden else {}) | dict(manifest.graph_golden)


def _list_scores(manifest: Manifest) -> set[str | None]:
    """The outputs whose highest score is the answer."""
    classes = manifest.classes
    return set() if classes is None or classes.multi_label else {classes.probabilities, classes.logits}


def _find_answers(
    samples: GoldenSamples, after: ModelVersion, new: Manifest, name: str
) -> tuple[Literal["stored", "run", ""], Mapping[str, np.ndarray], str]:
    """Where the answers of the second version come from, the answers, and why there are none, or ""."""
    facts = new.golden_of(name)
    if facts is not None:
        stored = GoldenSamples.from_bytes(after.read(new, facts.file))
        if _are_equal(samples.inputs, stored.inputs):
            return "stored", stored.outputs, ""
    graph = new.graphs[name]
    taken = {tensor.name for tensor in graph.inputs}
    if taken != samples.inputs.keys():
        return "", {}, f"the inputs are others: {', '.join(sorted(samples.inputs))}, now {', '.join(sorted(taken))}"
    external = {file: after.read(new, file) for file in graph.external_data}
    try:
        session = CpuSession(after.read(new, graph.file), external)
        return "run", dict(zip(session.output_names, session.run(samples.inputs), strict=True)), ""
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001  # ONNX Runtime raises many types
        return "", {}, f"it does not run on the inputs of the other version: {first_line(error)}"


def _are_equal(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        array.dtype == second[name].dtype and array.shape == second[name].shape and not _count(array, second[name])
        for name, array in first.items()
    )


def _compare_output(name: str, old: np.ndarray, new: np.ndarray | None, is_score: bool) -> OutputDifference:
    if new is None or new.shape != old.shape or new.dtype != old.dtype:
        return OutputDifference(name, None, None, old.size, old.size)
    elements = _count(old, new)
    if datatype_of(old).kind not in "fiu" or not old.size:
        return OutputDifference(name, None, None, elements, old.size)
    first, second = old.astype(np.float64), new.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gaps = np.where(_same(first, second), 0.0, np.abs(first - second))
    largest = float(gaps.max(initial=0.0))
    magnitude = measure_magnitude(old)
    labels = int((first.argmax(-1) != second.argmax(-1)).sum()) if is_score and old.ndim > 1 else None
    if not math.isfinite(largest):
        return OutputDifference(name, None, None, elements, old.size, labels)
    return OutputDifference(name, largest, largest / magnitude if magnitude else None, elements, old.size, labels)


def _count(old: np.ndarray, new: np.ndarray) -> int:
    return int((~_same(old, new)).sum())


def _same(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Where two arrays of one shape are equal; NaN equals NaN."""
    same = np.asarray(old == new)
    return same if datatype_of(old).kind != "f" else same | (np.isnan(old) & np.isnan(new))
