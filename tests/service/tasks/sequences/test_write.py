"""Rows to texts that real tiny models write: copies of a text, and prompts that go on."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.tasks import Carry, Loop, Writing
from service.engine.loop.request import LoopResult, Sentence
from service.errors import InvalidInput, ModelFailure
from service.tasks.sequences import sequence
from service.tasks.work import Iterate
from tests.support import driving
from tests.support.driving import Driver
from tests.support.models.sequences import LIMITS as SERIES
from tests.support.models.sequences import monthly_forecaster, translator
from tests.support.models.text import make_model
from tests.support.writers.models import LIMITS, SCORE, SYMBOLS, copier, counter

COPIER, COUNTER, PREFIX = copier(), counter(), counter(with_prefix=True)
RIGHT = SCORE - math.log(math.exp(SCORE) + SYMBOLS - 1)
"""The logarithm of the probability of each right token."""


def ask(rows: Any, model: Driver = COPIER, **more: Any) -> list[dict[str, Any]]:
    predictions: list[dict[str, Any]] = driving.ask(sequence, model, rows, **{"limits": LIMITS, **more}).body[
        "predictions"
    ]
    return predictions


def write(text: str, model: Driver = COPIER, **more: Any) -> str:
    return str(ask([text], model, **more)[0]["text"])


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"temperature": -1}, "temperature: expected greater than or equal to 0 (got -1)"),
        ({"top_k": 0}, "top_k: expected greater than or equal to 1 (got 0)"),
        ({"top_p": 0}, "top_p: expected greater than 0 (got 0)"),
        ({"top_k": 3}, "top_k: expected a temperature above 0 beside it, for nothing is drawn without one"),
        ({"seed": 3}, "seed: expected a temperature above 0 beside it, for nothing is drawn without one"),
        ({"stop": "a"}, "stop: expected a valid list (got 'a')"),
        ({"stop": [""]}, "stop.0: expected at least 1 character (got '')"),
        ({"stop": ["a"] * 17}, "stop: expected at most 16 items, got 17"),
        ({"max_tokens": 0}, "max_tokens: expected greater than or equal to 1 (got 0)"),
        ({"max_tokens": 41}, "max_tokens: expected 1 to 40 for model 'm', got 41"),
        ({"beams": 9}, "beams: expected less than or equal to 8 (got 9)"),
        (
            {"beams": 2, "stream": True},
            "stream: expected it with beams 1, for more may change what was sent, got beams 2",
        ),
        (
            {"beams": 2, "temperature": 0.5},
            "temperature: expected it with beams 1, for a search for the likeliest text draws nothing, got beams 2",
        ),
        (
            {"beams": 2, "stop": ["a"]},
            "stop: expected it with beams 1, for several texts grow at the same time, got beams 2",
        ),
        ({"beams": 2, "length_penalty": -1}, "length_penalty: expected greater than or equal to 0 (got -1)"),
        (
            {"length_penalty": 1},
            "length_penalty: expected beams above 1 beside it, for one text has no others",
        ),
        ({"horizon": 3}, "horizon: model 'm' writes texts; leave it out"),
    ],
)
def test_faulty_options_are_refused(fields: dict[str, Any], complaint: str) -> None:
    """An option that is impossible, or does not fit another one, is named before anything runs."""
    COPIER.runs.clear()
    with pytest.raises(InvalidInput) as caught:
        ask(["ab"], **fields)
    assert str(caught.value) == complaint
    assert not COPIER.runs


@pytest.mark.parametrize(
    ("model", "row", "complaint"),
    [
        (COPIER, 5, "inputs[1]: expected a text, got a number"),
        (COPIER, "", "inputs[1]: expected a text, got an empty one"),
        (COPIER, "a" * 33, "inputs[1]: expected at most 32 tokens, got 33: send a shorter text"),
        (COUNTER, None, "inputs[1]: expected a text, got null"),
        (COUNTER, "a" * 12, "inputs[1]: expected a prompt of at most 12 tokens, got 13"),
    ],
)
def test_faulty_text_is_named(model: Driver, row: Any, complaint: str) -> None:
    """The message names the row at fault, what was expected and what came; nothing runs."""
    model.runs.clear()
    with pytest.raises(InvalidInput) as caught:
        ask(["ab", row], model)
    assert str(caught.value) == complaint
    assert not model.runs


def test_options_of_texts_are_refused_by_other_models() -> None:
    """A forecaster takes none of them, and a model of characters only beams."""
    for model, row, reason in (
        (monthly_forecaster(), [1.0, 2.0], "forecasts series; leave it out"),
        (translator(), "a", "writes the likeliest characters; leave it out"),
    ):
        with pytest.raises(InvalidInput, match=f"temperature: model 'm' {reason}"):
            ask([row], model, limits=SERIES, temperature=0.5)


def test_too_many_tokens_after_a_prompt_are_refused() -> None:
    """The message says how many have room after it."""
    with pytest.raises(InvalidInput) as caught:
        ask(["a", "abcd"], COUNTER, max_tokens=9)
    expected = "max_tokens: expected 1 to 8 for model 'm' after the 5 tokens that inputs[1] begins with, got 9"
    assert str(caught.value) == expected


@pytest.mark.parametrize("log_probability", [math.nan, -math.inf])
def test_scores_that_are_not_finite_are_a_failure_of_the_model(log_probability: float) -> None:
    """NaN, or no token that may be chosen, is answered as a failure."""
    task = driving.begin(sequence, COPIER, ["a"], limits=LIMITS)
    wish = task.send(None)
    while not isinstance(wish, Iterate):
        wish = task.send(COPIER.infer(wish.graph, wish.inputs))
    with pytest.raises(ModelFailure, match="model 'm' gave scores that are not finite"):
        task.send(LoopResult({}, {}, [Sentence([2], log_probability)], 0.0, 0.0))


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.text(min_size=1, max_size=7).filter(str.strip), min_size=1, max_size=6))
def test_texts_of_any_lengths_keep_their_order(rows: list[str]) -> None:
    """Each text is copied, with the joint probability of its tokens and its end; texts of one length run together."""
    for row, prediction in zip(rows, ask(rows), strict=True):
        count = len(row.encode())
        assert prediction == {
            "text": row,
            "probability": pytest.approx(math.exp(RIGHT * (count + 1))),
            "log_probability": pytest.approx(RIGHT * (count + 1), abs=1e-4),
            "tokens": count,
            "complete": True,
        }


def test_text_ends_at_the_limit() -> None:
    """It is then said to be incomplete, whether the caller or the model sets the limit."""
    short, exact = ask(["abcdef", "ab"], max_tokens=2)
    assert (short["text"], short["tokens"], short["complete"]) == ("ab", 2, False)
    assert (exact["text"], exact["complete"]) == ("ab", False)
    assert write("abcdef", copier(max_steps=3)) == "abc"
    assert write("abcdef", limits=replace(LIMITS, max_steps=1)) == "a"


@pytest.mark.parametrize(("stop", "text"), [(["d"], "abc"), (["de", "c"], "ab"), (["x"], "abcdef"), (["ab"], "")])
def test_text_ends_before_a_stop(stop: list[str], text: str) -> None:
    """The first stop that is written ends the row; it is not part of the text, and the text counts as complete."""
    [prediction] = ask(["abcdef"], stop=stop)
    assert (prediction["text"], prediction["complete"]) == (text, True)


def test_stream_sends_whole_characters() -> None:
    """An event each time that the text has grown, with the text so far; bytes of half a character are held back."""
    events: list[Any] = []
    ask(["aä€", "b😀"], emit=events.append)
    told = sorted(tuple(event.values()) for event in events)
    assert told == [(0, 0, "a"), (0, 2, "aä"), (0, 5, "aä€"), (1, 0, "b"), (1, 4, "b😀")]


def test_stream_holds_back_what_may_become_a_stop() -> None:
    """No event has a part of the stop that ends the text; what does not become one is sent later."""
    events: list[Any] = []
    assert write("a#b##c", stop=["##"], emit=events.append) == "a#b"
    assert [event["text"] for event in events] == ["a", "a#b"]


def test_bytes_that_are_no_text_do_not_hold_back_the_stream() -> None:
    """After four of them something is sent."""
    model = counter(with_prefix=True)
    events: list[Any] = []
    ask(["\x7f"], model, emit=events.append, max_tokens=8)  # goes on with bytes 128, 129, ...
    assert len(events) == 2


@pytest.mark.parametrize("model", [COUNTER, PREFIX], ids=["token", "prefix"])
def test_prompts_go_on(model: Driver) -> None:
    """A model without a start graph goes on from its prompt, which is not part of the text."""
    one, other = ask(["a", "0123"], model, max_tokens=5)
    assert (one["text"], one["tokens"], one["complete"]) == ("bcdef", 5, False)
    assert (other["text"], other["log_probability"]) == ("45678", pytest.approx(5 * RIGHT, abs=1e-4))
    assert write("a", model, stop=["ef"]) == "bcd"
    assert len(write("0123", model)) == (8 if model is COUNTER else 12)


def test_draws_repeat_with_their_seed() -> None:
    """The same seed gives the same text, another seed another one."""
    hot = {"temperature": 4.0, "max_tokens": 6}
    first = ask(["abcdef"], seed=1, **hot)
    assert first == ask(["abcdef"], seed=1, **hot) != ask(["abcdef"], seed=2, **hot)
    assert ask(["abcdef", "abcdef"], seed=1, **hot) == first * 2
    assert write("abcdef", top_k=1, **hot) == "abcdef"


def test_rows_are_what_the_start_graph_takes() -> None:
    """Without tokens a row is numbers of its shape; an input of the start graph may be passed on, symbols be words."""
    start = make_model("float[batch,2] x => float[batch,2] twice", "twice = Mul(x, 2.0)")
    step = make_model(
        "int64[batch] token, float[batch,2] twice, float[batch,2] x => float[batch,3] scores",
        "both = Concat<axis=1>(twice, x) scores = Gather<axis=1>(both, [0,1,2])",
    )
    model = Driver(
        driving.describe(
            {"main": step, "read": start},
            task="predict_sequence",
            loop=Loop(
                start="read", max_steps=2, carries=(Carry(input="twice", start="twice"), Carry(input="x", start="x"))
            ),
            writing=Writing(
                file=None,
                symbols=("the", "a", "b"),
                separator=" ",
                token="token",
                scores="scores",
                begin=(0,),
                ends=(0,),
            ),
        ),
        {"main": step, "read": start},
    )
    assert [row["text"] for row in ask([[1.0, 2.0], [3.0, 0.0], [-2.0, -3.0]], model)] == ["a a", "", "b b"]
    assert np.isclose(ask([[1.0, 2.0]], model)[0]["log_probability"], 2 * (4 - math.log(sum(map(math.exp, (2, 4, 1))))))


def test_many_short_prompts_are_read_and_written_in_a_thread() -> None:
    """What each prompt takes adds up: neither tokens nor texts of many rows hold up the event loop."""
    model = counter()
    ask(["a"] * 2, model, max_tokens=1)
    assert model.threads_asked == 0
    ask(["a"] * 1500, model, max_tokens=1)
    assert model.threads_asked == 2


def test_prompt_of_far_too_many_characters_is_not_tokenised() -> None:
    """A prompt that no tokens could hold is refused at once."""
    with pytest.raises(InvalidInput, match=r"inputs\[1\]: expected at most 768 characters, got 5000: send a shorter"):
        ask(["a", "a" * 5000], counter())
    with pytest.raises(InvalidInput, match=r"inputs\[0\]: expected at most 1048576 characters, got 1100000"):
        ask(["a" * 1_100_000], PREFIX)
