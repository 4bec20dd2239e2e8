"""The four task routes as a client sees them, through each path: what is refused, and how."""

import base64
import io
import itertools
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.api.openapi.examples import EXAMPLES
from tests.support.models import failing
from tests.support.servers import ServerPath, Serving, settings_for

ROUTES = tuple(failing.GOOD)
PNG = {"content-type": "image/png"}
LIMIT_BYTES = 4 << 20


def assert_error(response: httpx.Response, status: int, text: str) -> None:
    """The one shape of an error."""
    assert response.status_code == status, response.text[:500]
    body = response.json()
    assert set(body) == {"error", "request_id"}
    assert text in body["error"]
    assert response.headers["x-request-id"] == body["request_id"]
    assert ("retry-after" in response.headers) == (status in (429, 503))


def example(route: str, name: str, **changes: Any) -> dict[str, Any]:
    """A request to a reference model."""
    return {**EXAMPLES[route.strip("/")][name][1], **changes}


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kB that claims to have this size; its first rows are all there is."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def as_row(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode()}


# Every row of the error table, on every route


COMMON: dict[str, tuple[dict[str, Any], int, str]] = {
    "not JSON": ({"content": b"{"}, 400, "body: expected JSON"),
    "empty": ({"content": b""}, 400, "body: expected JSON"),
    "a list": ({"content": b"[]"}, 400, "body: expected a JSON object, got an array"),
    "inputs of another type": ({"json": {"inputs": "x"}}, 400, "inputs: expected"),
    "unknown field": ({"json": {"colour": "red"}}, 400, "colour: Extra inputs are not permitted"),
    "wrong type": ({"json": {"stream": "yes"}}, 400, "stream: Input should be a valid boolean (got 'yes')"),
    "twice": ({"json": {"model": "x"}, "params": {"model": "x"}}, 400, "model: expected once, got it twice"),
    "wrong query": ({"json": {}, "params": {"stream": "maybe"}}, 400, "stream: Input should be a valid boolean"),
    "unknown model": ({"json": {"model": "nobody"}}, 404, "no model 'nobody': there are broken, classifier"),
    "unknown version": ({"json": {"version": 9}}, 404, "no version '9' of"),
    "unknown alias": ({"json": {"version": "beta"}}, 404, "no alias 'beta' of"),
    "too large": ({"content": b" " * (LIMIT_BYTES + 1)}, 413, f"expected at most {LIMIT_BYTES} bytes"),
    "GIF": ({"content": b"GIF89a", "headers": {"content-type": "image/gif"}}, 415, "image/gif"),
    "encoded": ({"json": {}, "headers": {"content-encoding": "br"}}, 415, "content-encoding 'br'"),
    "form without a boundary": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        400,
        "boundary",
    ),
    "a text file": ({"files": {"a": ("a.txt", b"hello", "text/plain")}}, 415, "expected image/png or image/jpeg"),
    "broken model": ({"json": {"model": "broken"}}, 503, "manifest.json"),
}


@pytest.fixture(scope="module")
def failing_server(tmp_path_factory: pytest.TempPathFactory, server_path: ServerPath) -> Iterator[Serving]:
    """Tiny models that fail when they are asked to, and one that is broken."""
    store = failing.write_store(tmp_path_factory.mktemp("failing"))
    with Serving(settings_for(store, max_body_bytes=LIMIT_BYTES), server_path) as serving:
        yield serving


@pytest.fixture
def tiny(failing_server: Serving) -> Iterator[httpx.Client]:
    with failing_server.client() as client:
        yield client


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("case", COMMON)
def test_fault_of_any_route_gets_its_status_and_reason(tiny: httpx.Client, route: str, case: str):
    """What is wrong with a request whatever its task is answered alike on all four routes."""
    sent, status, text = COMMON[case]
    if isinstance(sent.get("json"), dict):
        sent = {**sent, "json": {**failing.GOOD[route], **sent["json"]}}
    assert_error(tiny.post(route, **sent), status, text)


@pytest.mark.parametrize("route", ROUTES)
def test_unknown_paths_and_methods_are_refused(tiny: httpx.Client, route: str):
    """A path beyond the route is 404; GET on it is 405 and says that POST is allowed."""
    assert_error(tiny.post(f"{route}/now", json={}), 404, "no route")
    response = tiny.get(route)
    assert_error(response, 405, "expected POST, got GET")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("route", "model", "does"),
    [
        ("/classify", "double", "reconstruct"),
        ("/predict_sequence", "scale", "generate"),
        ("/reconstruct", "tenfold", "predict_sequence"),
        ("/generate", "classifier", "classify"),
    ],
)
def test_model_of_another_task_is_404(tiny: httpx.Client, route: str, model: str, does: str):
    """A model that exists but does something else is not found on the route, and the text says what it does."""
    body = {**failing.GOOD[route], "model": model}
    assert_error(tiny.post(route, json=body), 404, f"model {model!r} does {does}, not {route.strip('/')}")


@pytest.mark.parametrize("route", ROUTES)
def test_failure_of_the_model_is_500_and_harms_nobody_else(tiny: httpx.Client, route: str):
    """Values that are not finite are withheld with a 500 that tells nothing; the next request is answered."""
    response = tiny.post(route, json=failing.BAD[route], headers={"x-request-id": "mine"})
    assert_error(response, 500, "the log has the reason under this id")
    assert response.json()["request_id"] == "mine"
    assert tiny.post(route, json=failing.GOOD[route]).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
def test_passed_deadline_is_504(
    failing_server: Serving, tiny: httpx.Client, route: str, monkeypatch: pytest.MonkeyPatch
):
    """A task whose deadline has passed before its model is asked ends there."""
    assert failing_server.worker is not None
    times = itertools.count(step=100)
    monkeypatch.setattr(failing_server.worker.handler, "clock", lambda: float(next(times)))
    assert_error(tiny.post(route, json=failing.GOOD[route]), 504, "the deadline passed")


@pytest.mark.parametrize("route", ROUTES)
def test_deadline_that_cannot_be_met_is_429(
    failing_server: Serving, tiny: httpx.Client, route: str, monkeypatch: pytest.MonkeyPatch
):
    """Once it is known how long a run takes, one that would come too late is not begun: try later."""
    assert tiny.post(route, json=failing.GOOD[route]).status_code == 200
    assert failing_server.worker is not None
    monkeypatch.setattr(failing_server.worker.handler, "clock", lambda: 0.0)
    monkeypatch.setattr(failing_server.worker.handler, "deadline_s", 1e-9)
    assert_error(tiny.post(route, json=failing.GOOD[route]), 429, "would take about")


@pytest.mark.parametrize("route", ROUTES)
def test_full_queue_is_429(failing_server: Serving, tiny: httpx.Client, route: str, monkeypatch: pytest.MonkeyPatch):
    """Where as many rows wait as may, for a run or for a place in the loop, one more is refused: try later."""
    assert failing_server.worker is not None
    model = failing_server.worker.registry.find_for_task(route.strip("/"), None, None)  # type: ignore[arg-type]
    queue = model.loop.table if model.loop else model.dispatcher.queue
    monkeypatch.setattr(queue, "waiting_rows", queue.max_queue_rows)
    assert_error(tiny.post(route, json=failing.GOOD[route]), 429, "rows wait, 1 more do not fit")


# What each task refuses


SERIES = {"model": "sunspots-forecaster"}
SEA = {"model": "elnino-forecaster"}
DATES = {"model": "date-translator"}
VAE = {"model": "digits-vae"}
DIFFUSION = {"model": "digits-diffusion"}
PHOTO = {"model": "photo-restorer"}
MONTHS = [20.0] * 12

REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("/classify", {}, 400, "inputs: expected an array of rows, got nothing"),
    ("/classify", {"inputs": []}, 400, "inputs: expected an array of 1 to"),
    ("/classify", {"inputs": [[1, 2]]}, 400, "inputs[0]: expected a row of shape [1, 8, 8], got [2]"),
    ("/classify", {"inputs": ["seven"]}, 400, "inputs[0]: expected FP32, got 'seven'"),
    ("/classify", {"inputs": [as_row(b"no picture")]}, 415, "inputs[0].image: expected a PNG or JPEG picture"),
    ("/classify", {"inputs": [{"image": "%"}]}, 400, "inputs[0].image: expected a base64 text"),
    ("/classify", {"inputs": [as_row(bomb(60_000, 60_000))]}, 413, "pixels, got 60000 x 60000"),
    ("/classify", {"inputs": [as_row(bomb(10_000, 10_000))]}, 413, "pixels, got 10000 x 10000"),
    ("/classify", {"inputs": [as_row(bomb(100, 20_000))]}, 415, "got a damaged one"),
    ("/classify", example("/classify", "digit", top_k=0), 400, "top_k: Input should be greater than or equal to 1"),
    ("/classify", example("/classify", "digit", top_k=10**6), 400, "top_k: Input should be less than or equal"),
    ("/classify", example("/classify", "digit", explain="guess"), 400, "explain"),
    ("/classify", example("/classify", "digit", explanation_format="picture"), 400, "none is asked for"),
    ("/predict_sequence", {"inputs": [[1, 2]]}, 404, "several models do predict_sequence: name one in 'model'"),
    ("/predict_sequence", SERIES, 400, "inputs: expected an array of 1 to"),
    ("/predict_sequence", {**SERIES, "inputs": []}, 400, "inputs: expected an array of 1 to"),
    ("/predict_sequence", {**SERIES, "inputs": [[]]}, 400, "inputs[0]: expected 1 to 1000 values, got 0"),
    ("/predict_sequence", {**SERIES, "inputs": [[1] * 1001]}, 400, "expected 1 to 1000 values, got 1001"),
    ("/predict_sequence", {**SERIES, "inputs": [[[1, 2]]]}, 400, "inputs[0]: expected shape"),
    ("/predict_sequence", {**SERIES, "inputs": [[1, "2"]]}, 400, "inputs[0]: expected FP32, got '2'"),
    ("/predict_sequence", {**SERIES, "inputs": ["a text"]}, 400, "inputs[0]: expected an array of numbers"),
    ("/predict_sequence", {**SERIES, "inputs": [[1, 2]], "horizon": 0}, 400, "horizon: Input should be greater"),
    ("/predict_sequence", {**SERIES, "inputs": [[1, 2]], "horizon": 10**9}, 400, "horizon: expected 1 to 1000 steps"),
    ("/predict_sequence", {**SERIES, "inputs": [[1, 2]], "quantiles": [1.5]}, 400, "quantiles.0: Input should be"),
    ("/predict_sequence", {**SERIES, "inputs": [[1, 2]], "paths": 10**6}, 400, "paths: Input should be less"),
    ("/predict_sequence", {**SERIES, "inputs": [[1, 2]], "beams": 2}, 400, "beams: model 'sunspots-forecaster'"),
    ("/predict_sequence", {**SERIES, "inputs": [{"values": [1], "state": "x"}]}, 400, "inputs[0].state: expected"),
    ("/predict_sequence", {**SEA, "inputs": [MONTHS]}, 400, "inputs[0]: expected an object with values, month"),
    ("/predict_sequence", {**SEA, "inputs": [{"values": MONTHS, "month": 1}], "horizon": 7}, 400, "expected 1 to 6"),
    ("/predict_sequence", {**SEA, "inputs": [{"values": [1], "month": 1}]}, 400, "expected 12 to 600 values, got 1"),
    ("/predict_sequence", {**SEA, "inputs": [{"values": MONTHS, "month": 1, "state": "x"}]}, 400, "cannot go on"),
    ("/predict_sequence", example("/predict_sequence", "further inputs", quantiles=[0.2]), 400, "one of 0.1, 0.5, 0.9"),
    ("/predict_sequence", {**DATES, "inputs": [""]}, 400, "inputs[0]: expected 1 to"),
    ("/predict_sequence", {**DATES, "inputs": ["суббота, 31 декабря 2022 г."]}, 400, "CYRILLIC SMALL LETTER ES"),
    ("/predict_sequence", {**DATES, "inputs": ["M" * 10_000]}, 400, "characters, got 10000"),
    ("/predict_sequence", {**DATES, "inputs": [[1, 2]]}, 400, "inputs[0]: expected a text, got an array"),
    ("/predict_sequence", {**DATES, "inputs": ["Monday"], "horizon": 3}, 400, "horizon: model 'date-translator'"),
    ("/predict_sequence", {**DATES, "inputs": ["Monday"], "beams": 9}, 400, "beams: Input should be less"),
    ("/reconstruct", {"inputs": [[1]]}, 404, "several models do reconstruct: name one in 'model'"),
    ("/reconstruct", VAE, 400, "inputs: expected an array of rows, got nothing"),
    ("/reconstruct", {**VAE, "inputs": [[[1]]]}, 400, "inputs[0]: expected a row of shape [1, 8, 8], got [1, 1]"),
    ("/reconstruct", {**VAE, "inputs": [{"picture": ""}]}, 400, 'expected nested numbers or {"image"'),
    ("/reconstruct", {**VAE, "inputs": [as_row(b"\x89PNG\r\n\x1a\n")]}, 415, "got a damaged one"),
    ("/reconstruct", {**PHOTO, "inputs": [as_row(bomb(60_000, 60_000))]}, 413, "pixels, got 60000 x 60000"),
    ("/reconstruct", {**PHOTO, "inputs": [as_row(bomb(10_000, 10_000))]}, 413, "pixels, got 10000 x 10000"),
    ("/reconstruct", example("/reconstruct", "denoise", graph="thin"), 400, "graph: expected one of main, got 'thin'"),
    ("/reconstruct", example("/reconstruct", "denoise", output_format="jpeg"), 400, "output_format: Input should be"),
    ("/generate", {}, 404, "several models do generate: name one in 'model'"),
    ("/generate", {**VAE, "inputs": [[1]]}, 400, "inputs: expected none"),
    ("/generate", {**VAE, "count": 0}, 400, "count: expected 1 to 1024, got 0"),
    ("/generate", {**VAE, "count": 10**6}, 400, "count: expected 1 to 1024, got 1000000"),
    ("/generate", {**VAE, "labels": ["ten"]}, 400, "labels[0]: expected one of 0, 1, 2"),
    ("/generate", {**VAE, "labels": [10]}, 400, "or a position 0 to 9, got 10"),
    ("/generate", {**VAE, "labels": ["1", "2"], "count": 3}, 400, "labels: expected one for all rows"),
    ("/generate", {**VAE, "seed": -1}, 400, "seed: Input should be greater"),
    ("/generate", {**VAE, "seed": 1 << 63}, 400, "seed: Input should be less"),
    ("/generate", {**VAE, "steps": 5}, 400, "steps: only a model with a diffusion takes it"),
    ("/generate", {**VAE, "interpolate": {"seeds": [1, 2]}}, 400, "count: expected 2 or more with interpolate"),
    ("/generate", {**DIFFUSION, "steps": 0}, 400, "steps: expected 1 to 200, got 0"),
    ("/generate", {**DIFFUSION, "steps": 10**9}, 400, "steps: expected 1 to 200"),
    ("/generate", {**DIFFUSION, "eta": 1.5}, 400, "eta: Input should be less"),
    ("/generate", {**DIFFUSION, "guidance": 1e9}, 400, "guidance: Input should be less"),
    ("/generate", {**DIFFUSION, "count": 2, "interpolate": {"seeds": [1, 2]}}, 400, "interpolate: expected a model"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("route", "body", "status", "text"), REFUSED, ids=[f"{r[0][1:]}-{i}" for i, r in enumerate(REFUSED)]
)
def test_fault_of_a_task_gets_its_status_and_reason(
    reference: httpx.Client, route: str, body: dict[str, Any], status: int, text: str
):
    """What a task or its model does not take is refused with the field, what was expected and what came."""
    assert_error(reference.post(route, json=body), status, text)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", '"NaN"', '"-Infinity"'])
@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/classify", example("/classify", "digit", inputs=[[[[0.25] * 8] * 8]])),
        ("/predict_sequence", {**SERIES, "inputs": [[0.25, 1.0]]}),
        ("/predict_sequence", {**SEA, "inputs": [{"values": [0.25, *MONTHS], "month": 1}]}),
        ("/reconstruct", {**VAE, "inputs": [[[[0.25] * 8] * 8]]}),
    ],
)
def test_number_that_is_not_finite_is_refused(reference: httpx.Client, route: str, body: dict[str, Any], bad: str):
    """NaN and infinities never reach a batch."""
    content = json.dumps(body).replace("0.25", bad, 1)
    assert_error(reference.post(route, content=content), 400, "expected finite numbers, got")


@pytest.mark.parametrize(
    ("route", "headers", "params", "status", "text"),
    [
        ("/predict_sequence", PNG, SERIES, 400, "body: expected a JSON body with series or texts as inputs"),
        ("/generate", PNG, VAE, 400, "inputs: expected none"),
        ("/classify", PNG, {"top_k": "many"}, 400, "top_k: Input should be a valid integer"),
        ("/classify", {**PNG, "accept": "image/png"}, {}, 400, "accept: image/png shows an explanation"),
        ("/reconstruct", {**PNG, "accept": "image/png"}, {**VAE, "error_map": "true"}, 400, "error_map: expected"),
    ],
)
def test_picture_that_is_not_wanted_is_refused(
    reference: httpx.Client, route: str, headers: dict[str, str], params: dict[str, str], status: int, text: str
):
    """A picture body, or the wish for a picture, is refused where the task or the options have no place for it."""
    content = png(np.zeros((8, 8), np.uint8))
    assert_error(reference.post(route, content=content, headers=headers, params=params), status, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({**DIFFUSION, "stream": True}, "accept: image/png is one picture, and a stream has events"),
        (example("/generate", "labels", inputs=[1]), "inputs: expected none"),
    ],
)
def test_stream_of_one_picture_is_refused(reference: httpx.Client, body: dict[str, Any], text: str):
    """What cannot be one picture is refused before anything is computed."""
    assert_error(reference.post("/generate", json=body, headers={"accept": "image/png"}), 400, text)


def test_tiny_picture_is_taken(reference: httpx.Client):
    """A picture of 1 x 1 is enlarged to what the model takes; a model of any size answers in that size."""
    dot = png(np.full((1, 1), 200, np.uint8))
    answer = reference.post("/classify", content=dot, headers=PNG)
    assert answer.json()["predictions"][0]["label"] in "0123456789"
    response = reference.post("/reconstruct", content=dot, headers={**PNG, "accept": "image/png"}, params=PHOTO)
    assert Image.open(io.BytesIO(response.content)).size == (1, 1)
