"""The quality on labelled rows: accuracy and calibration of labels, and how well vectors separate labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from export.errors import SpecError
from export.importers.changes.change import Arrays
from export.importers.rows.samples import Reader
from export.spec.description import ModelDescription
from export.zoo.quality.calibration import measure_calibration_error
from export.zoo.quality.verification import Pairs, measure_auroc
from model_store.manifest import Quality
from model_store.tasks import Embedding

_CHUNK_ROWS = 16
_TOP = 5
METRICS = {
    "classify": ("accuracy", "top5_accuracy", "calibration"),
    "embed": ("auroc", "balanced_accuracy", "best_threshold"),
}
"""What is measured, by task. ``calibration`` is 1 minus the expected calibration error; ``top5_accuracy`` needs
more than five labels."""
_MOST_VECTORS = 2000
"""At most this many vectors are compared, in all pairs."""
_WHOLE = 20
"""A label with no more rows than this is drawn with all its rows."""
_SEED = 0
"""The seed that draws vectors if there are more."""


def check_evaluation(description: ModelDescription, bar: Mapping[str, float], has_data: bool) -> None:
    """Raise SpecError if the task cannot be evaluated, or the bar has a metric that is not measured. Runs no model."""
    if not bar and not has_data:
        return
    metrics = list(METRICS.get(description.task, ()))
    several = description.classes is not None and description.classes.multi_label
    if not metrics or several:
        flag = "--evaluate" if has_data else "--bar"
        task = f"{description.task} with several labels for a row" if several else description.task
        raise SpecError(
            f"{description.name}: {flag}: expected the task {' or '.join(METRICS)}, with one label for each row, "
            f"got {task}: measure others in a spec, and publish it by `sluice export`"
        )
    few = description.task == "classify" and len(description.labels) <= _TOP
    if few:
        metrics.remove("top5_accuracy")
    if unknown := sorted(set(bar) - set(metrics)):
        why = f" for {len(description.labels)} labels" if few else ""
        raise SpecError(f"{description.name}: --bar {unknown[0]}: expected one of {', '.join(metrics)}{why}")
    if bar and not has_data:
        raise SpecError(f"{description.name}: --bar: expected --evaluate too, which names the labelled rows")


def evaluate(
    reader: Reader,
    description: ModelDescription,
    path: Path,
    bar: Mapping[str, float],
    predict: Callable[[Arrays], Mapping[str, np.ndarray]],
) -> Quality:
    """Measure on the labelled rows of ``path``. Raises SpecError for labels that do not fit."""
    rows, labels = reader.read_labelled(path)
    any_size = description.image is not None and description.image.width is None
    is_sound = description.sound is not None
    chunks = rows.chunks(1 if any_size or is_sound else _CHUNK_ROWS)

    def answer(output: str) -> np.ndarray:
        """The output for each row: of a sound, the mean over its windows, as the server answers."""
        answers = [predict(chunk)[output] for chunk in chunks]
        return np.concatenate([one.mean(axis=0, keepdims=True) for one in answers] if is_sound else answers)

    if description.embedding is not None:
        found = answer(description.embedding.output)
        metrics = dict(_measure_vectors(found, labels, description.embedding, path))
    else:
        assert description.classes is not None  # noqa: S101  # it was checked
        truths = _find_places(description.labels, labels, path)
        found = answer(description.classes.probabilities)
        metrics = dict(_measure_labels(found, truths))
    return Quality(data=str(path), rows=len(labels), metrics=metrics, bar=dict(bar))


def _find_places(known: Sequence[str], labels: Sequence[str], path: Path) -> np.ndarray:
    """The positions of labels. Raises SpecError for one that the model does not have."""
    places = {label: place for place, label in enumerate(known)}
    unknown = sorted(set(labels) - set(places))
    if unknown:
        raise SpecError(
            f"{path}: the model does not have {len(unknown)} of the labels, such as {unknown[0]!r}: expected names "
            f"like {', '.join(known[:5])}"
        )
    return np.array([places[label] for label in labels])


def _measure_labels(found: np.ndarray, truths: np.ndarray) -> Iterator[tuple[str, float]]:
    yield "accuracy", float((found.argmax(1) == truths).mean())
    if found.shape[1] > _TOP:
        best = np.argsort(-found, axis=1, kind="stable")[:, :_TOP]
        yield "top5_accuracy", float((best == truths[:, None]).any(1).mean())
    yield "calibration", 1 - measure_calibration_error(found, truths)


def draw_rows(labels: Sequence[str], most: int) -> np.ndarray:
    """At most ``most`` positions, in order. Labels are drawn at random, each with all its rows, so that pairs stay.

    A large label gives only an equal share of the rows or 20, whichever is more, so that others are compared too. Each
    run draws the same rows.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    generator = np.random.default_rng(_SEED)
    _, codes = np.unique(np.array(labels), return_inverse=True)
    by_label = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    limit = min(max(most // len(by_label), _WHOLE), most // 2)
    drawn: list[int] = []
    for place in generator.permutation(len(by_label)):
        share = min(limit, most - len(drawn))
        drawn += generator.permutation(by_label[place])[:share].tolist()
    return np.sort(np.array(drawn))


def _measure_vectors(
    found: np.ndarray, labels: Sequence[str], facts: Embedding, path: Path
) -> Iterator[tuple[str, float]]:
    """How well the similarity of a pair shows whether its labels are equal, over all pairs.

    ``best_threshold`` is the cosine or distance with the best ``balanced_accuracy``: the mean of the share of equal
    pairs that are right and the share of different pairs that are right.
    """
    drawn = draw_rows(labels, _MOST_VECTORS)
    vectors, truths = found[drawn].astype(np.float64), np.array(labels)[drawn]
    if facts.normalise:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    pairs = np.triu_indices(len(vectors), 1)
    if facts.metric == "cosine":
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        scores = ((vectors @ vectors.T) / np.outer(lengths, lengths))[pairs]
    else:
        squares = (vectors**2).sum(1)
        distances = squares[:, None] + squares[None] - 2 * vectors @ vectors.T
        scores = -np.sqrt(np.maximum(distances, 0))[pairs]
    equal = (truths[:, None] == truths[None])[pairs]
    same, different = np.sort(scores[equal]), np.sort(scores[~equal])
    if not len(same) or not len(different):
        raise SpecError(f"{path}: expected at least two labels, and two rows of one of them, to compare vectors")
    yield "auroc", measure_auroc(Pairs(scores, equal))
    limits = np.unique(scores)
    limits = np.concatenate([limits[:1], (limits[1:] + limits[:-1]) / 2])
    right = 1 - np.searchsorted(same, limits, "left") / len(same) + np.searchsorted(different, limits) / len(different)
    yield "balanced_accuracy", float(right.max() / 2)
    best = float(limits[right.argmax()])
    yield "best_threshold", best if facts.metric == "cosine" else -best
