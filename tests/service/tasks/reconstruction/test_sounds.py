"""reconstruct: sounds to sounds."""

import base64
import functools
from typing import Any

import numpy as np
import pytest

from model_store.tasks import Sound
from service.errors import InvalidInput, ModelFailure
from service.tasks.reconstruction import reconstruct
from tests.support import driving
from tests.support.driving import Driver, body_of, make
from tests.support.models.text import make_model
from tests.support.sounds.encoding import as_row, decode, encode, sine

RATE = 1000
HALF = make_model("float[batch,n] x => float[batch,n] y", "y = Mul(x, 0.5)")
WINDOW = make_model(
    "float[batch,100] x => float[batch,100] y, float[batch] error, float[batch] strange",
    "y = Mul(x, 0.5) error = ReduceMax<keepdims=0>(x, [1]) strange = ReduceMax<keepdims=0>(x, [1])",
)
CUT = make_model("float[batch,n] x => float[batch,m] y", "y = Slice(x, [0], [2], [1])")


def model(graph: bytes, facts: dict[str, Any] | None = None, **sound: Any) -> Driver:
    return make(
        {"main": graph},
        task="reconstruct",
        reconstruction={"output": "y", **(facts or {})},
        sound=Sound(input="x", rate=RATE, **sound),
    )


ANY, WINDOWS = model(HALF, multiple=10), model(WINDOW, window=100, overlap=50)
ask = functools.partial(driving.ask, reconstruct)


def predict(of: Driver, rows: Any, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body_of(ask(of, rows, **more))["predictions"]
    return found


@pytest.mark.parametrize(
    ("rows", "arguments", "complaint"),
    [
        ([[1]], {"output_format": "picture"}, "output_format: the rows of model 'm' are sounds, not pictures"),
        ([[1]], {"wants_picture": True}, "accept: image/png: the rows of model 'm' are sounds"),
        ([[1], [2]], {"wants_sound": True}, "accept: audio/wav is one sound, got 2 rows: ask for JSON"),
        ([[1]], {"wants_sound": True, "stream": True}, "accept: audio/wav is one sound, and a stream has events"),
        ([[1]], {"wants_sound": True, "error_map": True}, "error_map: expected an answer in JSON"),
        ([[1]], {"graph": "other"}, "graph: expected one of main, got 'other'"),
    ],
)
def test_what_cannot_be_answered_is_refused(rows: Any, arguments: Any, complaint: str) -> None:
    """Before anything runs."""
    ANY.inferred.clear()
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(ANY, rows, **arguments)
    assert ANY.inferred == []


@pytest.mark.parametrize("arguments", [{"output_format": "sound"}, {"wants_sound": True}])
def test_rows_that_are_no_sounds_do_not_become_sounds(arguments: Any) -> None:
    """The message says what to ask for."""
    numbers = make({"main": HALF}, task="reconstruct", reconstruction={"output": "y"})
    with pytest.raises(InvalidInput, match="the rows of model 'm' are not sounds: ask for numbers"):
        ask(numbers, [[1.0]], **arguments)


def test_output_of_another_length_is_a_failure_of_the_model() -> None:
    """It could be neither compared nor joined."""
    with pytest.raises(ModelFailure, match=r"gave 'y' of shape \[1, 2\] for sounds of \[1, 5\]"):
        predict(model(CUT), [[1] * 5])


def test_sound_of_any_length_runs_whole() -> None:
    """The padding is not in the answer; the error is over the sound."""
    [short, long] = predict(ANY, [[0.5] * 15, [0.5] * 1003], error_map=True)
    assert (short["output"], short["error"]) == ([0.25] * 15, pytest.approx(0.25))
    assert (len(long["output"]), long["error_map"][0]) == (1003, 0.25)
    assert ANY.inferred[-2:] == [("main", 1), ("main", 1)]


def test_long_sound_is_cut_and_joined() -> None:
    """A graph that treats each sample alike gives the same as for the whole."""
    samples = sine(0.33, RATE, 10)
    [found] = predict(WINDOWS, [samples.tolist()])
    np.testing.assert_allclose(found["output"], samples / 2, atol=1e-6)
    assert found["error"] == pytest.approx(float(np.sqrt(np.mean(np.square(samples / 2)))), rel=1e-5)


def test_answer_is_a_wav() -> None:
    """In JSON if asked for, and as the body with Accept: audio/wav, of 16 bits at the rate of the model."""
    samples = sine(0.25, RATE, 10)
    row = as_row(encode(samples, RATE, "float wav"))
    [found] = predict(WINDOWS, [row], output_format="sound")
    body = ask(WINDOWS, [row], wants_sound=True)
    assert body.media_type == "audio/wav"
    assert base64.b64decode(found["output"]["sound"]) == body.body
    given, rate = decode(body.body)
    assert rate == RATE
    np.testing.assert_allclose(given, samples / 2, atol=2**-15)


def test_error_and_score_of_windows_become_those_of_the_sound() -> None:
    """The mean error, and the largest score: one strange window is enough."""
    strange = {"error": "error", "anomaly": "strange", "threshold": 0.5}
    quiet, loud = predict(model(WINDOW, strange, window=100), [[0.25] * 200, [0.25] * 100 + [0.75] * 100])
    assert [(one["error"], one["score"], one["anomaly"]) for one in (quiet, loud)] == [
        (0.25, 0.25, False),
        (0.5, 0.75, True),
    ]
