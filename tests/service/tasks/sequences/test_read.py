"""Reading: pictures of lines to text."""

import functools
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from service.errors import InvalidInput, ModelFailure, UnsupportedMedia
from service.tasks.sequences import sequence
from tests.support import driving
from tests.support.driving import Driver, body_of, make
from tests.support.models.text import make_model
from tests.support.pictures.encoding import as_row, encode

IMAGE = {
    "input": "x",
    "channels": 1,
    "height": 4,
    "scale": 1 / 100,
    "multiple": 4,
    "resize": "fit",
    "padded": "end",
    "interpolation": "box",
}
SYMBOLS = ("", "a", "b")


def reader(**facts: Any) -> Driver:
    """A step for each column: dark is a blank, a level of 100 is a, 200 is b."""
    content = make_model(
        "float[batch,1,4,width] x => float[batch,width,3] y",
        """
        line = ReduceMean<keepdims=0>(x, axes)
        level = Unsqueeze(line, last)
        far = Sub(level, places)
        size = Abs(far)
        scaled = Mul(size, strength)
        y = Softmax(scaled)
        """,
        axes=np.array([1, 2]),
        last=np.array([2]),
        places=np.array([0, 1, 2], np.float32),
        strength=np.float32(-20),
    )
    reading = {"output": "y", "symbols": SYMBOLS, **facts.pop("reading", {})}
    return make({"main": content}, **{"task": "predict_sequence", "image": IMAGE, "reading": reading, **facts})


def line(levels: str, height: int = 4) -> dict[str, str]:
    """A picture with a column for each sign."""
    columns = np.array([{"-": 0, "a": 100, "b": 200}[sign] for sign in levels], np.uint8)
    return as_row(encode(Pillow.fromarray(np.repeat(columns[None], height, axis=0))))


ask = functools.partial(driving.ask, sequence)


def predict(model: Driver, *rows: Any, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body_of(ask(model, list(rows), **fields))["predictions"]
    return found


def test_line_is_read() -> None:
    """The text, and the mean probability of its symbols."""
    [found] = predict(reader(), line("-aab-b--"))
    assert found["text"] == "abb"
    assert 0.99 < found["probability"] <= 1


def test_lines_of_one_width_share_a_run() -> None:
    """Rows are grouped by width after padding, and come back in their order."""
    model = reader()
    rows = [line("aa-a"), line("-b-a-b-a"), line("b"), line("bbb-")]
    assert [found["text"] for found in predict(model, *rows)] == ["aa", "baba", "b", "b"]
    assert model.inferred == [("main", 3), ("main", 1)]


def test_other_lines_change_nothing() -> None:
    """Alone and among others a line has the same bits."""
    rows = [line("aa-a"), line("-b-a-b-a-b"), line("b")]
    assert predict(reader(), *rows) == [predict(reader(), row)[0] for row in rows]


def test_pieces_have_their_place_in_the_callers_picture() -> None:
    """In pixels of the picture as it was sent, here twice as high and wide as the model's."""
    [found] = predict(reader(), line("--aaaa--bb--", 8), pieces=True)
    assert [(piece["text"], piece["left"], piece["right"]) for piece in found["pieces"]] == [
        ("a", 2, 6),
        ("b", 8, 10),
    ]
    assert "pieces" not in predict(reader(), line("a"))[0]


def test_stream_has_an_event_for_each_row() -> None:
    """Then comes the whole answer."""
    events: list[Any] = []
    ask(reader(), [line("a"), line("bb-b")], stream=True, emit=events.append)
    assert events == [{"row": 0, "step": 0, "text": "a"}, {"row": 1, "step": 0, "text": "bb"}]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"beams": 2, "pieces": True}, "pieces: expected it with beams 1"),
        ({"horizon": 3}, "horizon: model 'm' reads; leave it out"),
    ],
)
def test_option_of_other_models_is_refused(fields: dict[str, Any], complaint: str) -> None:
    """It is an error, not ignored."""
    with pytest.raises(InvalidInput, match=complaint):
        ask(reader(), [line("a")], **fields)


def test_pieces_of_numbers_are_refused() -> None:
    """Without pictures and sounds there is no place to tell."""
    with pytest.raises(InvalidInput, match="neither pictures nor sounds"):
        ask(reader(image=None), [np.ones((1, 4, 2)).tolist()], pieces=True)


def test_row_that_is_no_picture_is_refused() -> None:
    """The text names the row."""
    with pytest.raises(InvalidInput, match=r"inputs\[1\]"):
        ask(reader(), [line("a"), "text"])
    with pytest.raises(UnsupportedMedia, match=r"inputs\[0\].image"):
        ask(reader(), [as_row(b"no picture")])


def test_scores_that_are_not_finite_fail() -> None:
    """They are a fault of the model, unless the row has NaN itself."""
    with pytest.raises(InvalidInput, match=r"inputs\[0\]: expected finite numbers"):
        ask(reader(image=None), [np.full((1, 4, 2), np.nan).tolist()])
    with pytest.raises(ModelFailure, match="not finite"):
        ask(reader(image=None), [np.full((1, 4, 2), 3e38).tolist()])


def listener(**reading: Any) -> Driver:
    """A step for each sample: below 0.25 it is a blank, to 0.75 a, above b. Windows of 8 samples share 4."""
    content = make_model(
        "float[batch,8] x => float[batch,8,3] y, int64[batch] n",
        """
        column = Unsqueeze(x, last) far = Sub(column, places) size = Abs(far) scaled = Mul(size, strength)
        y = Softmax(scaled) sums = ReduceMax<keepdims=0>(x, axes) none = Mul(sums, zero) whole = Add(none, seven)
        n = Cast<to=7>(whole)
        """,
        last=np.array([2]),
        axes=np.array([1]),
        places=np.array([0, 0.5, 1], np.float32),
        strength=np.float32(-40),
        zero=np.float32(0),
        seven=np.float32(7),
    )
    sound = {"input": "x", "rate": 1000, "window": 8, "overlap": 4}
    facts = {"output": "y", "symbols": SYMBOLS, **reading}
    return make({"main": content}, task="predict_sequence", sound=sound, reading=facts)


LEVELS = {"-": 0.0, "a": 0.5, "b": 1.0}


def test_windows_of_a_long_sound_are_joined() -> None:
    """Samples that two windows share are read once; sounds of one request do not mix, and each has one answer."""
    paths = ["-a-b-aa-bb-b-a-", "", "b", "aaaaaaaaaaaaaaaa", "ab-ab-ab-ab-"]
    rows = [[LEVELS[sign] for sign in path] for path in paths if path]
    found = predict(listener(), *rows)
    assert [each["text"] for each in found] == ["ababba", "b", "a", "abababab"]
    assert all(each["probability"] > 0.99 for each in found)


def test_pieces_of_a_sound_have_their_seconds() -> None:
    """From the beginning of the sound, also in later windows."""
    [found] = predict(listener(), [LEVELS[sign] for sign in "-aa-------bb-"], pieces=True)
    assert [(each["text"], each["start"], each["end"]) for each in found["pieces"]] == [
        ("a", 0.001, 0.003),
        ("b", 0.01, 0.012),
    ]


def test_steps_beyond_a_length_are_not_read() -> None:
    """The model says how many of its steps count: here seven of eight."""
    assert predict(listener(length="n"), [LEVELS[sign] for sign in "-a-----b"])[0]["text"] == "a"


def test_search_gives_the_most_probable_text() -> None:
    """Here the same as the best symbols give; its probability is that of the whole text, over all ways to read it."""
    rows = [line("aab-b-"), line("a")]
    found = predict(reader(), *rows, beams=4)
    assert [each["text"] for each in found] == ["abb", "a"]
    assert all(0.9 < each["probability"] <= 1 for each in found)
    assert predict(listener(), [LEVELS[sign] for sign in "-a-b-aa-bb-b-a-"], beams=2)[0]["text"] == "ababba"


def test_search_over_too_many_steps_is_refused() -> None:
    """It would take long; the best symbols of each step are still given."""
    rows = [line("-" * 4096)] * 3
    with pytest.raises(InvalidInput, match="beams: expected at most 10000 steps of rows together, got 12288"):
        ask(reader(), rows, beams=2)
    assert predict(reader(), rows[0])[0]["text"] == ""
