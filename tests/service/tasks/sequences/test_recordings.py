"""Sounds to texts, window by window, by a real tiny model whose samples are letters."""

import math
from typing import Any

import pytest

from model_store.tasks import Carry, Loop, Sound, Writing
from service.errors import InvalidInput
from service.tasks.sequences import sequence
from service.tasks.sequences.recordings import _join_words
from tests.support import driving
from tests.support.models.text import make_model
from tests.support.writers.models import BEGIN, END, FIRST, LIMITS, Writer, copier

RATE = 2
WINDOW = 6
HEAR = make_model(
    f"float[batch,{WINDOW}] sound => int64[batch,{WINDOW + 1}] memory",
    f"""
    levels = Mul(sound, 128.0) whole = Round(levels) bytes = Cast<to=7>(whole) is_end = Equal(bytes, 0)
    tokens = Add(bytes, {FIRST}) heard = Where(is_end, {END}, tokens) first = Gather<axis=1>(bytes, [0])
    none = Mul(first, 0) end = Add(none, {END}) memory = Concat<axis=1>(heard, end)
    """,
)


def listener(overlap: int = 0) -> Writer:
    """Writes the letters of a sound, whose samples are bytes divided by 128."""
    return Writer(
        {"main": copier().graphs["main"], "hear": HEAR},
        loop=Loop(start="hear", carries=(Carry(input="memory", start="memory"),), max_steps=40),
        sound=Sound(input="sound", graph="hear", rate=RATE, window=WINDOW, overlap=overlap),
        writing=Writing(token="token", position="position", scores="scores", begin=(BEGIN,), ends=(END,)),
    )


def say(text: str) -> list[float]:
    return [byte / 128 for byte in text.encode()]


def ask(*texts: str, model: Writer, **fields: Any) -> list[dict[str, Any]]:
    rows = [say(text) for text in texts]
    predictions: list[dict[str, Any]] = driving.ask(sequence, model, rows, limits=LIMITS, **fields).body["predictions"]
    return predictions


def test_windows_of_rows_that_are_no_sounds_are_refused() -> None:
    """Only sounds have windows."""
    with pytest.raises(InvalidInput, match="windows: model 'm' takes no sounds"):
        driving.ask(sequence, copier(), ["a"], limits=LIMITS, windows=True)


def test_text_of_a_sound_is_that_of_its_windows() -> None:
    """A long sound is written window by window, beside short ones, and each sound has one answer."""
    first, second = ask("ab cd ef ghi", "xyz", model=listener())
    assert (first["text"], second["text"]) == ("ab cd ef ghi", "xyz")
    assert (first["tokens"], second["tokens"]) == (12, 3)
    assert first["complete"]
    assert first["probability"] == pytest.approx(math.exp(first["log_probability"]))
    assert first["log_probability"] < second["log_probability"]
    assert "windows" not in first


def test_windows_come_with_their_times() -> None:
    """If they are asked for, each window has its text and its seconds."""
    (prediction,) = ask("ab cd ef ghi", model=listener(), windows=True)
    shown = [(part["begin_s"], part["end_s"], part["text"], part["tokens"]) for part in prediction["windows"]]
    assert shown == [(0.0, 3.0, "ab cd", 6), (3.0, 6.0, "ef ghi", 6)]


def test_windows_that_overlap_say_no_word_twice() -> None:
    """What two windows share is written once."""
    for overlap in (0, 3):  # the last window is moved back until it is full
        (prediction,) = ask("ab cd efg", model=listener(overlap), windows=True)
        assert [part["text"] for part in prediction["windows"]] == ["ab cd", "cd efg"]
        assert prediction["text"] == "ab cd efg"


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        ("so it was the best of ti", "the best of times it was", "so it was the best of times it was"),
        ("we went Home.", "home again", "we went Home. again"),
        ("one two", "three four", "one two three four"),
    ],
)
def test_words_are_joined_behind_the_longest_run_that_both_have(before: str, after: str, joined: str) -> None:
    """The word that the first window cuts off is taken from the second; without a common word nothing is left out."""
    assert " ".join(_join_words(before.split(), after.split(), 4)) == joined


def test_events_say_which_window_grows() -> None:
    """A stream has the text of each window while it grows."""
    events: list[dict[str, Any]] = []
    ask("ab cd ef ghi", model=listener(), emit=events.append, stream=True)
    last = {(event["row"], event["window"]): event["text"] for event in events}
    assert last == {(0, 0): "ab cd ", (0, 1): "ef ghi"}


def test_rows_that_carry_much_run_one_part_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a request does not grow with the length of a sound."""
    monkeypatch.setattr("service.tasks.sequences.write._CARRIED_BYTES", 2 * 8)  # two rows of a free axis of INT64
    model = listener()
    (prediction,) = ask("ab cd ef gh ij klm", model=model)
    assert prediction["text"] == "ab cd ef gh ij klm"
    assert [rows for graph, rows in model.inferred if graph == "hear"] == [2, 1]
