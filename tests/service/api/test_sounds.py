"""Sounds over HTTP: bodies, forms and JSON in, JSON and WAV out."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from model_store import Store
from model_store.tasks import Classes, Reconstruction, Sound
from tests.support.driving import make
from tests.support.models.text import make_model
from tests.support.servers import FAST, Serving, settings_for
from tests.support.sounds.encoding import KINDS, as_row, decode, encode, sine

RATE = 8000
LOUD = make_model(
    "float[batch,4000] x => float[batch,2] p",
    """
    square = Mul(x, x)
    loud = ReduceMax<keepdims=1>(square, [1])
    quiet = Sub([1.0], loud)
    p = Concat<axis=1>(loud, quiet)
    """,
)
HALF = make_model("float[batch,n] x => float[batch,n] y", "y = Mul(x, 0.5)")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a classifier of windows, and a model that halves sounds of any length."""
    folder = tmp_path_factory.mktemp("sounds")
    store = Store(folder)
    facts: dict[str, dict[str, Any]] = {
        "loudness": {
            "content": LOUD,
            "task": "classify",
            "labels": ("loud", "quiet"),
            "classes": Classes(probabilities="p"),
            "sound": Sound(input="x", rate=RATE, window=4000, overlap=2000),
        },
        "half": {"content": HALF, "task": "reconstruct", "reconstruction": Reconstruction(output="y")},
    }
    facts["half"]["sound"] = Sound(input="x", rate=RATE, longest_s=20.0)
    for name, more in facts.items():
        content = more.pop("content")
        store.publish(
            make({"main": content}, **more).manifest.model_copy(update={"name": name}), {"main.onnx": content}
        )
    with Serving(settings_for(folder, max_sound_samples=200_000), FAST) as server, server.client() as client:
        yield client


def refuse(answer: httpx.Response, status: int) -> str:
    """The text of an error of this status."""
    assert answer.status_code == status, answer.text
    error: str = answer.json()["error"]
    return error


def test_what_is_no_sound_is_refused_with_its_reason(client: httpx.Client) -> None:
    """A text that says it is a WAV, a cut file, one that is too long, and an empty body."""
    audio = {"Content-Type": "audio/wav"}
    wanted = "body: expected a WAV, FLAC, OGG or MP3 sound, got"
    assert refuse(client.post("/classify", content=b"hello", headers=audio), 415) == f"{wanted} something else"
    assert refuse(client.post("/classify", content=b"", headers=audio), 415) == f"{wanted} nothing"
    cut = encode(sine(1.0))[:-1]
    assert refuse(client.post("/classify", content=cut), 415).startswith(f"{wanted} a damaged one (")
    long = encode(np.zeros(21 * RATE, np.float32), RATE, "flac")
    assert "at most 20 s, got 21.0 s" in refuse(client.post("/reconstruct", content=long), 413)
    assert "at most 200000 samples" in refuse(client.post("/classify", content=encode(sine(13.0), kind="flac")), 413)
    assert "inputs[0]" in refuse(client.post("/classify", json={"inputs": [{"sound": 1}]}), 400)


def test_picture_is_refused_by_a_model_of_sounds(client: httpx.Client) -> None:
    """It is no sound, and says so."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(50)
    assert refuse(client.post("/classify", content=png), 415).endswith("got something else")


def test_routes_without_sounds_refuse_to_answer_with_one(client: httpx.Client) -> None:
    """A WAV of labels cannot be made."""
    answer = client.post("/classify", content=encode(sine(0.1)), headers={"Accept": "audio/wav"})
    assert refuse(answer, 400) == "accept: audio/wav: /classify answers no sounds: ask for JSON"


@pytest.mark.parametrize("kind", KINDS)
def test_sound_is_a_body(client: httpx.Client, kind: str) -> None:
    """Of every kind, at another rate and without a content type; options are in the query."""
    content = encode(sine(1.0, 16_000, peak=0.9), 16_000, kind)
    answer = client.post("/classify?windows=true&top_k=2", content=content).raise_for_status().json()
    [found] = answer["predictions"]
    assert (found["label"], len(found["top"])) == ("loud", 2)
    assert [(one["begin_s"], one["end_s"]) for one in found["windows"]][:2] == [(0.0, 0.5), (0.25, 0.75)]
    assert found["windows"][-1]["end_s"] == pytest.approx(1.0, abs=0.03)


def test_sounds_are_files_of_a_form_and_values_of_json(client: httpx.Client) -> None:
    """In their order, and with numbers at the rate of the model among them."""
    loud, quiet = encode(sine(0.5, RATE, peak=0.95), RATE), encode(sine(0.5, RATE, peak=0.1), RATE, "mp3")
    form = client.post("/classify", files=[("a", ("a.wav", loud)), ("b", ("b.mp3", quiet))]).raise_for_status().json()
    assert [one["label"] for one in form["predictions"]] == ["loud", "quiet"]
    rows = [as_row(quiet), [0.9, -0.9], as_row(loud)]
    found = client.post("/classify", json={"inputs": rows}).raise_for_status().json()["predictions"]
    assert [one["label"] for one in found] == ["quiet", "loud", "loud"]


def test_answer_is_a_wav(client: httpx.Client) -> None:
    """As a body, which is what a player takes, and within JSON."""
    samples = sine(0.3, RATE)
    body = client.post(
        "/reconstruct", content=encode(samples, RATE), headers={"Accept": "audio/wav"}
    ).raise_for_status()
    assert body.headers["content-type"] == "audio/wav"
    given, rate = decode(body.content)
    assert rate == RATE
    np.testing.assert_allclose(given, samples / 2, atol=2**-14)
    asked = {"inputs": [as_row(encode(samples, RATE))], "output_format": "sound"}
    [found] = client.post("/reconstruct", json=asked).raise_for_status().json()["predictions"]
    assert soundfile.info(io.BytesIO(body.content)).subtype == "PCM_16"
    assert found["output"].keys() == {"sound"}
    assert found["error"] == pytest.approx(0.5 * 0.5 / 2**0.5, rel=0.01)


def test_kserve_takes_sounds_of_one_window(client: httpx.Client) -> None:
    """Longer ones have no answer by that protocol."""
    row = as_row(encode(sine(0.5, RATE), RATE))
    found = client.post("/v1/models/loudness:predict", json={"instances": [row]}).raise_for_status().json()
    assert len(found["predictions"]) == 1
    longer = {"instances": [as_row(encode(sine(0.6, RATE), RATE))]}
    assert "expected a sound of one window" in refuse(client.post("/v1/models/loudness:predict", json=longer), 400)
