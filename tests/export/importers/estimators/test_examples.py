"""Ten pipelines of scikit-learn are imported, served and asked over HTTP, and answer as the pipelines do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sluice import main
from tests.support.commands.scripts import load_module
from tests.support.servers import Serving, settings_for

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[4] / "examples" / "tables.py"
LABELS = {"shapes": "even,prime,round", "exercise": "Weight,Waist,Pulse"}
NUMBERS = ("diabetes", "exercise")
TOLERANCE = 1e-5
"""The largest difference of a probability; of numbers, as a share of the largest one."""


EXAMPLE = load_module(FILE, "tables_example")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of all ten."""
    folder = tmp_path_factory.mktemp("tables")
    EXAMPLE.write_samples(folder / "samples")
    for name in EXAMPLE.TABLES:
        flags = ["--labels", LABELS[name]] if name in LABELS else []
        samples = str(folder / "samples" / f"{name}.csv")
        assert main(["import", f"{FILE}:{name}", "--samples", samples, "--store", str(folder / "models"), *flags]) == 0
    with Serving(settings_for(folder / "models", provider="cpu")) as server, server.client() as client:
        yield client


def ask(client: httpx.Client, name: str, rows: Any, **options: Any) -> list[dict[str, Any]]:
    """The predictions for the rows of a table."""
    inputs = [{key: None if value != value else value for key, value in row.items()} for row in rows.to_dict("records")]
    route = "regress" if name in NUMBERS else "classify"
    response = client.post(f"/{route}", json={"model": name, "inputs": inputs, **options})
    assert response.status_code == 200, response.text
    return list(response.json()["predictions"])


def in_order(predictions: list[dict[str, Any]]) -> np.ndarray:
    """The probabilities of each row, in the order of the labels."""
    return np.array([[one["probability"] for one in sorted(p["top"], key=lambda s: s["index"])] for p in predictions])


@pytest.mark.parametrize("name", ["sentences", "penguins", "wine", "gaps", "iris"])
def test_classifier_answers_as_predict_proba_does(client: httpx.Client, name: str) -> None:
    """All rows at once, by named columns, with null for what is missing."""
    estimator, rows = getattr(EXAMPLE, name)(), EXAMPLE.TABLES[name]()
    found = ask(client, name, rows, top_k=10)
    given = rows["text"] if name == "sentences" else rows
    assert np.abs(in_order(found) - estimator.predict_proba(given)).max() < TOLERANCE
    assert [one["label"] for one in found] == [str(label) for label in estimator.predict(given)]


def test_several_labels_have_a_probability_each(client: httpx.Client) -> None:
    """The labels of a row are those that predict gives, with the probabilities of predict_proba."""
    estimator, rows = EXAMPLE.shapes(), EXAMPLE.TABLES["shapes"]().head(400)
    found = ask(client, "shapes", rows, top_k=3)
    expected = np.stack([one[:, 1] for one in estimator.predict_proba(rows)], 1)
    assert np.abs(in_order(found) - expected).max() < TOLERANCE
    flags = [[name in [one["label"] for one in p["labels"]] for name in LABELS["shapes"].split(",")] for p in found]
    assert flags == estimator.predict(rows).tolist()


def test_outliers_have_their_score(client: httpx.Client) -> None:
    """The label is that of predict, and the score that of decision_function."""
    estimator, rows = EXAMPLE.odd_cells(), EXAMPLE.TABLES["odd_cells"]()
    found = ask(client, "odd_cells", rows)
    assert [one["label"] for one in found] == ["inlier" if one == 1 else "outlier" for one in estimator.predict(rows)]
    scores = np.array([one["score"] for one in found])
    assert np.abs(scores - estimator.decision_function(rows)).max() < TOLERANCE


def test_classifier_without_probabilities_answers_with_its_label(client: httpx.Client) -> None:
    """The label of predict has the probability 1."""
    found = ask(client, "cells", rows := EXAMPLE.TABLES["cells"]())
    assert [one["label"] for one in found] == EXAMPLE.cells().predict(rows).tolist()
    assert {one["probability"] for one in found} == {1.0}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_predict(client: httpx.Client, name: str) -> None:
    """One number, or several by name."""
    estimator, rows = getattr(EXAMPLE, name)(), EXAMPLE.TABLES[name]()
    expected = estimator.predict(rows)
    found = ask(client, name, rows)
    names = LABELS[name].split(",") if name in LABELS else []
    values = [[one["values"][key] for key in names] if names else one["value"] for one in found]
    assert np.abs(np.array(values) - expected).max() < TOLERANCE * np.abs(expected).max()


PENGUIN = {"island": "Dream", "sex": "f", "mass_g": 3700}


@pytest.mark.parametrize(
    ("name", "row", "complaint"),
    [
        ("penguins", {**PENGUIN, "beak": 3}, r"inputs\[1\]: expected the columns island, sex, mass_g, got 'beak' too"),
        ("penguins", {**PENGUIN, "mass_g": "heavy"}, r"inputs\[1\]\.mass_g: expected a number, got 'heavy'"),
        ("penguins", {**PENGUIN, "sex": 1}, r"inputs\[1\]\.sex: expected a text, got a number"),
        ("penguins", {**PENGUIN, "sex": ["f"]}, r"inputs\[1\]\.sex: expected one value, got an array"),
        ("exercise", {"Chins": 5, "Jumps": 50}, r"inputs\[1\]: expected a value for the column 'Situps', got none"),
        ("exercise", {"Chins": 5, "Jumps": 50, "Situps": None}, r"inputs\[1\]\.Situps: expected a number, got null"),
    ],
)
def test_row_that_does_not_fit_is_named_with_its_column(
    client: httpx.Client, name: str, row: dict[str, Any], complaint: str
) -> None:
    """The answer is 400, and says which row and column, what was expected and what came."""
    route, first = ("classify", PENGUIN) if name == "penguins" else ("regress", {"Chins": 1, "Jumps": 2, "Situps": 3})
    response = client.post(f"/{route}", json={"model": name, "inputs": [first, row]})
    assert response.status_code == 400
    assert re.search(complaint, response.json()["error"]), response.text
