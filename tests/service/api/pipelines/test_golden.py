"""Golden requests of pipelines, which are sent when a version is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_store import Store
from service.api.golden import find_difference
from tests.support.answers import assert_error
from tests.support.pipelines.models import (
    BLUE,
    COLOURS,
    FIND,
    GREEN,
    HALVES,
    PAINT,
    RED,
    as_row,
    halves,
    make_pipeline,
    painter,
    write_store,
)
from tests.support.servers import FAST, Serving, settings_for

INPUTS = [as_row(halves(RED, BLUE))]
STEPS, BOXES = {"find": FIND, "halves": HALVES, "paint": PAINT}, {"boxes": "find.detections"}
GOLDEN = {"request": "request.json", "answer": "answer.json"}


def publish(
    store: Store, name: str, predictions: Any, inputs: Any = INPUTS, steps: Any = STEPS, outputs: Any = COLOURS
) -> None:
    """A pipeline with one golden request; by default ``colours`` under another name."""
    files = {"request.json": {"inputs": inputs}, "answer.json": {"predictions": predictions}}
    manifest = make_pipeline(name, steps, outputs, golden=(GOLDEN,))
    store.publish(manifest, {file: json.dumps(content).encode() for file, content in files.items()})


@pytest.mark.parametrize("lazy", [False, True])
def test_pipeline_that_answers_as_before_serves(tmp_path: Path, lazy: bool):
    """It waits for the models of its steps, even if its name comes first, and its card says what was sent."""
    store = write_store(tmp_path, "sums")
    publish(store, "a", [{"colours": ["red", "blue"]}])
    with Serving(settings_for(tmp_path, max_rows=4, lazy=lazy), FAST) as server, server.client() as client:
        answer = client.post("/pipeline", json={"model": "a", "inputs": INPUTS})
        assert answer.json()["predictions"] == [{"colours": ["red", "blue"]}]
        assert client.get("/v2/models/a").json()["pipeline"]["golden"] == "1 of 1 passed"


def test_pipeline_that_does_not_prove_itself_does_not_serve(tmp_path: Path):
    """The version before it serves on. The reason names what differs, the error of the request, or the bad option."""
    store = write_store(tmp_path, "sums")
    publish(store, "c", [{"colours": ["red", "blue"]}])
    publish(store, "c", [{"colours": ["red", "green"]}])
    publish(store, "d", [{"colours": ["red"]}])
    publish(store, "fails", [], ["red"], {"find": FIND}, BOXES)
    misspelt = {"find": {**FIND, "options": {"treshold": 0.5}}}
    store.publish(make_pipeline("misspelt", misspelt, BOXES), {})
    reasons = {
        "c/versions/2": "golden request request.json: predictions[0].colours[1] is 'blue', expected 'green'",
        "d": "predictions[0].colours has 2 elements, expected 1",
        "fails": "golden request request.json: expected an answer, got 400: step find: inputs[0]",
        "misspelt": "steps.find.options: detect has no option 'treshold': did you mean 'threshold'?",
    }
    with Serving(settings_for(tmp_path, max_rows=4), FAST) as server, server.client() as client:
        assert client.post("/pipeline", json={"model": "c", "inputs": INPUTS}).json()["version"] == "1"
        response = client.post("/pipeline", json={"model": "c", "version": 2, "inputs": INPUTS})
        assert_error(response, 503, reasons["c/versions/2"])
        for path, reason in reasons.items():
            assert_error(client.get(f"/v2/models/{path}/ready"), 503, reason)


def test_golden_requests_are_not_sent_without_the_models(tmp_path: Path):
    """The pipeline is loaded all the same; it answers when its models are there."""
    store = Store(tmp_path)
    store.publish(*painter())
    publish(store, "c", [{"colours": ["red", "blue"]}])
    with Serving(settings_for(tmp_path, max_rows=4), FAST) as server, server.client() as client:
        assert_error(client.get("/v2/models/c/ready"), 404, "step find: no model 'finder'")
        golden = client.get("/v2/models/c").json()["pipeline"]["golden"]
        assert golden == "not sent: step find: no model 'finder'"


def test_two_pipelines_that_name_each_other_do_not_wait_for_ever(tmp_path: Path):
    """Both are loaded, and neither is ready, because a step is a model."""
    store = write_store(tmp_path, "colours")
    for name, other in (("a", "b"), ("b", "a")):
        step = {"model": other, "task": "classify", "input": "request"}
        store.publish(make_pipeline(name, {"one": step}, {"label": "one.label"}), {})
    with Serving(settings_for(tmp_path, max_rows=4), FAST) as server, server.client() as client:
        for name in ("a", "b"):
            assert client.get(f"/v2/models/{name}/ready").status_code in (404, 503)
        assert client.post("/pipeline", json={"model": "colours", "inputs": INPUTS}).status_code == 200


@pytest.mark.parametrize(
    ("got", "expected", "difference"),
    [
        ({"a": [1.0, "x"]}, {"a": [1.0005, "x"]}, ""),
        ({"a": [1.0, "x"]}, {"a": [1.1, "x"]}, "p.a[0] is 1, expected 1.1 within 0.001 + 0 of it"),
        ({"a": 1}, {"a": True}, "p.a is 1, expected True"),
        ({"a": 1}, {"b": 1}, "p has a, expected b"),
        ([1], [1, 2], "p has 1 elements, expected 2"),
        (float("nan"), 1.0, "p is nan, expected 1 within 0.001 + 0 of it"),
        (None, None, ""),
    ],
)
def test_numbers_may_differ_within_the_tolerance(got: Any, expected: Any, difference: str):
    """All else must be the same."""
    assert find_difference(got, expected, 1e-3, 0.0, "p") == difference


def test_other_colours_are_told_apart():
    """The model of these tests tells the three colours apart, or they would prove nothing."""
    assert len({str(as_row(halves(colour, colour))) for colour in (RED, GREEN, BLUE)}) == 3
