"""CTC: scores over time to text."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.tasks import Reading, Sound
from service.codecs.ctc import CtcText, JoinedText
from service.codecs.sound_stream import SoundStream

SYMBOLS = ("", "a", "b", " ")


def score(path: str, most: float = 0.9) -> np.ndarray:
    """Probabilities [steps, symbols] with the best symbol of each step; "-" is the blank."""
    places = ["-ab ".index(sign) for sign in path]
    rows = np.full((len(places), len(SYMBOLS)), (1 - most) / (len(SYMBOLS) - 1), np.float32)
    rows[np.arange(len(places)), places] = most
    return rows


def read(*parts: np.ndarray, **facts: Any) -> CtcText:
    text = CtcText(Reading(output="y", symbols=SYMBOLS, **facts), SYMBOLS)
    for part in parts:
        text.add(part)
    return text


@pytest.mark.parametrize(
    ("path", "text"),
    [("", ""), ("---", ""), ("aab", "ab"), ("a-a", "aa"), ("-aa-ab-", "aab"), ("b bb", "b b"), ("bbbb", "b")],
)
def test_equal_steps_are_one_symbol_and_blanks_are_none(path: str, text: str) -> None:
    """A blank stands between two equal symbols."""
    assert read(score(path)).text == text


@given(path=st.text("-ab ", max_size=12), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_parts_read_as_the_whole(path: str, cuts: list[int]) -> None:
    """Wherever the scores are cut, text, probability and the steps of each piece stay the same."""
    places = [0, *sorted(min(cut, len(path)) for cut in cuts), len(path)]
    scores = score(path)
    whole = read(scores)
    parts = read(*(scores[begin:end] for begin, end in itertools.pairwise(places)))
    assert (parts.pieces, parts.steps, parts.probability) == (whole.pieces, len(path), whole.probability)


def test_piece_has_its_steps() -> None:
    """From the first step that has the symbol to the one after the last."""
    assert [(piece.text, piece.begin, piece.end) for piece in read(score("-aab-b")).pieces] == [
        ("a", 1, 3),
        ("b", 3, 4),
        ("b", 5, 6),
    ]


def test_probability_is_the_mean_of_first_steps() -> None:
    """Further steps of a symbol and blanks do not count; an empty text has 0."""
    scores = np.concatenate([score("a", 0.5), score("a", 0.9), score("-", 0.3), score("b", 0.7)])
    assert read(scores).probability == pytest.approx(0.6)
    assert read(score("--")).probability == 0


@pytest.mark.parametrize("kind", ["logits", "log_probabilities"])
def test_logits_and_logarithms_become_probabilities(kind: str) -> None:
    """The probability is the same as that of the probabilities themselves; logits may be shifted, and large."""
    probabilities = score("ab-a", 0.6)
    scores = np.log(probabilities) + (500 if kind == "logits" else 0)
    assert read(scores, scores=kind).probability == pytest.approx(0.6, abs=1e-4)


def test_blank_may_be_the_last_symbol() -> None:
    """As in models of speech."""
    assert read(score("aa- a"), blank=3).text == "aa"


@given(path=st.text("-ab ", max_size=40), window=st.integers(1, 9), overlap=st.integers(0, 8))
def test_windows_that_overlap_read_as_the_whole(path: str, window: int, overlap: int) -> None:
    """With a step for each sample, each is read once: text, probability, and the places of pieces are the same."""
    overlap = min(overlap, window - 1)
    stream = SoundStream(Sound(input="x", rate=8000, window=window, overlap=overlap), None, "float32", False)
    stream.add(np.arange(len(path), dtype="<f4").tobytes())
    scores = np.concatenate([score(path), score("-" * window)])
    text = read()
    joined = JoinedText(len(SYMBOLS), overlap, text)
    for row in [*iter(stream.take, None), *iter(stream.finish, None)]:
        joined.add(scores[row.begin : row.begin + window], row.begin, row.end, 1.0)
    joined.finish()
    whole = read(score(path))
    assert (joined.text, text.pieces) == (whole.text, whole.pieces)
    assert joined.probability == whole.probability
