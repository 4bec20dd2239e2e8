"""Ten pipelines of scikit-learn: texts, mixed columns, missing values, several labels, outliers, numbers.

    pip install 'sluice-serving[cpu,tables]'
    python examples/tables.py samples
    sluice import examples/tables.py:sentences --samples samples/sentences.csv --store models
    sluice import examples/tables.py:penguins --samples samples/penguins.csv --store models
    sluice serve models
    curl localhost:3000/classify -d '{"model": "sentences", "inputs": [{"text": "Each flower has four petals."}]}'
    curl localhost:3000/classify -d '{"model": "penguins", "inputs": [{"island": null, "sex": "f", "mass_g": 3750}]}'

``shapes`` and ``exercise`` need names: --labels even,prime,round and --labels Weight,Waist,Pulse. A file of joblib
works too: sluice import wine.joblib --trust --samples wine.csv.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC


def sentences() -> Any:
    """Text: the data set that a sentence describes."""
    table, labels = read_sentences()
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10)).fit(table["text"], labels)


def penguins() -> Any:
    """Columns of texts and numbers, any of which may be missing."""
    table, labels = draw_penguins()
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer([("numbers", numbers, ["mass_g"]), ("words", words, ["island", "sex"])])
    return make_pipeline(columns, LogisticRegression()).fit(table, labels)


def wine() -> Any:
    """Three classes by a support vector machine whose scores are calibrated."""
    found = datasets.load_wine(as_frame=True)
    names = np.array(found.target_names)[found.target]
    return CalibratedClassifierCV(make_pipeline(StandardScaler(), SVC())).fit(found.data, names)


def gaps() -> Any:
    """Gradient boosting, which takes missing values as they are."""
    table = read_gaps()
    return HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(table, datasets.load_wine().target)


def iris() -> Any:
    """The nearest neighbours."""
    found = datasets.load_iris(as_frame=True)
    names = np.array(found.target_names)[found.target]
    return make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(found.data, names)


def shapes() -> Any:
    """Several labels for a row: whether a handwritten digit is even, prime, or has a closed loop."""
    found = datasets.load_digits(as_frame=True)
    labels = np.stack([found.target % 2 == 0, found.target.isin([2, 3, 5, 7]), found.target.isin([0, 6, 8, 9])], 1)
    return make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression())).fit(found.data, labels)


def odd_cells() -> Any:
    """Outliers, with a score of how unusual each is."""
    return IsolationForest(n_estimators=30, random_state=0).fit(datasets.load_breast_cancer(as_frame=True).data)


def cells() -> Any:
    """A classifier without probabilities."""
    found = datasets.load_breast_cancer(as_frame=True)
    return make_pipeline(StandardScaler(), LinearSVC()).fit(found.data, found.target_names[found.target])


def diabetes() -> Any:
    """One number, by boosted trees."""
    found = datasets.load_diabetes(as_frame=True)
    return GradientBoostingRegressor(n_estimators=60, random_state=0).fit(found.data, found.target)


def exercise() -> Any:
    """Three numbers at once."""
    found = datasets.load_linnerud(as_frame=True)
    return make_pipeline(StandardScaler(), Ridge()).fit(found.data, found.target)


def read_sentences() -> tuple[pd.DataFrame, list[str]]:
    """The sentences in scikit-learn's descriptions of its data sets."""
    texts, labels = [], []
    for name in ("iris", "wine", "digits", "breast_cancer", "diabetes"):
        description = getattr(datasets, f"load_{name}")().DESCR
        for text in re.split(r"(?<=[.:])\s+|\n\n", description):
            if len(words := text.split()) > 3:
                texts.append(" ".join(words))
                labels.append(name)
    return pd.DataFrame({"text": texts}), labels


def draw_penguins(rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Penguins of three kinds, made up. One value of ten is missing."""
    draw = np.random.default_rng(0)
    kinds = draw.choice(["Adelie", "Chinstrap", "Gentoo"], rows)
    islands = {"Adelie": ["Biscoe", "Dream", "Torgersen"], "Chinstrap": ["Dream"], "Gentoo": ["Biscoe"]}
    masses = {"Adelie": 3700, "Chinstrap": 3730, "Gentoo": 5080}
    table = pd.DataFrame(
        {
            "island": [draw.choice(islands[kind]) for kind in kinds],
            "sex": draw.choice(["f", "m"], rows),
            "mass_g": [round(draw.normal(masses[kind], 400)) for kind in kinds],
        }
    )
    return table.mask(draw.random(table.shape) < 0.1), kinds


def read_gaps() -> pd.DataFrame:
    """Wines of which one measurement of ten is missing."""
    table = datasets.load_wine(as_frame=True).data
    return table.mask(np.random.default_rng(0).random(table.shape) < 0.1)


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "sentences": lambda: read_sentences()[0],
    "penguins": lambda: draw_penguins()[0],
    "wine": lambda: datasets.load_wine(as_frame=True).data,
    "gaps": read_gaps,
    "iris": lambda: datasets.load_iris(as_frame=True).data,
    "shapes": lambda: datasets.load_digits(as_frame=True).data,
    "odd_cells": lambda: datasets.load_breast_cancer(as_frame=True).data,
    "cells": lambda: datasets.load_breast_cancer(as_frame=True).data,
    "diabetes": lambda: datasets.load_diabetes(as_frame=True).data,
    "exercise": lambda: datasets.load_linnerud(as_frame=True).data,
}
"""The rows of each."""


def write_samples(folder: Path) -> None:
    """A file .csv for each table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, read in TABLES.items():
        read().to_csv(folder / f"{name}.csv", index=False)


if __name__ == "__main__":
    write_samples(Path(sys.argv[1] if len(sys.argv) > 1 else "samples"))
