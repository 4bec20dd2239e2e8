"""The quality of a classifier on labelled rows: accuracy, accuracy of the five best, calibration."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from export.errors import SpecError
from export.importers.changes.change import Arrays
from export.importers.samples import Reader
from export.spec.description import ModelDescription
from export.zoo.quality.calibration import measure_calibration_error
from model_store.manifest import Quality

_CHUNK_ROWS = 16
_TOP = 5
METRICS = ("accuracy", "top5_accuracy", "calibration")


def check_evaluation(description: ModelDescription, bar: Mapping[str, float], has_data: bool) -> None:
    """Raise SpecError if there is nothing to evaluate by, or the bar names what is not measured."""
    unknown = sorted(set(bar) - set(METRICS))
    if unknown:
        raise SpecError(f"{description.name}: --bar {unknown[0]}: expected one of {', '.join(METRICS)}")
    if bar and not has_data:
        raise SpecError(f"{description.name}: --bar: expected --evaluate too, which names the labelled rows")
    if has_data and (description.task != "classify" or description.classes is None or description.classes.multi_label):
        raise SpecError(
            f"{description.name}: --evaluate: expected the task classify with one label for each row, got "
            f"{description.task}: measure others in a spec, and publish it by `sluice export`"
        )


def evaluate(
    reader: Reader,
    description: ModelDescription,
    path: Path,
    bar: Mapping[str, float],
    predict: Callable[[Arrays], Mapping[str, np.ndarray]],
) -> Quality:
    """Measure on the labelled rows of ``path``. ``calibration`` is 1 minus the expected calibration error.

    Raises SpecError for labels that the model does not have.
    """
    assert description.classes is not None  # noqa: S101  # it was checked
    rows, labels = reader.read_labelled(path)
    places = {label: place for place, label in enumerate(description.labels)}
    unknown = sorted(set(labels) - set(places))
    if unknown:
        raise SpecError(
            f"{path}: {len(unknown)} labels are not those of the model, such as {unknown[0]!r}: expected names like "
            f"{', '.join(description.labels[:5])}"
        )
    truths = np.array([places[label] for label in labels])
    output = description.classes.probabilities
    any_size = description.image is not None and description.image.height is None
    found = np.concatenate([predict(chunk)[output] for chunk in rows.chunks(1 if any_size else _CHUNK_ROWS)])
    metrics = {"accuracy": float((found.argmax(1) == truths).mean())}
    if len(places) > _TOP:
        best = np.argsort(-found, axis=1, kind="stable")[:, :_TOP]
        metrics["top5_accuracy"] = float((best == truths[:, None]).any(1).mean())
    metrics["calibration"] = 1 - measure_calibration_error(found, truths)
    return Quality(data=str(path), rows=len(truths), metrics=metrics, bar=dict(bar))
