"""Compares the graph with the estimator on the samples.

A graph computes in float32, scikit-learn mostly in float64. The difference is rounding, unless a number is so close to
the threshold of a tree that the row takes another path. So graphs of several number formats are tried, and the first
one that agrees on all samples is used.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from export.importers.changes.change import Arrays
from export.importers.estimators.answers import PROBABILITIES, Answers
from export.importers.estimators.columns import Features, find_whole
from export.importers.estimators.conversion import convert
from export.importers.rounding import LIMIT, measure_errors
from export.importers.rows.tables import Columns
from model_store.errors import StoreError, first_line
from model_store.graphs.locales import with_available_locale
from model_store.graphs.sessions import CpuSession

_FORMATS = {"FP32": "float32", "FP64": "float64"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """A graph, and how far it is from the estimator on the samples."""

    content: bytes
    features: Features
    run: Callable[[Arrays], dict[str, np.ndarray]]
    error: float = 0.0
    """The largest difference, as a share of the output's largest magnitude in the samples."""
    apart: list[int] = field(default_factory=list)
    """The rows that differ by more than rounding."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """The largest magnitude of each output in the samples."""


def convert_best(estimator: Any, features: Features, answers: Answers, samples: Columns, path: Path) -> Converted:
    """The first graph that agrees with the estimator on all samples.

    Raises ExportError if none can be made, or none agrees; the text says what differs.
    """
    expected = answers.ask(estimator, features.make_rows(samples))
    found: list[Converted] = []
    failure: ExportError | None = None
    for variant in _list_variants(features, samples):
        try:
            graph = _compare(_open(estimator, variant, answers, path), samples, expected, path)
        except ExportError as error:
            failure = failure or error
            continue
        if not graph.apart:
            return graph
        found.append(graph)
    if not found:
        raise failure or ExportError(f"{path}: it has no columns")
    best = min(found, key=lambda graph: (len(graph.apart), graph.error))
    count = len(next(iter(expected.values())))
    raise ExportError(
        f"{path}: the graph of skl2onnx differs from {type(estimator).__name__} on {len(best.apart)} of {count} rows "
        f"of the samples, such as row {best.apart[0]}, by up to {best.error:.2g} of the largest value, more than "
        f"rounding ({LIMIT:g}). Either its converter computes something else (such as n-grams with stop words): "
        "change that step. Or a value is very close to a threshold, or two neighbours are equally far: leave such rows "
        "out if they are rare"
    )


def _list_variants(features: Features, samples: Columns) -> Iterator[Features]:
    yield features
    yield dataclasses.replace(features, datatype="FP64")
    whole = find_whole(features, samples) if features.are_apart else frozenset()
    if whole:
        yield dataclasses.replace(features, whole=whole)


def _open(estimator: Any, features: Features, answers: Answers, path: Path) -> Converted:
    content = convert(estimator, features, answers, path)
    try:
        session = CpuSession(with_available_locale(content), {})
    except StoreError as error:
        raise ExportError(f"{path}: ONNX Runtime does not load the graph that skl2onnx made: {error}") from error

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        return dict(zip(session.output_names, session.run(inputs), strict=True))

    return Converted(content=content, features=features, run=run)


def _compare(graph: Converted, samples: Columns, expected: Arrays, path: Path) -> Converted:
    try:
        got = graph.run(graph.features.fill(samples))
    except Exception as failure:  # ONNX Runtime raises many types
        raise ExportError(f"{path}: ONNX Runtime fails on the samples: {first_line(failure)}") from failure
    scales = {name: float(np.abs(v[np.isfinite(v)]).max(initial=0.0)) for name, v in expected.items()}
    error, apart = measure_difference(expected, got, scales)
    return dataclasses.replace(graph, error=error, apart=apart, scales=scales)


def measure_difference(expected: Arrays, got: Arrays, scales: Mapping[str, float]) -> tuple[float, list[int]]:
    """The largest difference as a share of an output's largest magnitude, and the rows that differ by more than
    rounding."""
    worst = 0.0
    apart: set[int] = set()
    for name, wanted in expected.items():
        found = got[name]
        if found.shape != wanted.shape:
            return np.inf, list(range(len(wanted)))
        scale = max(scales[name], 1e-30)
        share = (measure_errors(wanted, found) / scale).reshape(len(wanted), -1).max(1)
        apart |= set(np.flatnonzero(~(share <= LIMIT)).tolist())
        worst = max(worst, float(share.max(initial=0.0)))
    return worst, sorted(apart)


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """The estimator as a function of the graph's inputs. For a row of the samples it gets the values of the samples,
    not those that were rounded for the graph."""

    estimator: Any
    features: Features
    answers: Answers
    samples: Columns

    @cached_property
    def _places(self) -> dict[str, int]:
        """The first place of each row of the samples."""
        filled = self.features.fill(self.samples)
        count = len(next(iter(filled.values())))
        return {_name_row(filled, row): row for row in reversed(range(count))}

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The answers for one row."""
        place = self._places.get(_name_row(inputs, 0))
        columns: Columns = self.features.read_inputs(inputs)
        if place is not None:
            columns = {name: [self.samples[name][place]] for name in self.features.names}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.answers.ask(self.estimator, self.features.make_rows(columns))


def _name_row(inputs: Arrays, row: int) -> str:
    """A text that identifies a row."""
    return repr([inputs[name][row].tolist() for name in sorted(inputs)])


def describe_comparison(estimator: Any, graph: Converted, answers: Answers, samples: Columns) -> Iterator[str]:
    """The results of the comparison, for people."""
    rows = graph.features.make_rows(samples)
    count = len(next(iter(samples.values())))
    method = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    what = f"{type(estimator).__name__}.{method}"
    yield (
        f"on {count} rows the graph, in {_FORMATS[graph.features.datatype]}, gives what {what} gives, within "
        f"{graph.error:.1e} of the largest value"
    )
    if answers.kind != "probabilities":
        return
    chosen = np.array(answers.classes)[answers.ask(estimator, rows)[PROBABILITIES].argmax(1)]
    differs = int((chosen != np.asarray(estimator.predict(rows)).ravel()).sum())
    if differs:
        yield (
            f"{type(estimator).__name__}.predict gives another label than the most probable one on {differs} of "
            f"{count} rows: /classify answers with the most probable one"
        )


def make_up(features: Features, rows: int = 32) -> Mapping[str, list[Any]]:
    """Made-up rows: numbers over several decades, and a few words."""
    draw = np.random.default_rng(0)
    words = ("the", "a", "good", "new", "one", "day")
    made: dict[str, list[Any]] = {}
    for name in features.names:
        if name in features.texts:
            made[name] = [" ".join(draw.choice(words, draw.integers(1, 6))) for _ in range(rows)]
        else:
            made[name] = (draw.standard_normal(rows) * np.logspace(-1, 1, rows)).round(3).tolist()
    return made
