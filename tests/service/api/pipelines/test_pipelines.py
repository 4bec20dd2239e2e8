"""Pipelines over HTTP: what they answer, and what they refuse."""

import base64
import io
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from service.api.openapi.protocol_types import PipelineMetadata
from service.tasks.pipelines import pipeline
from tests.support.answers import assert_error, read_events
from tests.support.pipelines.models import BLUE, GREEN, RED, as_row, halves, to_png, write_store
from tests.support.servers import FAST, Serving, settings_for

RED_BLUE = as_row(halves(RED, BLUE))


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    store = tmp_path_factory.mktemp("pipelines")
    write_store(store)
    with Serving(settings_for(store, max_rows=8), FAST) as server:
        yield server


@pytest.fixture
def client(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


def ask(client: httpx.Client, model: str, *rows: Any, **options: Any) -> httpx.Response:
    return client.post("/pipeline", json={"model": model, "inputs": rows, **options})


def predictions(client: httpx.Client, model: str, *rows: Any) -> list[dict[str, Any]]:
    response = ask(client, model, *rows)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found


def test_each_element_of_each_row_goes_through_the_steps(client: httpx.Client):
    """Parts of several rows share a step, and come back to their own rows in order."""
    rows = [RED_BLUE, as_row(halves(GREEN, RED, 64)), as_row(halves(BLUE, BLUE))]
    found = predictions(client, "colours", *rows)
    assert [row["colours"] for row in found] == [["red", "blue"], ["green", "red"], []]


def test_body_may_be_a_picture(client: httpx.Client):
    """A picture as the body is the only row, as on other routes."""
    response = client.post("/pipeline?model=colours", content=to_png(halves(RED, GREEN)))
    assert response.json() == {"model": "colours", "version": "1", "predictions": [{"colours": ["red", "green"]}]}


def test_conditions_leave_out_rows_and_elements(client: httpx.Client):
    """Where a condition does not hold the step answers null, for a row or for an element, and lists stay aligned."""
    sure, unsure = predictions(client, "sure", RED_BLUE, as_row(halves(GREEN, GREEN)))
    assert sure["colours"] == ["red", None]
    assert sure["whole"] is None
    assert (unsure["colours"], unsure["whole"]) == ([], None)


def test_cut_out_pictures_can_be_answered(client: httpx.Client):
    """An output that is a picture is a PNG, with the pixels of the caller's picture."""
    pixels = np.random.default_rng(0).integers(128, 256, (32, 48, 3)).astype(np.uint8)
    [found] = predictions(client, "sure", as_row(pixels))
    parts = [np.asarray(Image.open(io.BytesIO(base64.b64decode(part["image"])))) for part in found["parts"]]
    assert (np.concatenate(parts, axis=1) == pixels).all()


def test_pictures_of_an_answer_are_bounded(client: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    """Many parts of a large picture would be an answer of any size."""
    monkeypatch.setattr(pipeline, "_MOST_WRITTEN", 0)

    answer = ask(client, "sure", as_row(halves(RED, GREEN)))

    assert answer.status_code == 413
    assert "expected parts of at most 0 pixels together" in answer.json()["error"]


def test_vectors_are_compared_as_their_model_says(client: httpx.Client):
    """compare answers the nearest of the others, in the metric and with the threshold of the model of the vectors."""
    known = [as_row(halves(colour, colour)) for colour in (BLUE, RED)]
    [found] = predictions(client, "known", {"photo": RED_BLUE, "known": known})
    assert found["who"] == [
        {"index": 1, "distance": 0.0, "same": True},
        {"index": 0, "distance": 0.0, "same": True},
    ]
    [nobody] = predictions(client, "known", {"photo": RED_BLUE, "known": []})
    assert nobody["who"] == [None, None]


def test_model_takes_an_object_of_several_wires(client: httpx.Client):
    """A row of a table is put together from the request and from another step."""
    assert predictions(client, "sums", {"photo": as_row(halves(BLUE, BLUE)), "age": 40}) == [{"sum": 42.0}]


def test_timings_of_steps_are_told_on_request(client: httpx.Client):
    """They have the rows of each step, and the whole is at least the longest of them."""
    response = ask(client, "colours", RED_BLUE, RED_BLUE, timings=True)
    timings = response.json()["timings"]
    assert {name: step["rows"] for name, step in timings.items()} == {"find": 2, "halves": 2, "paint": 4}
    assert all(step["total_s"] >= step["queue_s"] + step["compute_s"] >= 0 for step in timings.values())
    header = dict(re.findall(r"(\w+);dur=([\d.]+)", response.headers["server-timing"]))
    assert float(header["total"]) >= max(step["total_s"] for step in timings.values()) * 1e3


def test_stream_has_an_event_for_each_step(client: httpx.Client):
    """Events tell which step has ended, and the last has the answer."""
    response = ask(client, "colours", RED_BLUE, stream=True)
    *steps, (last, answer) = read_events(iter(response.text.splitlines()))
    assert [data for _, data in steps] == [
        {"step": "find", "rows": 1},
        {"step": "halves", "rows": 1},
        {"step": "paint", "rows": 2},
    ]
    assert (last, answer["predictions"]) == ("done", [{"colours": ["red", "blue"]}])


def test_step_without_rows_does_not_run(client: httpx.Client):
    """Where nothing is detected, no later step runs, and the answer is there all the same."""
    response = ask(client, "colours", as_row(halves(BLUE, BLUE)), timings=True).json()
    assert response["predictions"] == [{"colours": []}]
    assert response["timings"]["paint"]["rows"] == 0


REFUSED: dict[str, tuple[str, list[Any], int, str]] = {
    "a text": ("colours", [RED_BLUE, "red"], 400, "step find: inputs[1]"),
    "damaged": ("colours", [{"image": "AAAA"}], 415, "step find: inputs[0].image"),
    "null": ("colours", [None], 400, "inputs[0]: expected a row, got null"),
    "no object": ("known", [RED_BLUE["image"]], 400, "inputs[0]: expected an object of photo, known, got a string"),
    "missing field": ("known", [{"photo": RED_BLUE}], 400, "inputs[0].known: expected an object of photo, known"),
    "unknown field": ("sums", [{"photo": RED_BLUE, "age": 1, "aeg": 2}], 400, "inputs[0].aeg: unknown field"),
    "no list": (
        "known",
        [{"photo": RED_BLUE, "known": 1}],
        400,
        "step theirs: inputs[0].known: expected an array, got a number",
    ),
    "bad element": (
        "known",
        [{"photo": RED_BLUE, "known": []}, {"photo": RED_BLUE, "known": [RED_BLUE, {"image": "?"}]}],
        400,
        "step theirs: inputs[1].known[1].image: expected a base64 text",
    ),
    "bad column": ("sums", [{"photo": RED_BLUE, "age": "old"}], 400, "step add: inputs[0].age"),
    "too many": ("known", [{"photo": RED_BLUE, "known": [RED_BLUE] * 5000}], 413, "step theirs: expected at most 4096"),
    "no rows": ("colours", [], 400, "inputs: expected an array of 1 to"),
}


@pytest.mark.parametrize(("model", "rows", "status", "text"), REFUSED.values(), ids=REFUSED)
def test_bad_row_names_its_step_and_place(client: httpx.Client, model: str, rows: list[Any], status: int, text: str):
    """The error of a step begins with its name, and says where in the request the fault is."""
    assert_error(ask(client, model, *rows), status, text)


def test_row_that_a_condition_has_left_out_does_not_shift_the_places(client: httpx.Client):
    """An error names the row of the request, not that of the step."""
    rows = [{"photo": None, "age": 1}, {"photo": RED_BLUE, "age": "old"}]
    assert_error(ask(client, "sums", *rows), 400, "step add: inputs[1].age")


def test_bad_row_that_a_step_has_made_is_a_failure_of_the_pipeline(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
):
    """A caller can do nothing about it: 500 names the step, and the log has the reason."""
    assert_error(ask(client, "broken", RED_BLUE), 500, "step add failed on this request")
    assert "step add: inputs[0]: expected a value for each of 2 columns" in caplog.text


def test_pipeline_is_a_model_of_one_route(client: httpx.Client):
    """Tensors and other tasks are 404 on a pipeline, and so is a model on the route of pipelines."""
    assert_error(client.post("/v2/models/colours/infer", json={"inputs": []}), 404, "'colours' is a pipeline")
    assert_error(client.post("/classify", json={"model": "colours", "inputs": [1]}), 404, "'colours' is a pipeline")
    assert_error(ask(client, "painter", RED_BLUE), 404, "model 'painter' does classify, and is no pipeline")
    assert_error(client.get("/v2/models/colours/config"), 404, "'colours' is a pipeline")
    assert_error(client.post("/pipeline", json={"inputs": [RED_BLUE]}), 404, "several models do pipeline")


def test_card_shows_the_steps(client: httpx.Client):
    """Metadata and card have the steps as they were written, and a drawing."""
    shown = client.get("/v2/models/colours").json()
    TypeAdapter(PipelineMetadata).validate_python(shown, strict=True)
    steps = shown["pipeline"]["steps"]
    assert steps["halves"] == {"do": "crop", "picture": "request", "boxes": "find.detections"}
    [card] = [card for card in client.get("/models").json()["models"] if card["name"] == "colours"]
    assert (card["ready"], card["task"]) == (True, "pipeline")
    assert card["pipeline"]["mermaid"].startswith("flowchart")
    stats = client.get("/v2/models/colours/stats").json()["model_stats"]
    assert {of_model["name"] for of_model in stats} == {"finder", "painter"}


def test_seconds_of_each_step_are_counted(client: httpx.Client):
    """The metric has a series for each step of each pipeline that has answered."""
    ask(client, "beside", RED_BLUE)
    text = client.get("/metrics").text
    assert 'sluice_step_seconds_count{model="beside",step="one",version="1"}' in text


def test_files_of_a_form_are_the_fields_of_a_row(client: httpx.Client):
    """Files of one name are the elements of a list; a name that no field has is refused, and so is a second file."""
    photo, red, blue = (to_png(halves(*colours)) for colours in ((RED, BLUE), (RED, RED), (BLUE, BLUE)))
    form = {"model": "known"}
    files = [("photo", photo), ("known", blue), ("known", red)]
    found = client.post("/pipeline", data=form, files=files).json()["predictions"]
    assert [each["index"] for each in found[0]["who"]] == [1, 0]
    assert client.post("/pipeline", data=form, files=files[:1]).json()["predictions"] == [{"who": [None, None]}]
    refused = client.post("/pipeline", data=form, files=[("photos", photo)])
    assert_error(refused, 400, "file 0 (upload): expected files called photo and known, got one called 'photos'")
    refused = client.post("/pipeline", data=form, files=[("photo", photo)] * 2)
    assert_error(refused, 400, "file 1 (upload): expected one file called photo, got another")
    assert_error(
        client.post("/pipeline", data=form, files=[("known", red)]), 400, "inputs[0].photo: expected an object"
    )
