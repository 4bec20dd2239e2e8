"""What the four task routes answer, through each path: pictures, streams, states, and the same bytes for a seed."""

import base64
import io
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageFilter

from model_store import DEFAULT_ROOT
from service.api.openapi.examples import EXAMPLES
from tests.support.models import failing
from tests.support.servers import ServerPath, Serving, settings_for

PHOTO = {"model": "photo-restorer"}
SUNSPOTS = EXAMPLES["predict_sequence"]["stream"][1]["inputs"][0]
ZERO_PNG = base64.b64decode(EXAMPLES["classify"]["why"][1]["inputs"][0]["image"])
ZERO = EXAMPLES["classify"]["digit"][1]["inputs"][0]


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


def read_events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """(name, data) of each event, as soon as it is there."""
    name = "message"
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
            name = "message"


# Pictures


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A synthetic photograph of 640 x 427: smooth colours with some noise, a JPEG."""
    random_numbers = np.random.default_rng(0)
    coarse = Image.fromarray(random_numbers.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    picture = coarse.resize((640, 427), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    noisy = np.asarray(picture) + random_numbers.normal(0, 6, (427, 640, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def test_photograph_is_restored_in_three_ways(reference: httpx.Client, photograph: bytes):
    """A 640 x 427 photograph as base64, as the body and as a file of a form comes back, the same picture each time."""
    wanted = {"accept": "image/png"}
    row = {"image": base64.b64encode(photograph).decode()}
    kinds = [
        reference.post("/reconstruct", json={**PHOTO, "inputs": [row]}, headers=wanted),
        reference.post(
            "/reconstruct", content=photograph, headers={**wanted, "content-type": "image/jpeg"}, params=PHOTO
        ),
        reference.post("/reconstruct", files={"any": ("my.jpg", photograph, "image/jpeg")}, data=PHOTO, headers=wanted),
    ]
    assert {response.headers.get("content-type") for response in kinds} == {"image/png"}
    restored = read_picture(kinds[0].content)
    assert restored.shape == (427, 640, 3)
    assert {response.content for response in kinds} == {kinds[0].content}
    given = np.asarray(Image.open(io.BytesIO(photograph))).astype(float)
    assert 0 < np.abs(restored - given).mean() < 10  # it has changed, and is still that photograph


def test_pictures_in_json_are_those_of_the_numbers(reference: httpx.Client):
    """``output_format: picture`` shows each output as a PNG of its size; error_map lies over it; the errors stay."""
    body = example("reconstruct", "anomaly", output_format="numbers")
    numbers = ask(reference, "reconstruct", body)["predictions"][0]
    pictures = ask(reference, "reconstruct", example("reconstruct", "anomaly"))["predictions"][0]
    shown = read_picture(base64.b64decode(pictures["output"]["image"]))
    expected = (np.array(numbers["output"][0]) * 255 / 16).round().clip(0, 255)
    assert np.array_equal(shown, expected)
    assert read_picture(base64.b64decode(pictures["error_map"]["image"])).shape == (64, 64, 3)
    assert np.array(numbers["error_map"]).shape == (8, 8)
    assert pictures["error"] == numbers["error"] > 0
    assert pictures["anomaly"] is (pictures["score"] > pictures["threshold"]) is False


def test_noise_is_an_anomaly(reference: httpx.Client):
    """What is no digit is over the calibrated threshold."""
    noise = np.random.default_rng(0).uniform(0, 16, (1, 8, 8)).tolist()
    (prediction,) = ask(reference, "reconstruct", {"model": "digits-vae", "inputs": [noise]})["predictions"]
    assert prediction["anomaly"] is True
    assert prediction["score"] > prediction["threshold"]


@pytest.mark.parametrize(("count", "size"), [(1, (8, 8)), (2, (130, 64)), (5, (196, 130))])
def test_samples_come_as_one_picture(reference: httpx.Client, count: int, size: tuple[int, int]):
    """Accept: image/png answers one sample as it is, and several in a grid of enlarged cells."""
    body = {"model": "digits-gan", "count": count, "seed": 3}
    response = reference.post("/generate", json=body, headers={"accept": "image/png"})
    assert response.headers["content-type"] == "image/png"
    assert read_picture(response.content).shape == size[::-1]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion"])
def test_classifier_explains_itself(reference: httpx.Client, method: str):
    """Each method gives a value for each pixel, as numbers, as a picture in JSON, and as a picture alone."""
    body = example("classify", "digit", explain=method, inputs=[ZERO, ZERO])
    first, second = ask(reference, "classify", body)["predictions"]
    assert first == second
    values = np.array(first["explanation"]["values"])
    assert first["explanation"]["method"] == method
    assert values.shape == (8, 8)
    assert np.ptp(values) > 0
    drawn = ask(reference, "classify", {**body, "explanation_format": "picture"})["predictions"][0]["explanation"]
    alone = reference.post(
        *("/classify",),
        content=ZERO_PNG,
        params={"explain": method},
        headers={"content-type": "image/png", "accept": "image/png"},
    )
    assert read_picture(base64.b64decode(drawn["image"])).shape == read_picture(alone.content).shape == (64, 64, 3)


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


# Streams


def test_forecast_streams_each_step_in_order(reference: httpx.Client):
    """Events come step by step for each row, then `done` with the answer that a request without a stream gets."""
    body = {"model": "sunspots-forecaster", "inputs": [SUNSPOTS, SUNSPOTS[5:]], "horizon": 6}
    with reference.stream("POST", "/predict_sequence", json={**body, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *steps, (last, answer) = read_events(response.iter_lines())
    assert (last, answer) == ("done", ask(reference, "predict_sequence", body))
    for row, prediction in enumerate(answer["predictions"]):
        own = [data for _, data in steps if data["row"] == row]
        assert [data["step"] for data in own] == list(range(6))
        assert [data["value"] for data in own] == prediction["mean"]


def test_diffusion_streams_previews(reference: httpx.Client):
    """Each step of each row has a preview; the last is the sample itself."""
    body = {"model": "digits-diffusion", "labels": ["1", "2"], "steps": 5, "seed": 1}
    with reference.stream("POST", "/generate", json={**body, "stream": True}) as response:
        *steps, (last, answer) = read_events(response.iter_lines())
    assert (last, answer) == ("done", ask(reference, "generate", body))
    for row, sample in enumerate(answer["outputs"]):
        own = [data for _, data in steps if data["row"] == row]
        assert [(data["step"], data["steps"]) for data in own] == [(step, 5) for step in range(5)]
        assert own[-1]["preview"] == sample


def test_text_streams_as_it_grows(reference: httpx.Client):
    """Each event has the text so far, a prefix of what is answered at the end."""
    body = example("predict_sequence", "text", stream=True)
    with reference.stream("POST", "/predict_sequence", json=body) as response:
        *steps, (last, answer) = read_events(response.iter_lines())
    (prediction,) = answer["predictions"]
    assert last == "done"
    assert prediction["text"] == "Samstag, 31. Dezember 2022"
    assert [data["text"] for _, data in steps] == [prediction["text"][: i + 1] for i in range(len(prediction["text"]))]


def test_task_without_steps_streams_its_answer(reference: httpx.Client):
    """A stream of a task that has no steps is one event, `done`."""
    response = reference.post("/classify", json=example("classify", "digit", stream=True))
    events = list(read_events(iter(response.text.splitlines())))
    assert events == [("done", ask(reference, "classify", example("classify", "digit")))]


def test_failure_on_the_way_is_the_last_event(tmp_path: Path, server_path: ServerPath):
    """A model that fails after some steps ends the stream with `event: error`, without `done`; the server lives on."""
    with Serving(settings_for(failing.write_store(tmp_path)), server_path) as server, server.client() as client:
        body = {"inputs": [[1e36]], "horizon": 4, "stream": True}
        response = client.post("/predict_sequence", json=body, headers={"x-request-id": "mine"})
        assert response.status_code == 200
        *steps, (last, error) = read_events(iter(response.text.splitlines()))
        assert last == "error"
        assert error == {
            "error": "the model failed on this request; the log has the reason under this id",
            "request_id": "mine",
        }
        assert [(name, data["step"]) for name, data in steps] == [("message", 0), ("message", 1)]
        assert ask(client, "predict_sequence", {"inputs": [[1]], "horizon": 1})["predictions"] == [{"mean": [10.0]}]


def test_disconnect_frees_the_loop(reference_server: Serving, reference: httpx.Client):
    """A caller who leaves a stream takes its rows out of the loop before they have gone all their steps."""

    def count(name: str) -> float:
        text = reference.get("/metrics").text
        lines = [line for line in text.splitlines() if line.startswith(name) and 'model="digits-diffusion"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    assert reference_server.worker is not None
    loop = reference_server.worker.registry.find("digits-diffusion", None).loop
    assert loop is not None
    before, rows, steps = count("sluice_batch_rows_sum"), 64, 200
    body = {"model": "digits-diffusion", "count": rows, "steps": steps, "seed": 1, "stream": True}
    with reference_server.client() as leaving, leaving.stream("POST", "/generate", json=body) as response:
        next(read_events(response.iter_lines()))
    while not loop.table.is_empty:
        reference.get("/livez")
    assert 0 < count("sluice_batch_rows_sum") - before < rows * steps


# The same seed, the same bytes


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
def test_seed_gives_the_same_bytes_in_any_company(
    reference: httpx.Client, second: httpx.Client, task: str, body: dict[str, Any]
):
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


def test_row_does_not_depend_on_how_many_are_drawn(reference: httpx.Client):
    """The first rows of a large request are those of a small one with the same seed."""
    body = {"model": "digits-diffusion", "labels": ["3"], "steps": 6, "seed": 5}
    few = ask(reference, "generate", {**body, "count": 2})["outputs"]
    assert ask(reference, "generate", {**body, "count": 40})["outputs"][:2] == few


def test_drawn_seed_is_told_and_repeats(reference: httpx.Client):
    """Without a seed one is drawn and told; with it the rows come again."""
    first = ask(reference, "generate", {"model": "digits-gan", "count": 2})
    assert ask(reference, "generate", {"model": "digits-gan", "count": 2, "seed": first["seed"]}) == first


# Series


def test_series_of_different_length_are_answered_in_their_order(reference: httpx.Client):
    """Each of several series gets the forecast that it gets alone, wherever it stands among them."""
    series = [SUNSPOTS, SUNSPOTS[-1:], SUNSPOTS[3:], [*SUNSPOTS, *SUNSPOTS], SUNSPOTS]
    body = {"model": "sunspots-forecaster", "horizon": 3}
    together = ask(reference, "predict_sequence", {**body, "inputs": series})["predictions"]
    alone = [ask(reference, "predict_sequence", {**body, "inputs": [one]})["predictions"][0] for one in series]
    assert together == alone
    assert len({tuple(prediction["mean"]) for prediction in together}) == 4


def test_state_goes_on_at_another_server_with_the_key(reference: httpx.Client, second: httpx.Client):
    """A state from one server and what came since give another server the forecast of the whole series."""
    body = {"model": "sunspots-forecaster", "horizon": 4}
    begun = ask(reference, "predict_sequence", {**body, "inputs": [SUNSPOTS[:-3]], "return_state": True})
    state = begun["predictions"][0]["state"]
    series = {"values": SUNSPOTS[-3:], "state": state}
    (resumed,) = ask(second, "predict_sequence", {**body, "inputs": [series]})["predictions"]
    (whole,) = ask(reference, "predict_sequence", {**body, "inputs": [SUNSPOTS]})["predictions"]
    assert resumed["mean"] == pytest.approx(whole["mean"], rel=1e-4)
    (forgetful,) = ask(reference, "predict_sequence", {**body, "inputs": [SUNSPOTS[-3:]]})["predictions"]
    assert resumed["mean"] != pytest.approx(forgetful["mean"], rel=1e-2)


@pytest.mark.parametrize("key", ["another", ""])
def test_state_is_refused_under_another_key(reference: httpx.Client, key: str):
    """A server with another key, or with one of its own making, takes no state that it did not sign."""
    body = {"model": "sunspots-forecaster", "inputs": [SUNSPOTS], "return_state": True}
    state = ask(reference, "predict_sequence", body)["predictions"][0]["state"]
    settings = settings_for(DEFAULT_ROOT, models=("sunspots-forecaster",), state_key=key)
    with Serving(settings) as server, server.client() as client:
        response = client.post("/predict_sequence", json={"inputs": [{"values": [1], "state": state}]})
    assert response.status_code == 400
    assert "inputs[0].state: expected the text of an earlier answer" in response.json()["error"]
