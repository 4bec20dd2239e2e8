"""CTC by a search over prefixes, against all ways to read the scores."""

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.tasks import Reading
from service.codecs.ctc import CtcText, JoinedText
from service.codecs.ctc_beams import CtcBeams

SYMBOLS = ("", "a", "b", "c")


def search(given: np.ndarray, width: int, cuts: int = 1, **facts: Any) -> CtcBeams:
    beams = CtcBeams(Reading(output="y", symbols=SYMBOLS, **facts), SYMBOLS, width)
    for part in np.array_split(given, cuts):
        beams.add(part)
    return beams


def read_all_ways(scores: np.ndarray) -> dict[str, float]:
    """The probability of each text: the sum over all paths that collapse to it."""
    found: dict[str, float] = defaultdict(float)
    for path in itertools.product(range(len(SYMBOLS)), repeat=len(scores)):
        text = "".join(SYMBOLS[symbol] for symbol, _ in itertools.groupby(path))
        found[text] += float(np.prod([scores[step, symbol] for step, symbol in enumerate(path)]))
    return found


def draw(seed: int, steps: int, sharpness: float) -> np.ndarray:
    logits = sharpness * np.random.default_rng(seed).standard_normal((steps, len(SYMBOLS)))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), steps=st.integers(0, 6), sharpness=st.sampled_from([0.3, 1.0, 3.0]))
def test_wide_search_finds_the_most_probable_text(seed: int, steps: int, sharpness: float) -> None:
    """Where no prefix is dropped, the text and its probability are those of all ways to read together."""
    scores = draw(seed, steps, sharpness)
    ways = read_all_ways(scores)
    found = search(scores, 10_000)
    assert found.probability == pytest.approx(max(ways.values()))
    assert ways[found.text] == pytest.approx(max(ways.values()))


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 6), width=st.integers(1, 8))
def test_narrow_search_claims_no_more_than_there_is(seed: int, steps: int, width: int) -> None:
    """The probability is at most that of the text, and parts of the scores give the same as the whole."""
    scores = draw(seed, steps, 1.0)
    found = search(scores, width)
    assert found.probability <= read_all_ways(scores)[found.text] + 1e-12
    parts = search(scores, width, cuts=3)
    assert (parts.text, parts.probability) == (found.text, found.probability)


def test_sum_of_ways_beats_the_best_path() -> None:
    """Two steps of blank 0.6 and a 0.4: the best path is empty with 0.36, but a has 0.64."""
    scores = np.array([[0.6, 0.4, 0, 0], [0.6, 0.4, 0, 0]])
    greedy = CtcText(Reading(output="y", symbols=SYMBOLS), SYMBOLS)
    greedy.add(scores)
    found = search(scores, 2)
    assert (greedy.text, found.text) == ("", "a")
    assert found.probability == pytest.approx(0.64)


@pytest.mark.parametrize("kind", ["logits", "log_probabilities"])
def test_logits_and_logarithms_give_the_same(kind: str) -> None:
    """Logits may be shifted, and large."""
    scores = draw(1, 5, 2.0)
    found = search(np.log(scores) + (700 if kind == "logits" else 0), 4, scores=kind)
    assert found.text == search(scores, 4).text
    assert found.probability == pytest.approx(search(scores, 4).probability)


def test_windows_are_searched_as_one() -> None:
    """A sound in windows has the text of its scores in one."""
    scores = draw(3, 12, 2.0)
    facts = Reading(output="y", symbols=SYMBOLS)
    joined = JoinedText(len(SYMBOLS), 2, CtcBeams(facts, SYMBOLS, 4))
    for begin in (0, 4):
        joined.add(scores[begin : begin + 6], begin, begin + 6, 1.0)
    joined.add(scores[6:12], 6, 12, 1.0)
    joined.finish()
    whole = search(scores, 4)
    assert (joined.text, joined.probability) == (whole.text, whole.probability)
