"""A fitted estimator or pipeline of scikit-learn: saved in a file, or made by a Python file."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.importers.estimators.answers import PROBABILITIES, SCORE, VALUES, Answers, find_answers
from export.importers.estimators.columns import Features, find_features
from export.importers.estimators.comparison import (
    Original,
    convert_best,
    describe_comparison,
    make_up,
)
from export.importers.estimators.loading import PICKLES, SKOPS, load_estimator, names_object
from export.importers.estimators.trials import try_columns
from export.importers.facts import Fact, Facts, value_of
from export.importers.rows.samples import MOST_SAMPLES, read_named
from export.importers.rows.tables import Columns
from export.importers.sources.onnx_file import as_name, describe_onnx
from export.importers.sources.source import Found, OnnxModel
from model_store.tasks import Classes

_SHOWN = 5
_SURE = "predict_proba is missing, so the label of predict gets 1 and the others 0, which are no probabilities"


class ScikitLearn:
    """An estimator. The original, with which the graph is compared, is the estimator itself."""

    kind = "a scikit-learn estimator (.pkl, .joblib, .skops, or FILE.py:NAME)"

    def claims(self, path: Path) -> bool:
        return names_object(path) or (path.is_file() and path.suffix in (*PICKLES, SKOPS))

    def read(self, path: Path, said: Facts) -> Found:
        loaded = load_estimator(path, bool(value_of(said, "trust")))
        estimator, what = loaded.estimator, type(loaded.estimator).__name__
        samples = _read_samples(said)
        features = find_features(estimator, samples, path)
        rows: Columns = make_up(features) if samples is None else samples
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = find_answers(estimator, features.make_rows(rows), path)
            graph = convert_best(estimator, features, answers, rows, path)
            features, refused = try_columns(estimator, graph, answers, rows)
            notes = [*loaded.notes, *describe_comparison(estimator, graph, answers, rows)]
        if samples is None:
            notes.append("the rows of this comparison are made up: give --samples with real ones")
        if refused:
            shown = ", ".join(refused[:_SHOWN]) + (
                f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
            )
            notes.append(f"missing values are refused in {shown}: the graph gives another answer there")
        model = describe_onnx(path.name, graph.content, {})
        return Found(
            kind=f"a scikit-learn estimator, {what}",
            facts=_list_facts(what, loaded.name, answers),
            model=OnnxModel(
                content=graph.content,
                graph=model.graph,
                original=Original(estimator=estimator, features=features, answers=answers, samples=rows),
                scales=graph.scales,
            ),
            more=_describe(features, answers, what),
            notes=tuple(notes),
        )


def _read_samples(said: Facts) -> Columns | None:
    path = value_of(said, "samples")
    if path is None:
        return None
    columns = read_named(Path(path))
    return {name: list(values[:MOST_SAMPLES]) for name, values in columns.items()}


def _list_facts(what: str, name: str, answers: Answers) -> dict[str, Fact]:
    task = "regress" if answers.kind == "numbers" else "classify"
    facts = {
        **as_name(name, "the name of the source"),
        "task": Fact(task, f"scikit-learn: {what} is a {_ROLES[answers.kind]}"),
        "rows": Fact("numbers", "scikit-learn: rows of named columns"),
        "output": Fact(VALUES if answers.kind == "numbers" else PROBABILITIES, f"scikit-learn: {what}"),
    }
    if answers.labels:
        facts["labels"] = Fact(answers.labels, _LABELS.get(answers.kind, f"scikit-learn: {what}.classes_"))
    if answers.kind != "numbers":
        origin = _SURE if answers.kind in ("labels", "outliers") else f"scikit-learn: {what}.predict_proba"
        facts["activation"] = Fact("none", origin)
        gives = "several labels" if answers.kind == "several" else "one label"
        facts["multi_label"] = Fact(answers.kind == "several", f"scikit-learn: {what}.predict gives {gives} for a row")
    return facts


_ROLES = {
    "probabilities": "classifier",
    "labels": "classifier",
    "several": "classifier of several labels",
    "outliers": "detector of outliers",
    "numbers": "regressor",
}
_LABELS = {"outliers": "scikit-learn: predict gives -1 for outliers, 1 for inliers"}


def _describe(features: Features, answers: Answers, what: str) -> Mapping[str, Any]:
    """Fields of the manifest."""
    import sklearn

    more: dict[str, Any] = {
        "table": features.describe(),
        "parameters": {"estimator": what, "scikit_learn": str(sklearn.__version__)},
    }
    if answers.kind == "outliers":
        more["classes"] = Classes(probabilities=PROBABILITIES, score=SCORE)
    return more
