"""What the task routes refuse, and how. All that a task itself refuses is in tests/service/tasks."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from model_store.tasks import Picture
from service.api.openapi.examples import EXAMPLES
from service.codecs.pictures.writer import encode_png
from tests.support.answers import assert_error
from tests.support.models import failing
from tests.support.pictures.encoding import as_row, claim
from tests.support.servers import FAST, Serving, settings_for

ROUTES = tuple(failing.GOOD)
PNG = {"content-type": "image/png"}

DOT = encode_png(np.full((1, 1, 1), 200), Picture(channels=1))

every_route = pytest.mark.parametrize("route", ROUTES)


def bomb(width: int, height: int) -> dict[str, str]:
    """A row with a PNG of a few bytes that claims to have this size."""
    return as_row(claim(width, height))


@pytest.fixture(scope="module")
def failing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Tiny models that fail when they are asked to, and one that is broken."""
    store = failing.write_store(tmp_path_factory.mktemp("failing"))
    with Serving(settings_for(store), FAST) as serving:
        yield serving


@pytest.fixture
def tiny(failing_server: Serving) -> Iterator[httpx.Client]:
    with failing_server.client() as client:
        yield client


COMMON: dict[str, tuple[dict[str, Any], int, str]] = {
    "not JSON": ({"content": b"{"}, 400, "body: expected JSON"),
    "unknown field": ({"json": {"colour": "red"}}, 400, "colour: unknown field"),
    "unknown model": ({"json": {"model": "nobody"}}, 404, "no model 'nobody': there are broken, classifier"),
    "unknown version": ({"json": {"version": 9}}, 404, "no version '9' of"),
    "unknown alias": ({"json": {"version": "beta"}}, 404, "no alias 'beta' of"),
    "broken model": ({"json": {"model": "broken"}}, 503, "manifest.json"),
}


@every_route
@pytest.mark.parametrize(("sent", "status", "text"), COMMON.values(), ids=COMMON)
def test_fault_of_a_route_has_its_status(tiny: httpx.Client, route: str, sent: dict[str, Any], status: int, text: str):
    """A fault that does not depend on the task is answered alike on all four routes."""
    if "json" in sent:
        sent = {**sent, "json": {**failing.GOOD[route], **sent["json"]}}
    assert_error(tiny.post(route, **sent), status, text)


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


@every_route
def test_failure_of_the_model_is_500_and_harms_nobody_else(tiny: httpx.Client, route: str):
    """Outputs that are not finite become a 500 without details, and the next request is answered."""
    response = tiny.post(route, json=failing.BAD[route], headers={"x-request-id": "mine"})
    assert_error(response, 500, "the log has the reason under this id")
    assert response.json()["request_id"] == "mine"
    assert tiny.post(route, json=failing.GOOD[route]).status_code == 200


@every_route
def test_late_request_is_504(failing_server: Serving, tiny: httpx.Client, route: str, monkeypatch: pytest.MonkeyPatch):
    """A task whose deadline passes before its model runs is 504."""
    times = itertools.count(step=100)
    monkeypatch.setattr(failing_server.worker.handler, "clock", lambda: float(next(times)))
    assert_error(tiny.post(route, json=failing.GOOD[route]), 504, "the deadline passed")


@every_route
def test_too_late_is_429(failing_server: Serving, tiny: httpx.Client, route: str, monkeypatch: pytest.MonkeyPatch):
    """A run that would end after the deadline is not begun once its duration is known: 429."""
    device = failing_server.worker.device
    now = device.clock()
    monkeypatch.setattr(device, "clock", lambda: now)  # a model that has rested would be tried again
    assert tiny.post(route, json=failing.GOOD[route]).status_code == 200
    monkeypatch.setattr(failing_server.worker.handler, "clock", lambda: 0.0)
    monkeypatch.setattr(failing_server.worker.handler, "deadline_s", 1e-9)
    assert_error(tiny.post(route, json=failing.GOOD[route]), 429, "would take about")


@every_route
def test_full_queue_is_429(failing_server: Serving, tiny: httpx.Client, route: str, monkeypatch: pytest.MonkeyPatch):
    """When the queue or the loop has as many waiting rows as allowed, one more is 429."""
    model = failing_server.worker.registry.find_for_task(route.strip("/"), None, None)  # type: ignore[arg-type]
    queue = model.loop.table if model.loop else model.dispatcher.queue
    monkeypatch.setattr(queue, "waiting_rows", queue.max_queue_rows)
    assert_error(tiny.post(route, json=failing.GOOD[route]), 429, "rows wait, 1 more do not fit")


SERIES = {"model": "sunspots-forecaster"}
SEA = {"model": "elnino-forecaster"}
DATES = {"model": "date-translator"}
VAE = {"model": "digits-vae"}
DIFFUSION = {"model": "digits-diffusion"}
MONTHS = [20.0] * 12
BOMB = bomb(60_000, 60_000)
DENOISE = EXAMPLES["reconstruct"]["denoise"][1]

REFUSED: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "row of another shape": ("/classify", {"inputs": [[1, 2]]}, 400, "inputs[0]: expected a row of shape [1, 8, 8]"),
    "no picture": ("/classify", {"inputs": [{"image": "AAAA"}]}, 415, "inputs[0].image: expected a JPEG, PNG, WebP"),
    "damaged picture": ("/classify", {"inputs": [bomb(100, 20_000)]}, 415, "got a damaged one"),
    "huge picture": ("/classify", {"inputs": [BOMB]}, 413, "pixels, got 60000 x 60000"),
    "huge photograph": ("/reconstruct", {"model": "photo-restorer", "inputs": [BOMB]}, 413, "got 60000 x 60000"),
    "one of several models": ("/reconstruct", {"inputs": [[1]]}, 404, "several models do reconstruct: name one in"),
    "no such graph": ("/reconstruct", {**DENOISE, "graph": "thin"}, 400, "graph: expected one of"),
    "empty series": ("/predict_sequence", {**SERIES, "inputs": [[]]}, 400, "inputs[0]: expected 1 to 1000 values"),
    "input left out": ("/predict_sequence", {**SEA, "inputs": [MONTHS]}, 400, "expected an object with values, month"),
    "unknown letter": ("/predict_sequence", {**DATES, "inputs": ["суббота"]}, 400, "CYRILLIC SMALL LETTER ES"),
    "count": ("/generate", {**VAE, "count": 0}, 400, "count: expected 1 to 1024, got 0"),
    "steps": ("/generate", {**DIFFUSION, "steps": 0}, 400, "steps: expected 1 to 200, got 0"),
}


@pytest.mark.parametrize(("route", "body", "status", "text"), REFUSED.values(), ids=REFUSED)
def test_task_fault_has_its_status(reference: httpx.Client, route: str, body: dict[str, Any], status: int, text: str):
    """What a task or its model does not take is refused with the field, what was expected and what came."""
    assert_error(reference.post(route, json=body), status, text)


@pytest.mark.parametrize("bad", ["NaN", "-Infinity", '"NaN"'])
@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/classify", {"inputs": [[[[0.25] * 8] * 8]]}),
        ("/predict_sequence", {**SERIES, "inputs": [[0.25, 1.0]]}),
        ("/predict_sequence", {**SEA, "inputs": [{"values": [0.25, *MONTHS], "month": 1}]}),
        ("/reconstruct", {**VAE, "inputs": [[[[0.25] * 8] * 8]]}),
    ],
)
def test_number_that_is_not_finite_is_refused(reference: httpx.Client, route: str, body: dict[str, Any], bad: str):
    """NaN and infinities are refused before they reach a batch."""
    content = json.dumps(body).replace("0.25", bad, 1)
    assert_error(reference.post(route, content=content), 400, "expected finite numbers, got")


ACCEPT = {"accept": "image/png"}


@pytest.mark.parametrize(
    ("route", "headers", "params", "text"),
    [
        ("/predict_sequence", PNG, SERIES, "body: expected a JSON body with series or texts as inputs"),
        ("/generate", PNG, VAE, "inputs: expected none"),
        ("/generate", ACCEPT, {**DIFFUSION, "stream": "true"}, "accept: image/png is one picture, and a stream has"),
        ("/classify", {**PNG, **ACCEPT}, {}, "accept: image/png shows an explanation"),
        ("/reconstruct", {**PNG, **ACCEPT}, {**VAE, "error_map": "true"}, "error_map: expected"),
    ],
)
def test_picture_that_is_not_wanted_is_refused(
    reference: httpx.Client, route: str, headers: dict[str, str], params: dict[str, str], text: str
):
    """A picture body, or the wish for a picture, is refused where the task or the options have no place for it."""
    content = DOT if "content-type" in headers else b"{}"
    assert_error(reference.post(route, content=content, headers=headers, params=params), 400, text)
