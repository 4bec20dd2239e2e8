"""Tasks on sounds: the answers of their windows become one."""

import base64
from typing import Any

import numpy as np
import pytest

from model_store.tasks import Sound
from service.errors import InvalidInput
from service.tasks import classify, embed, regress
from tests.support.driving import Driver, ask, body_of, make
from tests.support.models.text import make_model
from tests.support.sounds.encoding import as_row, encode

RATE = 10
SOUND = Sound(input="x", rate=RATE, window=4, overlap=2)
LEVELS = make_model(
    "float[batch,4] x => float[batch,2] p, float[batch,1] total",
    """
    total = ReduceSum<keepdims=1>(x, [1])
    other = Sub([1.0], total)
    p = Concat<axis=1>(total, other)
""",
)
VECTOR = make_model("float[batch,4] x => float[batch,2] y", "y = Slice(x, [0], [2], [1])")
CLASSIFIER = make(
    {"main": LEVELS},
    task="classify",
    labels=("loud", "quiet"),
    classes={"probabilities": "p", "score": "total"},
    sound=SOUND,
)
EMBEDDER = make({"main": VECTOR}, task="embed", embedding={"output": "y"}, sound=SOUND)
REGRESSOR = make({"main": LEVELS}, task="regress", regression={"output": "total"}, sound=SOUND)
LONG = [0.1, 0.1, 0.1, 0.1, 0.2, 0.2]
"""Two windows: they sum to 0.4 and to 0.6."""


def predict(task: Any, model: Driver, rows: Any, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body_of(ask(task, model, rows, **fields))["predictions"]
    return found


def test_windows_of_rows_that_are_no_sounds_are_refused() -> None:
    """The message says why."""
    for task, model in (
        (classify, make({"main": LEVELS}, task="classify", labels=("a", "b"), classes={"probabilities": "p"})),
        (embed, make({"main": VECTOR}, task="embed", embedding={"output": "y"})),
    ):
        with pytest.raises(InvalidInput, match="windows: model 'm' takes no sounds"):
            predict(task, model, [[1, 2, 3, 4]], windows=True)


def test_probabilities_of_a_sound_are_the_mean_of_its_windows() -> None:
    """So is the score. A sound of one window has its own bits, whatever comes with it."""
    long, short = predict(classify, CLASSIFIER, [LONG, [0.3]], top_k=2)
    assert (long["label"], long["probability"]) == ("loud", pytest.approx(0.5))
    assert long["score"] == pytest.approx(0.5)
    assert [short] == predict(classify, CLASSIFIER, [[0.3]], top_k=2)
    assert (short["label"], short["probability"]) == ("quiet", pytest.approx(0.7))
    assert CLASSIFIER.inferred == [("main", 3), ("main", 1)]


def test_long_sound_fills_no_queue() -> None:
    """Its windows run 256 at a time, and the answer is the same as of all at once."""
    CLASSIFIER.inferred.clear()
    [found] = predict(classify, CLASSIFIER, [[0.1] * 1204], windows=True)
    assert CLASSIFIER.inferred == [("main", 256), ("main", 256), ("main", 89)]
    assert len(found["windows"]) == 601
    assert found["probability"] == pytest.approx(0.6)


def test_windows_have_their_times_and_labels() -> None:
    """In seconds; the last one ends where the sound ends."""
    [found] = predict(classify, CLASSIFIER, [[*LONG, 0.1]], windows=True)
    assert [(one["begin_s"], one["end_s"], one["label"]) for one in found["windows"]] == [
        (0.0, 0.4, "quiet"),
        (0.2, 0.6, "loud"),
        (0.3, 0.7, "loud"),
    ]
    assert found["windows"][0]["probability"] == pytest.approx(0.6)
    [short] = predict(classify, CLASSIFIER, [[0.3]], windows=True)
    assert [(one["begin_s"], one["end_s"]) for one in short["windows"]] == [(0.0, 0.1)]


def test_explanation_is_that_of_one_window() -> None:
    """A sound of several has none, and says so."""
    [found] = predict(classify, CLASSIFIER, [[0.3, 0.1, 0.1, 0.0]], explain=True)
    assert len(found["explanation"]["values"]) == 4
    with pytest.raises(InvalidInput, match=r"expected a sound of one window, 0.4 s, got one of 2 windows"):
        predict(classify, CLASSIFIER, [LONG], explain=True)


def test_vector_of_a_sound_is_the_mean_of_its_windows() -> None:
    """It is normalised afterwards."""
    [found] = predict(embed, EMBEDDER, [[3.0, 0, 0, 4.0, 0, 0]])
    assert found["embedding"] == pytest.approx([0.6, 0.8])
    [found] = predict(embed, EMBEDDER, [[3.0, 0, 0, 4.0, 0, 0]], windows=True, encoding="base64")
    assert [(one["begin_s"], one["end_s"]) for one in found["windows"]] == [(0.0, 0.4), (0.2, 0.6)]
    vectors = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4").tolist() for one in found["windows"]]
    assert vectors == [[1, 0], [0, 1]]


def test_sounds_are_compared() -> None:
    """As rows and as vectors, each with its own windows; the windows that are asked for are those of the rows."""
    rows, others = [[1.0, 0, 0, 0], [0, 2.0, 0, 1.0, 0, 0.1]], [as_row(encode(np.ones(8, np.float32) / 2, RATE))]
    found = predict(embed, EMBEDDER, rows, compare=[*others, {"embedding": [1.0, 0.0]}], windows=True)
    assert [one["similarity"] for one in found[0]["comparisons"]] == pytest.approx([0.5**0.5, 1])
    assert [one["similarity"] for one in found[1]["comparisons"]] == pytest.approx([0.5**0.5, 0])
    assert [len(one["windows"]) for one in found] == [1, 2]


def test_number_of_a_sound_is_the_mean_of_its_windows() -> None:
    """In the order of the rows."""
    found = predict(regress, REGRESSOR, [[0.5], LONG, [0.25]])
    assert [one["value"] for one in found] == pytest.approx([0.5, 0.5, 0.25])
