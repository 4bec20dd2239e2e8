"""Estimators of scikit-learn: which files are read, what a plan says, and what is refused."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError, SpecError
from export.importers.importing import plan_import
from export.importers.plan import Plan
from model_store import Store
from service.models.loading import load_version
from service.settings import Settings
from tests.export.importers.publishing import as_options, publish

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pandas = pytest.importorskip("pandas")

from sklearn import cluster, compose, ensemble, impute, linear_model, multioutput, pipeline, svm  # noqa: E402
from sklearn import preprocessing as pre  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402

DRAW = np.random.default_rng(0)
X = pandas.DataFrame(DRAW.standard_normal((40, 3)), columns=["a", "b", "score"])
Y = np.where(X["a"] > 0, "high", "low")
TOWNS = pandas.DataFrame({"town": DRAW.choice(["Oslo", "Rome", "Łódź"], 40), "rooms": DRAW.integers(1, 5, 40)})
TEXTS = ["a good day", "the good film", "a bad day", "the bad film", "of the day", "a film of the good"] * 3
KINDS = ["good", "good", "bad", "bad", "none", "good"] * 3


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """Plans the import of an estimator that was saved in a file."""

    def make(estimator: Any, samples: Any = None, **said: Any) -> Plan:
        path = tmp_path / "estimator.pkl"
        path.write_bytes(pickle.dumps(estimator))
        if samples is not None:
            samples.to_csv(tmp_path / "samples.csv", index=False)
            said["samples"] = str(tmp_path / "samples.csv")
        return plan_import(path, as_options({"trust": True, **said}))[1]

    return make


def columns_of(plan: Plan) -> dict[str, Any]:
    table = plan.description.table
    assert table is not None
    return {column.name: column for column in table.columns}


class Trap:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (TRACE,)


TRACE = Path()


def test_pickle_is_not_read_without_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names the option, and no code of the file has run; model.toml beside it cannot vouch for it."""
    monkeypatch.setitem(globals(), "TRACE", tmp_path / "trace")
    path = tmp_path / "trap.joblib"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ExportError, match=r"reading a pickle runs the code that is in it: give --trust"):
        plan_import(path, {})
    (tmp_path / "model.toml").write_text("trust = true")
    with pytest.raises(SpecError, match="trust: give --trust to the command"):
        plan_import(path, {})
    assert not TRACE.exists()


@pytest.mark.parametrize("name", ["fitted", "make"])
def test_python_file_names_an_estimator(tmp_path: Path, name: str) -> None:
    """Or a function that returns one. The model has its name."""
    path = tmp_path / "tables_of_test.py"
    path.write_text(
        "from sklearn.linear_model import LinearRegression\n"
        "def make():\n    return LinearRegression().fit([[1.0, 2.0], [2.0, 1.0], [3.0, 5.0]], [1.0, 2.0, 3.0])\n"
        "fitted = make()\nnumber = 5\n"
    )
    plan = plan_import(Path(f"{path}:{name}"), {})[1]
    assert (plan.description.name, plan.description.task) == (name, "regress")
    assert list(columns_of(plan)) == ["x0", "x1"]
    with pytest.raises(ExportError, match="expected a fitted estimator, or a function that returns one, got int"):
        plan_import(Path(f"{path}:number"), {})


def test_labels_and_columns_come_from_the_estimator(plan: Callable[..., Plan]) -> None:
    """The plan says so. Columns are named as in the training, also one that has the name of an output."""
    found = plan(pipeline.make_pipeline(pre.StandardScaler(), linear_model.LogisticRegression()).fit(X, Y), X)
    assert found.description.labels == ("high", "low")
    assert found.facts["labels"].origin == "scikit-learn: Pipeline.classes_"
    assert list(columns_of(found)) == ["a", "b", "score"]
    apart = compose.ColumnTransformer([("n", pre.StandardScaler(), ["a", "score"])])
    found = plan(pipeline.make_pipeline(apart, linear_model.LogisticRegression()).fit(X, Y), X)
    assert [column.input for column in columns_of(found).values()] == ["a", "b", "score_column"]


def test_columns_say_what_may_be_missing_and_which_values_they_take(plan: Callable[..., Plan]) -> None:
    """It is found by trial: what scikit-learn refuses, the server will refuse."""
    gaps = TOWNS.mask(DRAW.random(TOWNS.shape) < 0.2)
    words = pipeline.make_pipeline(impute.SimpleImputer(strategy="most_frequent"), pre.OneHotEncoder())
    columns = compose.ColumnTransformer([("w", words, ["town"]), ("n", "passthrough", ["rooms"])])
    estimator = pipeline.make_pipeline(columns, linear_model.LogisticRegression())
    estimator.fit(gaps.fillna({"rooms": 2}), DRAW.choice(["x", "y"], 40))
    found = columns_of(plan(estimator, gaps.fillna({"rooms": 2})))
    assert (found["town"].missing, found["rooms"].missing) == (True, False)
    assert set(found["town"].values) == {"Oslo", "Rome", "Łódź"}
    assert found["rooms"].values == ()


def test_trees_that_never_saw_a_gap_take_none(plan: Callable[..., Plan]) -> None:
    """scikit-learn and ONNX send a missing value to different branches."""
    found = plan(ensemble.RandomForestClassifier(20, random_state=0).fit(X, Y), X)
    assert not any(column.missing for column in columns_of(found).values())
    assert any("missing values are refused in a, b, score" in note for note in found.notes)


def test_words_are_cut_as_by_scikit_learn(plan: Callable[..., Plan]) -> None:
    """Letters beyond ASCII belong to words, and a single letter is none, which pairs of words show."""
    texts = [*TEXTS, "ein schöner Tag", "a łódź b"]
    estimator = pipeline.make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), linear_model.LogisticRegression())
    found = plan(estimator.fit(texts, [*KINDS, "good", "none"]), pandas.DataFrame({"text": texts}))
    assert list(columns_of(found)) == ["text"]


def test_numbers_that_float32_cannot_tell_apart_need_float64(plan: Callable[..., Plan]) -> None:
    """Seconds since 1970 are 128 apart in float32. The graph takes float64, and the plan says so."""
    rows = pandas.DataFrame({"time": 1.7e9 + 5.0 * np.arange(60)})
    estimator = pipeline.make_pipeline(pre.StandardScaler(), linear_model.LinearRegression()).fit(rows, np.arange(60))
    found = plan(estimator, rows)
    assert found.graph.inputs[0].datatype == "FP64"
    assert any("the graph, in float64, gives what" in note for note in found.notes)


def test_threshold_that_no_graph_can_hold_is_refused(plan: Callable[..., Plan]) -> None:
    """The thresholds of trees are float32, which cannot tell whole numbers above 2^24 apart."""
    rows = pandas.DataFrame({"id": 2.0**24 + np.arange(60)})
    estimator = ensemble.HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=2).fit(rows, np.arange(60) % 2)
    with pytest.raises(ExportError, match=r"on \d+ of 60 rows .* Or a value is very close to a threshold"):
        plan(estimator, rows)


def test_what_has_no_probabilities_has_its_label(plan: Callable[..., Plan]) -> None:
    """The plan says that the probability is no measure of certainty."""
    found = plan(svm.LinearSVC().fit(X, Y), X)
    assert "no probabilities" in found.facts["activation"].origin


class Unfitted(linear_model.LinearRegression):
    pass


@pytest.mark.parametrize(
    ("make", "samples", "complaint"),
    [
        (lambda: cluster.KMeans(2, n_init=1).fit(X), X, "KMeans is neither a classifier.*--task tensors"),
        (Unfitted, None, "Unfitted is not fitted"),
        (lambda: 5, None, "expected a fitted estimator of scikit-learn with predict, got int"),
        (
            lambda: pipeline.make_pipeline(
                TfidfVectorizer(ngram_range=(2, 2), stop_words=["the", "of"]), linear_model.LogisticRegression()
            ).fit(TEXTS, KINDS),
            pandas.DataFrame({"text": TEXTS}),
            r"differs from Pipeline on \d+ of 18 rows .*n-grams with stop words",
        ),
        (
            lambda: multioutput.MultiOutputClassifier(linear_model.LogisticRegression()).fit(
                X, np.stack([Y, DRAW.choice(["p", "q", "r"], 40)], 1)
            ),
            X,
            "target 0 of MultiOutputClassifier has the classes .*import one classifier for each target",
        ),
        (
            lambda: pipeline.make_pipeline(
                compose.ColumnTransformer([("n", pre.StandardScaler(), ["a"])]), linear_model.LogisticRegression()
            ).fit(X, Y),
            None,
            "which of its columns a, b, score are texts: give --samples",
        ),
        (lambda: linear_model.LinearRegression().fit(X, X["a"]), X[["a", "b"]], "no 'score' in a, b"),
    ],
    ids=["clusters", "unfitted", "no estimator", "differs", "several classes", "no samples", "no column"],
)
def test_what_cannot_be_imported_is_refused(
    plan: Callable[..., Plan], make: Callable[[], Any], samples: Any, complaint: str
) -> None:
    """The text says what was expected, what came, and what to do."""
    with pytest.raises(ExportError, match=complaint):
        plan(make(), samples)


def test_published_version_holds_texts_and_gaps(tmp_path: Path) -> None:
    """Its golden samples have empty texts and NaN, its rows are proved, its statistics leave out what is missing."""
    gaps = TOWNS.mask(np.random.default_rng(1).random(TOWNS.shape) < 0.3)
    words = pre.OneHotEncoder(handle_unknown="ignore")
    columns = compose.ColumnTransformer([("w", words, ["town"]), ("n", impute.SimpleImputer(), ["rooms"])])
    estimator = pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(gaps, np.arange(40) % 3)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(estimator))
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    said = {"trust": True, "samples": str(tmp_path / "gaps.csv")}
    _, version = publish(tmp_path / "m.pkl", Store(tmp_path / "models"), said)
    manifest = version.read_manifest()
    golden = version.read_golden(manifest)
    assert golden is not None
    assert "" in golden.inputs["town"]
    assert np.isnan(golden.inputs["rooms"]).any()
    assert [one.tensor for one in manifest.statistics] == ["rooms", "probabilities"]
    assert manifest.parity is not None
    loaded = load_version(version, Settings(provider="cpu", max_rows=4))
    assert (loaded.rows.verdict, loaded.max_rows, loaded.golden_error) == ("proved", 4, 0)


def test_column_may_be_called_label(tmp_path: Path) -> None:
    """In other samples, a column of this name has the labels for an evaluation."""
    rows = X.rename(columns={"a": "label"})
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(linear_model.LinearRegression().fit(rows, X["b"])))
    rows.to_csv(tmp_path / "rows.csv", index=False)
    said = {"trust": True, "samples": str(tmp_path / "rows.csv")}
    planned, version = publish(tmp_path / "m.pkl", Store(tmp_path / "models"), said)
    assert list(columns_of(planned)) == ["label", "b", "score"]
    assert version.read_manifest().golden is not None
