"""Text to text on a real tiny model, which writes a, b, c as x, yy, z."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.loop.request import LoopResult, Sentence
from service.errors import InvalidInput, ModelFailure
from service.tasks.sequences import sequence
from service.tasks.work import Iterate, Limits
from tests.support import driving
from tests.support.models.sequences import LIMITS, SCORE, Model, translator

RIGHT = math.exp(SCORE) / (math.exp(SCORE) + 4)
"""The probability of each right symbol."""
MODEL = translator()
KNOWN = "expected characters that model 'm' knows ('abc')"


def ask(rows: Any, *, model: Model = MODEL, limits: Limits = LIMITS, **more: Any) -> list[dict[str, Any]]:
    predictions: list[dict[str, Any]] = driving.ask(sequence, model, rows, limits=limits, **more).body["predictions"]
    return predictions


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("", "inputs[1]: expected 1 to 8 characters, got an empty text"),
        ("a" * 9, "inputs[1]: expected 1 to 8 characters, got 9"),
        ("abДc", f"inputs[1]: {KNOWN}, got 'Д' (U+0414 CYRILLIC CAPITAL LETTER DE) at position 2"),
        ("a\x00", f"inputs[1]: {KNOWN}, got '\\x00' (U+0000 without a name) at position 1"),
        ("日本", f"inputs[1]: {KNOWN}, got '日' (U+65E5 CJK UNIFIED IDEOGRAPH-65E5) at position 0"),
        (5, "inputs[1]: expected a text, got a number"),
        (None, "inputs[1]: expected a text, got null"),
        (["a"], "inputs[1]: expected a text, got an array"),
        ({"text": "a"}, "inputs[1]: expected a text, got an object"),
    ],
)
def test_faulty_text_is_named(row: Any, complaint: str) -> None:
    """The text names the row at fault and, of an unknown character, its name and position; nothing runs."""
    MODEL.runs.clear()
    with pytest.raises(InvalidInput) as caught:
        ask(["abc", row])
    assert str(caught.value) == complaint
    assert not MODEL.runs


def test_probability_that_is_no_number_is_a_failure_of_the_model() -> None:
    """NaN from the loop is answered as a failure."""
    task = driving.begin(sequence, MODEL, ["a"], limits=LIMITS)
    wish = task.send(None)
    while not isinstance(wish, Iterate):
        wish = task.send(MODEL.infer(wish.graph, wish.inputs))
    with pytest.raises(ModelFailure, match="model 'm' gave probabilities that are not numbers"):
        task.send(LoopResult({}, {}, [Sentence([2], math.nan)], 0.0, 0.0))


def test_text_that_does_not_end_is_said_to_be_incomplete() -> None:
    """If the steps run out before the end, the answer has the text so far and says that it is not complete."""
    model = translator(max_steps=3)
    short, exact = ask(["ab", "abc"], model=model)
    assert (short["text"], "complete" in short) == ("xyy", False)
    assert (exact["text"], exact["complete"]) == ("xyyz", False)
    (cut,) = ask(["abc"], limits=replace(LIMITS, max_steps=1))
    assert (cut["text"], cut["complete"]) == ("x", False)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.text("abc", min_size=1, max_size=7), min_size=1, max_size=6))
def test_texts_of_any_lengths_keep_their_order(rows: list[str]) -> None:
    """Each text is translated as it is alone, with the joint probability of its symbols and its end."""
    for row, prediction in zip(rows, ask(rows), strict=True):
        expected = row.replace("b", "yy").replace("a", "x").replace("c", "z")
        assert prediction == {"text": expected, "probability": pytest.approx(RIGHT ** (len(row) + 1), rel=1e-4)}


@pytest.mark.parametrize(("beams", "width"), [({}, 1), ({"beams": 1}, 1), ({"beams": 8}, 8)])
def test_texts_are_padded_and_beams_are_the_width_of_the_search(beams: dict[str, int], width: int) -> None:
    """Texts of one padded length run together, with so many hypotheses, from the begin to the end of the manifest."""
    model = translator()
    ask(["a", "abc", "bb", "abca"], model=model, **beams)
    assert [run for run in model.runs if run[0] == "read"] == [("read", 2), ("read", 2)]
    assert [request.begin["memory"].shape for request in model.requests] == [(2, 3), (2, 5)]
    decoding = model.requests[0].decoding
    assert (decoding.width, decoding.begin, decoding.ends) == (width, 0, (1,))


def test_stream_sends_the_text_as_it_grows() -> None:
    """An event a symbol with the text so far, by the position in the request; the end is not one."""
    events: list[Any] = []
    ask(["abc", "b"], emit=events.append)
    told = sorted(tuple(event.values()) for event in events)
    assert told == [(0, 0, "x"), (0, 1, "xyy"), (0, 2, "xyyz"), (1, 0, "yy")]
