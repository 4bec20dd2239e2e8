"""The columns of an estimator: their names and kinds, and rows in the form on which it was fitted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from export.importers.changes.change import Arrays
from export.importers.estimators.answers import PROBABILITIES, SCORE, VALUES
from export.importers.rows.samples import LABEL_COLUMN
from export.importers.rows.tables import Columns, is_missing, is_text
from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Column, Table

_INPUT = "x"
_TAKEN = (PROBABILITIES, SCORE, VALUES)
"""The names of the outputs, which no input may have."""
_TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class Features:
    """The columns of an estimator, in its order.

    ``are_apart``: each column is an input [batch, 1], as a ColumnTransformer needs; else there is one input
    [batch, columns]. ``form`` is what the estimator was fitted on: a table, an array, or a list of texts.
    ``datatype`` is the datatype of numbers, and ``whole`` are columns of whole numbers, which are INT64.
    """

    names: tuple[str, ...]
    texts: frozenset[str] = frozenset()
    are_apart: bool = False
    form: str = "array"
    datatype: str = "FP32"
    whole: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    """Columns whose values may be missing."""
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The only values that some columns accept."""

    def describe(self) -> Table:
        """The table of the manifest."""
        columns = [
            Column(
                name=name,
                input=self.input_of(name),
                position=0 if self.are_apart else place,
                missing=name in self.missing,
                values=self.values.get(name, ()),
            )
            for place, name in enumerate(self.names)
        ]
        return Table(columns=tuple(columns))

    def list_inputs(self) -> tuple[Tensor, ...]:
        """The inputs of the graph."""
        if not self.are_apart:
            return (Tensor(name=_INPUT, datatype=self.datatype, shape=("batch", len(self.names))),)
        return tuple(Tensor(name=self.input_of(n), datatype=self.type_of(n), shape=("batch", 1)) for n in self.names)

    def input_of(self, name: str) -> str:
        """The input that a column fills."""
        if not self.are_apart:
            return _INPUT
        return f"{name}_column" if name in _TAKEN else name

    def type_of(self, name: str) -> str:
        if name in self.texts:
            return "BYTES"
        return "INT64" if name in self.whole else self.datatype

    def fill(self, columns: Columns) -> dict[str, np.ndarray]:
        """The inputs of the graph for rows of the table."""
        arrays = {}
        for name in self.names:
            nothing: Any = "" if name in self.texts else np.nan
            cells = [nothing if is_missing(value) else value for value in columns[name]]
            arrays[self.input_of(name) if self.are_apart else name] = np.array(
                cells, DATATYPES[self.type_of(name)].dtype
            )[:, None]
        return arrays if self.are_apart else {_INPUT: np.concatenate(list(arrays.values()), 1)}

    def read_inputs(self, inputs: Arrays) -> dict[str, list[Any]]:
        """The rows of a table for inputs of the graph. An empty text stands for a missing one if it may be missing."""
        found = {}
        for place, name in enumerate(self.names):
            array = inputs[self.input_of(name)]
            found[name] = array[:, 0 if self.are_apart else place].tolist()
        for name in self.texts & self.missing:
            found[name] = [None if value == "" else value for value in found[name]]
        return found

    def make_rows(self, columns: Columns) -> Any:
        """Rows in the form on which the estimator was fitted."""
        if self.form == "texts":
            return list(columns[self.names[0]])
        if self.form == "table":
            import pandas

            made = {name: self._make_series(columns[name], name) for name in self.names}
            return pandas.DataFrame(made)
        if not self.texts:
            return np.array([[_as_float(value) for value in columns[name]] for name in self.names], float).T
        return np.array([list(columns[name]) for name in self.names], object).T

    def _make_series(self, values: Any, name: str) -> Any:
        if name in self.texts:
            return np.array([np.nan if is_missing(value) else value for value in values], object)
        return np.array([_as_float(value) for value in values], int if name in self.whole else float)


def _as_float(value: Any) -> float:
    return np.nan if is_missing(value) else float(value)


def find_features(estimator: Any, samples: Columns | None, path: Path) -> Features:
    """The columns of a fitted estimator. Raises ExportError, which says what to give."""
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    given = {name: values for name, values in (samples or {}).items() if name != LABEL_COLUMN or name in names}
    if _takes_texts(estimator):
        if len(given) > 1 and _TEXT not in given:
            raise ExportError(f"{path}: expected samples with one column, {_TEXT}, got {', '.join(given)}")
        name = next(iter(given)) if len(given) == 1 else _TEXT
        return Features(names=(name,), texts=frozenset([name]), are_apart=True, form="texts")
    count = getattr(estimator, "n_features_in_", len(names) or None)
    if count is None:
        raise ExportError(f"{path}: {type(estimator).__name__} is not fitted: expected n_features_in_: call fit first")
    form = "table" if names else "array"
    if not names:
        names = tuple(given) if len(given) == count else tuple(f"x{place}" for place in range(count))
    if len(set(names)) < len(names):
        raise ExportError(f"{path}: expected different names of columns, got {', '.join(names)}")
    if samples is None:
        if _splits_columns(estimator):
            raise ExportError(
                f"{path}: nothing says which of its columns {', '.join(names)} are texts: give "
                "--samples with a table of some rows, .csv or .parquet"
            )
        return Features(names=names, form=form)
    absent = [name for name in names if name not in given]
    if absent:
        have = ", ".join(given)
        raise ExportError(f"{path}: expected samples with the columns {', '.join(names)}: no {absent[0]!r} in {have}")
    texts = frozenset(name for name in names if _holds_texts(name, given[name], path))
    apart = bool(texts) or _splits_columns(estimator)
    return Features(names=names, texts=texts, are_apart=apart, form=form)


def find_whole(features: Features, samples: Columns) -> frozenset[str]:
    """The columns that hold whole numbers in all samples."""
    numbers = [name for name in features.names if name not in features.texts]
    return frozenset(n for n in numbers if all(isinstance(value, int) for value in samples[n]))


def _holds_texts(name: str, values: Any, path: Path) -> bool:
    """Whether a column has texts. Raises ExportError for what is neither text nor number."""
    present = [value for value in values if not is_missing(value)]
    kinds = {is_text(value) for value in present}
    odd = next((v for v in present if not isinstance(v, str | bool | int | float | np.number)), None)
    if odd is not None:
        raise ExportError(
            f"{path}: samples: column {name!r} has {odd!r:.40} ({type(odd).__name__}): expected texts or numbers: "
            "turn dates and lists into numbers before the estimator"
        )
    if len(kinds) != 1:
        what = "texts and numbers" if kinds else "no values"
        raise ExportError(f"{path}: samples: column {name!r} has {what}: expected texts, or numbers")
    return kinds.pop()


def walk(estimator: Any) -> Iterator[Any]:
    """An estimator and those inside it, such as the steps of a pipeline and the transformers of columns."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, str | bytes | np.ndarray | int | float | type):
            continue
        seen.add(id(found))
        if isinstance(found, list | tuple):
            waiting += found
        elif isinstance(found, dict):
            waiting += found.values()
        elif hasattr(found, "get_params"):
            yield found
            waiting += vars(found).values()


def _takes_texts(estimator: Any) -> bool:
    """Whether it begins with a vectorizer, which takes a list of texts."""
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

    while getattr(estimator, "steps", None):
        estimator = estimator.steps[0][1]
    return isinstance(estimator, CountVectorizer | HashingVectorizer | TfidfVectorizer)


def _splits_columns(estimator: Any) -> bool:
    from sklearn.compose import ColumnTransformer

    return any(isinstance(part, ColumnTransformer) for part in walk(estimator))
