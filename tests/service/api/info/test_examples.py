"""Every model offers requests that it answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import DEFAULT_ROOT, Store
from service.api.openapi.examples import EXAMPLES
from tests.support.answers import assert_error
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

MODELS = sorted(Store(DEFAULT_ROOT).names())


@pytest.fixture(scope="module")
def client(reference_server: Serving) -> Iterator[httpx.Client]:
    with reference_server.client() as opened:
        yield opened


def examples_of(client: httpx.Client, model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/v2/models/{model}/example").raise_for_status().json()["examples"]
    return found


def test_unknown_model_has_no_examples(client: httpx.Client) -> None:
    """A model or version that is not there is 404."""
    for path in ("nobody/example", "digits-classifier/versions/7/example"):
        assert_error(client.get(f"/v2/models/{path}"), 404, "no ")


def test_plain_model_has_no_examples(tmp_path: Path) -> None:
    """An ONNX file without a manifest has no golden samples, so there is nothing to offer."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    with Serving(settings_for(tmp_path, max_rows=2), FAST) as server, server.client() as opened:
        assert examples_of(opened, "double") == []


def test_changed_golden_samples_are_no_examples(tmp_path: Path) -> None:
    """A file that has changed since it was published is not read: 503 says why."""
    store = Store(tmp_path)
    original = Store(DEFAULT_ROOT).find("diabetes-regressor")
    manifest, contents = original.read_all()
    version = store.publish(manifest, contents)
    with Serving(settings_for(tmp_path, max_rows=2), FAST) as server, server.client() as opened:
        (version.folder / "golden.npz").write_bytes(b"changed")
        assert_error(opened.get("/v2/models/diabetes-regressor/example"), 503, "golden")


@pytest.mark.parametrize("model", MODELS)
def test_every_example_is_answered(client: httpx.Client, model: str) -> None:
    """Each task of each reference model has an example, and the model answers all of them."""
    card = next(each for each in client.get("/models").json()["models"] if each["name"] == model)
    examples = examples_of(client, model)
    assert {example["task"] for example in examples} >= set(card["tasks"])
    for example in examples:
        route = f"/v2/models/{model}/infer" if example["task"] == "tensors" else f"/{example['task']}"
        answer = client.post(route, json=example["body"])
        assert answer.status_code == 200, (example["title"], answer.text)


def test_samples_are_in_the_form_that_people_send(client: httpx.Client) -> None:
    """A golden sample becomes a picture, a row of a table, a text or a series, not a tensor."""
    forms = {
        "digits-classifier": ("classify", lambda row: set(row) == {"image"}),
        "diabetes-regressor": ("regress", lambda row: "blood_pressure" in row),
        "language-classifier": ("classify", lambda row: isinstance(row, str)),
        "date-translator": ("predict_sequence", lambda row: isinstance(row, str)),
        "elnino-forecaster": ("predict_sequence", lambda row: set(row) == {"values", "month"}),
        "sunspots-forecaster": ("predict_sequence", lambda row: isinstance(row, list)),
    }
    for model, (task, has_form) in forms.items():
        stored = [each for each in examples_of(client, model) if each["title"].startswith("Stored")]
        rows = [each["body"]["inputs"][0] for each in stored if each["task"] == task]
        assert len(rows) == 4, model
        assert all(map(has_form, rows)), model


def test_documented_pictures_are_recognised(client: httpx.Client) -> None:
    """The zero of the documentation is found and read as a zero: an example should not show a mistake."""
    found = client.post("/detect", json=EXAMPLES["detect"]["digits"][1]).json()["predictions"][0]
    assert [each["label"] for each in found["detections"]] == ["0"]
    read = client.post("/pipeline", json=EXAMPLES["pipeline"]["read"][1]).json()["predictions"][0]
    assert (read["found"], read["read"]) == (["0"], ["0"])
