"""The answers of an estimator, computed by scikit-learn and NumPy, in the form that the manifest describes.

- A classifier gives ``probabilities`` [rows, labels], from predict_proba. Without predict_proba they are 1 for the
  label of predict and 0 for the others, because the estimator does not tell how sure it is.
- A classifier of several labels gives ``probabilities`` [rows, labels], each label's own.
- A detector of outliers gives the same for its two labels, and ``score`` [rows]: decision_function, below 0 for
  outliers.
- A regressor gives ``values`` [rows, targets].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from export.errors import ExportError
from model_store.errors import first_line

Kind = Literal["probabilities", "labels", "several", "outliers", "numbers"]
PROBABILITIES, SCORE, VALUES = "probabilities", "score", "values"
OUTLIERS = ("outlier", "inlier")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """``classes`` are the estimator's labels, if a row has one label. ``width`` is the number of labels or targets."""

    kind: Kind
    width: int
    classes: tuple[Any, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return OUTLIERS if self.kind == "outliers" else tuple(str(label) for label in self.classes)

    def ask(self, estimator: Any, rows: Any) -> dict[str, np.ndarray]:
        """The answers, float32, for rows in the form on which the estimator was fitted. Raises its errors."""
        if self.kind == "numbers":
            return {VALUES: _as_table(estimator.predict(rows)).astype(np.float32)}
        if self.kind == "probabilities":
            return {PROBABILITIES: np.asarray(estimator.predict_proba(rows)).astype(np.float32)}
        if self.kind == "several":
            return {PROBABILITIES: _read_several(estimator, rows).astype(np.float32)}
        predicted = np.asarray(estimator.predict(rows)).ravel()
        if self.kind == "outliers":
            hits = np.stack([predicted == -1, predicted == 1], 1)
            score = np.asarray(estimator.decision_function(rows)).ravel()
            return {PROBABILITIES: hits.astype(np.float32), SCORE: score.astype(np.float32)}
        return {PROBABILITIES: (predicted[:, None] == np.array(self.classes)).astype(np.float32)}


def _as_table(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array.reshape(len(array), -1)


def _read_several(estimator: Any, rows: Any) -> np.ndarray:
    """The probability of each label. scikit-learn returns a table, or for each label a table of no and yes. Without
    predict_proba it is the 0 or 1 of predict."""
    if not hasattr(estimator, "predict_proba"):
        return _as_table(estimator.predict(rows))
    found = estimator.predict_proba(rows)
    return np.stack([np.asarray(one)[:, 1] for one in found], 1) if isinstance(found, list) else np.asarray(found)


def find_answers(estimator: Any, rows: Any, path: Path) -> Answers:
    """The form of the estimator's answers, seen on a few rows. Raises ExportError if the server has no route for it."""
    from sklearn.base import is_classifier, is_outlier_detector, is_regressor

    what = type(estimator).__name__
    try:
        predicted = np.asarray(estimator.predict(rows))
    except Exception as error:
        raise ExportError(
            f"{path}: {what}.predict fails on the samples ({type(error).__name__}: {first_line(error)}): give "
            "--samples with rows that it accepts, in the columns on which it was fitted"
        ) from error
    if is_outlier_detector(estimator):
        return Answers(kind="outliers", width=2)
    if is_regressor(estimator):
        return Answers(kind="numbers", width=_as_table(predicted).shape[1])
    if not is_classifier(estimator):
        raise ExportError(
            f"{path}: {what} is neither a classifier, nor a regressor, nor a detector of outliers: clusters and "
            "transformed columns have no route of their own: convert it with skl2onnx, and import the ONNX file with "
            "--task tensors, or --task embed for vectors"
        )
    if predicted.ndim == 2 and predicted.shape[1] > 1:
        _check_labels(estimator, path)
        return Answers(kind="several", width=predicted.shape[1])
    classes = tuple(np.asarray(estimator.classes_).tolist())
    kind: Kind = "probabilities" if hasattr(estimator, "predict_proba") else "labels"
    return Answers(kind=kind, width=len(classes), classes=classes)


def _check_labels(estimator: Any, path: Path) -> None:
    """Raises ExportError unless each of several targets is 0 or 1."""
    classes = getattr(estimator, "classes_", None)
    for place, own in enumerate(classes if isinstance(classes, list) else []):
        if not _are_flags(np.asarray(own).tolist()):
            raise ExportError(
                f"{path}: target {place} of {type(estimator).__name__} has the classes {list(own)}: expected 0 and 1 "
                "for each label: import one classifier for each target"
            )


def _are_flags(classes: Sequence[Any]) -> bool:
    return len(classes) == 2 and set(classes) == {0, 1}
