"""What the task routes answer: pictures, streams, states, and the same bytes for a seed."""

import base64
import io
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model_store import DEFAULT_ROOT
from service.api.openapi.examples import EXAMPLES
from tests.support.answers import read_events
from tests.support.models import failing
from tests.support.pictures.encoding import as_row, encode
from tests.support.servers import FAST, Serving, settings_for

PHOTO = {"model": "photo-restorer"}
SUNSPOTS = EXAMPLES["predict_sequence"]["stream"][1]["inputs"][0]
ZERO_PNG = base64.b64decode(EXAMPLES["classify"]["why"][1]["inputs"][0]["image"])


def example(task: str, name: str, **changes: Any) -> dict[str, Any]:
    return {**EXAMPLES[task][name][1], **changes}


def ask(client: httpx.Client, task: str, body: Any, **more: Any) -> Any:
    response = client.post(f"/{task}", json=body, **more)
    assert response.status_code == 200, response.text[:500]
    return response.json()


def read_picture(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def test_photograph_is_restored_in_three_ways(reference: httpx.Client):
    """A 640 x 427 photograph as base64, as the body and as a file of a form comes back, the same picture each time."""
    smooth = np.linspace((255, 0, 128), (0, 255, 64), 640) + np.zeros((427, 1, 1))
    given = (smooth + np.random.default_rng(0).normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    photograph = encode(Image.fromarray(given), "JPEG", quality=90)
    wanted = {"accept": "image/png"}
    jpeg = {**wanted, "content-type": "image/jpeg"}
    row = as_row(photograph)
    kinds = [
        reference.post("/reconstruct", json={**PHOTO, "inputs": [row]}, headers=wanted),
        reference.post("/reconstruct", content=photograph, headers=jpeg, params=PHOTO),
        reference.post("/reconstruct", files={"any": ("my.jpg", photograph, "image/jpeg")}, data=PHOTO, headers=wanted),
    ]
    assert {response.headers.get("content-type") for response in kinds} == {"image/png"}
    restored = read_picture(kinds[0].content)
    assert restored.shape == (427, 640, 3)
    assert {response.content for response in kinds} == {kinds[0].content}
    assert 0 < np.abs(restored - given.astype(float)).mean() < 10  # it has changed, and is still that photograph


def test_six_formats_are_read_without_a_content_type(reference: httpx.Client):
    """The first bytes say what a body is, also where the content type is missing, says nothing or is wrong."""
    digit = Image.open(io.BytesIO(ZERO_PNG)).convert("L")
    expected = reference.post("/classify", content=ZERO_PNG).json()
    for kind, media_type in (
        *(("PNG", None), ("WEBP", None), ("GIF", "application/octet-stream"), ("TIFF", "image/png")),
        *(("BMP", "text/plain"), ("JPEG", "application/json")),
    ):
        content = encode(digit, kind, **({"lossless": True} if kind == "WEBP" else {"quality": 100}))
        headers = {} if media_type is None else {"content-type": media_type}
        answer = reference.post("/classify", content=content, headers=headers).json()
        assert answer["predictions"][0]["label"] == expected["predictions"][0]["label"], kind
        if kind != "JPEG":
            assert answer == expected, kind


def test_options_travel_in_query_and_form(reference: httpx.Client):
    """Numbers, booleans, lists and objects are taken from the texts of a query string, with the answer of JSON."""
    between = {"model": "digits-vae", "count": 3, "labels": ["8"], "interpolate": {"seeds": [1, 2]}}
    query = {"model": "digits-vae", "count": "3", "labels": "8", "interpolate": '{"seeds":[1,2]}'}
    assert ask(reference, "generate", {}, params=query) == ask(reference, "generate", between)
    several = {"model": "digits-gan", "labels": "3,1,4", "seed": "1"}
    assert ask(reference, "generate", {}, params=several) == ask(reference, "generate", example("generate", "labels"))
    files = [("a", ("1.png", ZERO_PNG, "image/png")), ("b", ("2.png", ZERO_PNG, "application/octet-stream"))]
    answer = reference.post("/classify", files=files, data={"top_k": "2"}).json()
    assert [len(prediction["top"]) for prediction in answer["predictions"]] == [2, 2]


def test_forecast_streams_each_step_in_order(reference: httpx.Client):
    """Events come step by step for each row, then `done` with the answer, which is all of a task without steps."""
    body = {"model": "sunspots-forecaster", "inputs": [SUNSPOTS, SUNSPOTS[5:]], "horizon": 6}
    with reference.stream("POST", "/predict_sequence", json={**body, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *steps, (last, answer) = read_events(response.iter_lines())
    assert (last, answer) == ("done", ask(reference, "predict_sequence", body))
    for row, prediction in enumerate(answer["predictions"]):
        own = [data for _, data in steps if data["row"] == row]
        assert [data["step"] for data in own] == list(range(6))
        assert [data["value"] for data in own] == prediction["mean"]
    response = reference.post("/classify", json=example("classify", "digit", stream=True))
    events = list(read_events(iter(response.text.splitlines())))
    assert events == [("done", ask(reference, "classify", example("classify", "digit")))]


def test_failure_on_the_way_is_the_last_event(tmp_path: Path):
    """A model that fails after some steps ends the stream with `event: error`, without `done`; the server lives on."""
    with Serving(settings_for(failing.write_store(tmp_path)), FAST) as server, server.client() as client:
        body = {"inputs": [[1e36]], "horizon": 4, "stream": True}
        response = client.post("/predict_sequence", json=body, headers={"x-request-id": "mine"})
        assert response.status_code == 200
        *steps, (last, error) = read_events(iter(response.text.splitlines()))
        text = "the model failed on this request; the log has the reason under this id"
        assert (last, error) == ("error", {"error": text, "request_id": "mine"})
        assert [(name, data["step"]) for name, data in steps] == [("message", 0), ("message", 1)]
        assert ask(client, "predict_sequence", {"inputs": [[1]], "horizon": 1})["predictions"] == [{"mean": [10.0]}]


def test_disconnect_frees_the_loop(reference_server: Serving, reference: httpx.Client):
    """When a caller leaves a stream, its rows leave the loop before their last step."""

    def count(name: str) -> float:
        text = reference.get("/metrics").text
        lines = [line for line in text.splitlines() if line.startswith(name) and 'model="digits-diffusion"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    loop = reference_server.worker.registry.find("digits-diffusion", None).loop
    before, rows, steps = count("sluice_batch_rows_sum"), 64, 200
    body = {"model": "digits-diffusion", "count": rows, "steps": steps, "seed": 1, "stream": True}
    with reference_server.client() as leaving, leaving.stream("POST", "/generate", json=body) as response:
        next(read_events(response.iter_lines()))
    while not loop.table.is_empty:
        reference.get("/livez")
    assert 0 < count("sluice_batch_rows_sum") - before < rows * steps


SEEDED = [
    ("generate", {"model": "digits-gan", "count": 3}),
    ("generate", {"model": "digits-vae", "labels": ["4"]}),
    ("generate", {"model": "digits-diffusion", "steps": 6, "eta": 1.0}),
    ("predict_sequence", example("predict_sequence", "intervals", paths=16)),
]


@pytest.fixture(scope="module")
def second() -> Iterator[httpx.Client]:
    """Another server over the same models, with the same key."""
    names = ("digits-gan", "digits-vae", "digits-diffusion", "sunspots-forecaster")
    settings = settings_for(DEFAULT_ROOT, models=names, state_key="of these tests")
    with Serving(settings) as server, server.client() as client:
        yield client


@pytest.mark.parametrize(("task", "body"), SEEDED, ids=["gan", "vae", "diffusion", "paths"])
def test_seed_always_gives_its_bytes(reference: httpx.Client, second: httpx.Client, task: str, body: dict[str, Any]):
    """A seed's answer is byte for byte the same alone, among 32 other requests, and from another server."""

    def ask_with(client: httpx.Client) -> Callable[[int], bytes]:
        return lambda seed: client.post(f"/{task}", json={**body, "seed": seed}).content

    seeds = list(range(8))
    alone = [ask_with(reference)(seed) for seed in seeds]
    assert len(set(alone)) == len(seeds)
    company = seeds * 4
    random.Random(0).shuffle(company)
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(ask_with(reference), company))
    assert together == [alone[seed] for seed in company]
    assert [ask_with(second)(seed) for seed in seeds] == alone


def test_state_goes_on_at_another_server_with_the_key(reference: httpx.Client, second: httpx.Client):
    """A state of one server and the later values give another server the forecast of the whole series."""
    body = {"model": "sunspots-forecaster", "horizon": 4}
    begun = ask(reference, "predict_sequence", {**body, "inputs": [SUNSPOTS[:-3]], "return_state": True})
    state = begun["predictions"][0]["state"]
    series = {"values": SUNSPOTS[-3:], "state": state}
    (resumed,) = ask(second, "predict_sequence", {**body, "inputs": [series]})["predictions"]
    (whole,) = ask(reference, "predict_sequence", {**body, "inputs": [SUNSPOTS]})["predictions"]
    assert resumed["mean"] == pytest.approx(whole["mean"], rel=1e-4)
    (forgetful,) = ask(reference, "predict_sequence", {**body, "inputs": [SUNSPOTS[-3:]]})["predictions"]
    assert resumed["mean"] != pytest.approx(forgetful["mean"], rel=1e-2)


def test_state_is_refused_under_another_key(reference: httpx.Client):
    """A server that has made a key by itself refuses the state."""
    body = {"model": "sunspots-forecaster", "inputs": [SUNSPOTS], "return_state": True}
    state = ask(reference, "predict_sequence", body)["predictions"][0]["state"]
    settings = settings_for(DEFAULT_ROOT, models=("sunspots-forecaster",), state_key="")
    with Serving(settings) as server, server.client() as client:
        response = client.post("/predict_sequence", json={"inputs": [{"values": [1], "state": state}]})
    assert response.status_code == 400
    assert "inputs[0].state: expected the text of an earlier answer" in response.json()["error"]


@pytest.mark.parametrize(
    ("task", "body", "expected"),
    [
        ("classify", {"model": "digits-classifier", "inputs": [[[[0] * 8] * 8]] * 3}, 3),
        ("predict_sequence", {"model": "sunspots-forecaster", "inputs": [[1.0, 2.0], [3.0]], "horizon": 2}, 2),
        ("predict_sequence", {"model": "date-translator", "inputs": ["Saturday, December 31, 2022"], "beams": 3}, 3),
        ("generate", {"model": "digits-gan", "count": 2}, 2),
    ],
    ids=["one run", "loop", "beams", "noise"],
)
def test_answer_says_how_many_rows_its_batch_had(
    reference: httpx.Client, task: str, body: dict[str, Any], expected: int
):
    """Server-Timing describes the rows that ran together; of several batches, the largest."""
    timing = reference.post(f"/{task}", json=body).raise_for_status().headers["server-timing"]
    assert f', rows;desc="{expected}", ' in timing
