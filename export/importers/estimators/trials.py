"""Tries what the columns of an estimator accept: missing values, and values that were not in the training.

scikit-learn refuses some values, a graph refuses none. So the manifest's table says what scikit-learn refuses, and the
server refuses it.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from export.importers.estimators.answers import Answers
from export.importers.estimators.columns import Features, walk
from export.importers.estimators.comparison import Converted, measure_difference
from export.importers.rows.tables import Columns, is_missing

_STRANGE_TEXT, _STRANGE_NUMBER = "?no such value?", 987654.25


def try_columns(estimator: Any, graph: Converted, answers: Answers, samples: Columns) -> tuple[Features, list[str]]:
    """The columns with what they accept, and those where only the estimator accepts missing values."""
    features, refused = _allow_missing(estimator, graph, answers, samples)
    known = list(_list_known(estimator))
    values = {}
    for name in features.names if known and features.form != "texts" else ():
        strange = _STRANGE_TEXT if name in features.texts else _STRANGE_NUMBER
        if _accepts(estimator, features, samples, name, [strange]):
            continue
        present = {value for value in samples[name] if not is_missing(value)}
        fits = [each for each in known if present <= set(each) and _accepts(estimator, features, samples, name, each)]
        if fits:
            least: list[Any] = min(fits, key=len)
            values[name] = tuple(least)
    return dataclasses.replace(features, values=values), refused


def _list_known(estimator: Any) -> Iterator[list[Any]]:
    """The known values of each column of an encoder that refuses all others."""
    for part in walk(estimator):
        if getattr(part, "handle_unknown", "") == "error" and hasattr(part, "categories_"):
            for each in part.categories_:
                yield [value for value in np.asarray(each).tolist() if not is_missing(value)]


def _accepts(estimator: Any, features: Features, samples: Columns, name: str, values: Sequence[Any]) -> bool:
    """Whether the estimator predicts for the first sample with each of these values in a column."""
    rows = {column: [samples[column][0]] * len(values) for column in features.names}
    try:
        estimator.predict(features.make_rows({**rows, name: list(values)}))
    except Exception:  # noqa: BLE001  # scikit-learn raises several types
        return False
    return True


def _allow_missing(estimator: Any, graph: Converted, answers: Answers, samples: Columns) -> tuple[Features, list[str]]:
    """The columns whose values may be missing, and those where only the estimator accepts that, not the graph.

    Each column is tried with all its values missing. If the graph disagrees for one column, only columns with missing
    values in the samples are allowed: for the others, agreement may be chance.
    """
    features, allowed, refused = graph.features, set(), []
    for name in features.names:
        if name in features.whole or features.form == "texts":
            continue
        rows = {**samples, name: [None] * len(samples[name])}
        try:
            expected = answers.ask(estimator, features.make_rows(rows))
        except Exception:  # noqa: BLE001, S112  # scikit-learn raises several types for what it does not accept
            continue
        try:
            apart = measure_difference(expected, graph.run(features.fill(rows)), graph.scales)[1]
        except Exception:  # noqa: BLE001  # ONNX Runtime raises many types
            apart = [0]
        if apart:
            refused.append(name)
        else:
            allowed.add(name)
    if refused:
        refused = [name for name in features.names if name in refused or not _has_missing(samples[name])]
        allowed = {name for name in allowed if name not in refused}
    return dataclasses.replace(features, missing=frozenset(allowed)), refused


def _has_missing(values: Sequence[Any]) -> bool:
    return any(is_missing(value) for value in values)
