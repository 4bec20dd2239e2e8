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
GOLDEN = {"request": "request.json", "answer": "answer.json"}


def publish(store: Store, name: str, predictions: Any) -> None:
    """``colours`` under a name, with one golden request."""
    steps = {"find": FIND, "halves": HALVES, "paint": PAINT}
    files = {"request.json": {"inputs": INPUTS}, "answer.json": {"predictions": predictions}}
    manifest = make_pipeline(name, steps, COLOURS, golden=(GOLDEN,))
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


def test_pipeline_that_answers_otherwise_does_not_serve(tmp_path: Path):
    """The version before it serves on, and the reason names the value that differs."""
    store = write_store(tmp_path, "sums")
    publish(store, "c", [{"colours": ["red", "blue"]}])
    publish(store, "c", [{"colours": ["red", "green"]}])
    publish(store, "d", [{"colours": ["red"]}])
    with Serving(settings_for(tmp_path, max_rows=4), FAST) as server, server.client() as client:
        assert client.post("/pipeline", json={"model": "c", "inputs": INPUTS}).json()["version"] == "1"
        response = client.post("/pipeline", json={"model": "c", "version": 2, "inputs": INPUTS})
        reason = "golden request request.json: predictions[0].colours[1] is 'blue', expected 'green'"
        assert_error(response, 503, reason)
        response = client.post("/pipeline", json={"model": "d", "inputs": INPUTS})
        assert_error(response, 503, "predictions[0].colours has 2 elements, expected 1")


def test_golden_requests_are_not_sent_without_the_models(tmp_path: Path):
    """The pipeline is loaded all the same; it answers when its models are there."""
    store = Store(tmp_path)
    store.publish(*painter())
    publish(store, "c", [{"colours": ["red", "blue"]}])
    with Serving(settings_for(tmp_path, max_rows=4), FAST) as server, server.client() as client:
        assert_error(client.get("/v2/models/c/ready"), 404, "step find: no model 'finder'")
        golden = client.get("/v2/models/c").json()["pipeline"]["golden"]
        assert golden == "not sent: step find: no model 'finder'"


def test_golden_request_that_fails_keeps_the_pipeline_from_serving(tmp_path: Path):
    """An error in place of an answer is told with its status."""
    store = write_store(tmp_path, "colours")
    manifest = make_pipeline("c", {"find": FIND}, {"boxes": "find.detections"}, golden=(GOLDEN,))
    files = {"request.json": {"inputs": ["red"]}, "answer.json": {"predictions": []}}
    store.publish(manifest, {file: json.dumps(content).encode() for file, content in files.items()})
    with Serving(settings_for(tmp_path, max_rows=4), FAST) as server, server.client() as client:
        reason = "golden request request.json: expected an answer, got 400: step find: inputs[0]"
        assert_error(client.get("/v2/models/c/ready"), 503, reason)


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


def test_bad_options_of_a_step_keep_the_pipeline_from_serving(tmp_path: Path):
    """They are found when the version is loaded, and named."""
    store = write_store(tmp_path, "colours")
    step = {**FIND, "options": {"treshold": 0.5}}
    store.publish(make_pipeline("c", {"find": step}, {"boxes": "find.detections"}), {})
    with Serving(settings_for(tmp_path, max_rows=4), FAST) as server, server.client() as client:
        reason = "steps.find.options: detect has no option 'treshold': did you mean 'threshold'?"
        assert_error(client.get("/v2/models/c/ready"), 503, reason)


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
