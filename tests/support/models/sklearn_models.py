"""Models of scikit-learn as people convert them with skl2onnx, trained on a few drawn rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
skl2onnx = pytest.importorskip("skl2onnx")
pandas = pytest.importorskip("pandas")

from skl2onnx.common.data_types import (  # noqa: E402  # behind the check that they are there
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn import cluster, compose, decomposition, ensemble, linear_model, naive_bayes, neighbors  # noqa: E402
from sklearn import preprocessing as pre  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.svm import SVC, SVR  # noqa: E402

_WIDTH = 6
_OPSETS = {"": 17, "ai.onnx.ml": 3}
_TRAINED_ROWS = 60
_WORDS = ("cheap", "good", "bad", "late", "kind", "broken", "fast", "again", "never", "ever")
_COLOURS = ("red", "green", "blue")
_CITIES = ("Oslo", "Rome", "Lima")

Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """An ONNX file, and ``draw(rows, seed)`` gives inputs for it."""

    content: bytes
    draw: Callable[[int, int], Inputs]


def draw_numbers(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, _WIDTH)).astype(np.float32)


def draw_texts(rows: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.array([" ".join(draw.choice(_WORDS, draw.integers(1, 7))) for _ in range(rows)], object)


def draw_columns(rows: int, seed: int) -> dict[str, np.ndarray]:
    """A table of two columns of texts, one of whole numbers and one of others."""
    draw = np.random.default_rng(seed)
    return {
        "colour": draw.choice(_COLOURS, (rows, 1)).astype(object),
        "city": draw.choice(_CITIES, (rows, 1)).astype(object),
        "age": draw.integers(18, 90, (rows, 1)),
        "height": draw.normal(170, 10, (rows, 1)).astype(np.float32),
    }


def _label(x: np.ndarray) -> np.ndarray:
    return (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(np.int64) + (x[:, 2] > 1)


def of_numbers(model: Any, target: Callable[[np.ndarray], np.ndarray] = _label, **options: Any) -> Converted:
    """``options``: of the last step, such as ``zipmap=False``."""
    x = draw_numbers(_TRAINED_ROWS, 0)
    model.fit(x, target(x))
    content = skl2onnx.to_onnx(
        model,
        initial_types=[("x", FloatTensorType([None, _WIDTH]))],
        options={id(model): options} if options else None,
        target_opset=_OPSETS,
    ).SerializeToString()
    return Converted(content=content, draw=lambda rows, seed: {"x": draw_numbers(rows, seed)})


def of_names(model: Any, **options: Any) -> Converted:
    """A classifier whose classes are texts."""
    return of_numbers(model, lambda x: np.array(["no", "yes", "perhaps"])[_label(x)], **options)


def _sum(x: np.ndarray) -> np.ndarray:
    return x.sum(1)


def of_texts(locale: str = "C", **options: Any) -> Converted:
    """``locale``: of the operator that makes letters small; where the machine lacks it, ONNX Runtime loads nothing."""
    texts = draw_texts(_TRAINED_ROWS, 0)
    words = TfidfVectorizer()
    model = make_pipeline(words, linear_model.LogisticRegression())
    model.fit(texts, ["good" in text for text in texts])
    content = skl2onnx.to_onnx(
        model,
        initial_types=[("text", StringTensorType([None, 1]))],
        options={id(words): {"locale": locale}} | ({id(model): options} if options else {}),
        target_opset=_OPSETS,
    ).SerializeToString()
    return Converted(content=content, draw=lambda rows, seed: {"text": draw_texts(rows, seed).reshape(-1, 1)})


def of_columns(**options: Any) -> Converted:
    """A table of text and number columns, each an input of [None, 1]."""
    table = pandas.DataFrame({name: column[:, 0] for name, column in draw_columns(_TRAINED_ROWS, 0).items()})
    prepare = compose.ColumnTransformer(
        [
            ("texts", pre.OneHotEncoder(handle_unknown="ignore"), ["colour", "city"]),
            ("numbers", pre.StandardScaler(), ["age", "height"]),
        ]
    )
    model = make_pipeline(prepare, linear_model.LogisticRegression())
    model.fit(table, table["age"] > 50)
    types = [
        ("colour", StringTensorType([None, 1])),
        ("city", StringTensorType([None, 1])),
        ("age", Int64TensorType([None, 1])),
        ("height", FloatTensorType([None, 1])),
    ]
    content = skl2onnx.to_onnx(
        model, initial_types=types, options={id(model): options} if options else None, target_opset=_OPSETS
    ).SerializeToString()
    return Converted(content=content, draw=draw_columns)


def of_categories() -> Converted:
    """Texts to the numbers that they have in a list."""
    table = np.concatenate([draw_columns(_TRAINED_ROWS, 0)[name] for name in ("colour", "city")], 1)
    model = pre.OrdinalEncoder().fit(table)
    content = skl2onnx.to_onnx(
        model, initial_types=[("names", StringTensorType([None, 2]))], target_opset=_OPSETS
    ).SerializeToString()

    def draw(rows: int, seed: int) -> Inputs:
        columns = draw_columns(rows, seed)
        return {"names": np.concatenate([columns["colour"], columns["city"]], 1)}

    return Converted(content=content, draw=draw)


MODELS: dict[str, Callable[[], Converted]] = {
    "logistic-regression": lambda: of_numbers(linear_model.LogisticRegression(), zipmap=False),
    "logistic-regression-zipmap": lambda: of_numbers(linear_model.LogisticRegression()),
    "logistic-regression-columns": lambda: of_numbers(linear_model.LogisticRegression(), zipmap="columns"),
    "logistic-regression-names": lambda: of_names(linear_model.LogisticRegression(), zipmap=False),
    "logistic-regression-names-zipmap": lambda: of_names(linear_model.LogisticRegression()),
    "random-forest": lambda: of_numbers(ensemble.RandomForestClassifier(5, random_state=0), zipmap=False),
    "random-forest-zipmap": lambda: of_numbers(ensemble.RandomForestClassifier(5, random_state=0)),
    "random-forest-regressor": lambda: of_numbers(ensemble.RandomForestRegressor(5, random_state=0), _sum),
    "gradient-boosting": lambda: of_numbers(ensemble.GradientBoostingRegressor(n_estimators=10, random_state=0), _sum),
    "mlp": lambda: of_numbers(MLPClassifier(hidden_layer_sizes=(8,), max_iter=20, random_state=0), zipmap=False),
    "mlp-zipmap": lambda: of_numbers(MLPClassifier(hidden_layer_sizes=(8,), max_iter=20, random_state=0)),
    "mlp-regressor": lambda: of_numbers(MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, random_state=0), _sum),
    "k-nearest": lambda: of_numbers(neighbors.KNeighborsClassifier(3), zipmap=False),
    "k-nearest-zipmap": lambda: of_numbers(neighbors.KNeighborsClassifier(3)),
    "k-nearest-regressor": lambda: of_numbers(neighbors.KNeighborsRegressor(3), _sum),
    "svc": lambda: of_numbers(SVC(), zipmap=False),
    "svc-probability": lambda: of_numbers(SVC(probability=True, random_state=0), zipmap=False),
    "svc-probability-zipmap": lambda: of_numbers(SVC(probability=True, random_state=0)),
    "svr": lambda: of_numbers(SVR(), _sum),
    "linear-regression": lambda: of_numbers(linear_model.LinearRegression(), _sum),
    "naive-bayes": lambda: of_numbers(naive_bayes.GaussianNB(), zipmap=False),
    "k-means": lambda: of_numbers(cluster.KMeans(3, n_init=1, random_state=0)),
    "scaler-pca": lambda: of_numbers(make_pipeline(pre.StandardScaler(), decomposition.PCA(2))),
    "scalers": lambda: of_numbers(make_pipeline(pre.MinMaxScaler(), pre.PolynomialFeatures(2), pre.Normalizer())),
    "isolation-forest": lambda: of_numbers(ensemble.IsolationForest(n_estimators=5, random_state=0)),
    "texts": lambda: of_texts(zipmap=False),
    "texts-zipmap": lambda: of_texts(),
    "texts-locale": lambda: of_texts("en_US.UTF-8", zipmap=False),
    "columns": lambda: of_columns(zipmap=False),
    "columns-zipmap": lambda: of_columns(),
    "categories": of_categories,
}
