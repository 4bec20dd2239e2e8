"""Chooses the next token of rows that do not just take the likeliest: draws, beams, given and suppressed tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.engine.loop.decoding import Beams
from service.engine.loop.noise import draw_uniform
from service.engine.loop.request import TokenSampling
from service.engine.loop.sequence import LoopSequence
from service.engine.loop.slots import Span


class Slot(NamedTuple):
    """``at`` is the first slot of a row. ``chosen`` counts the tokens chosen for it so far; below 0: one is given."""

    row: int
    at: int
    chosen: int


def list_slots(span: Span[LoopSequence], step: int) -> list[Slot]:
    """The rows of a span at its step ``step``, which counts from 0."""
    decoding, width = span.sequence.request.decoding, span.sequence.width
    forced = decoding.forced if decoding is not None else ()
    rows = range(span.start, span.stop)
    return [
        Slot(row, span.offset + number * width, step - (len(forced[row]) if forced else 0))
        for number, row in enumerate(rows)
    ]


def suppress(span: Span[LoopSequence], step: int, scores: np.ndarray) -> None:
    """Set the scores of tokens that the rows of a span must not choose to minus infinity."""
    decoding, width = span.sequence.request.decoding, span.sequence.width
    if decoding is None:
        return
    if decoding.suppressed:
        scores[span.offset : span.offset + span.slots, decoding.suppressed] = -np.inf
    if decoding.suppressed_first and step <= max(map(len, decoding.forced), default=0):
        for slot in list_slots(span, step):
            if slot.chosen == 0:
                scores[slot.at : slot.at + width, decoding.suppressed_first] = -np.inf


def choose_row_by_row(
    span: Span[LoopSequence], step: int, scores: np.ndarray, tokens: np.ndarray, order: np.ndarray
) -> None:
    """Write the tokens of a span into ``tokens``, and the slots that its hypotheses continue into ``order``."""
    sequence, decoding = span.sequence, span.sequence.request.decoding
    if decoding is None or sequence.gone or not (decoding.forced or decoding.sampling or sequence.width > 1):
        return
    for row, at, chosen in list_slots(span, step):
        if chosen < 0:
            tokens[at : at + sequence.width] = decoding.forced[row][chosen]  # a negative index
        elif decoding.sampling is not None:
            tokens[at] = draw(scores[at], decoding.sampling, chosen)
        elif sequence.width > 1:
            slots = slice(at, at + sequence.width)
            beams = sequence.sentences[row]
            assert isinstance(beams, Beams)  # noqa: S101  # rows of several slots have beams
            parents, tokens[slots] = beams.take(normalise(scores[slots]) if decoding.are_logits else scores[slots])
            order[slots] = at + parents


def draw(scores: np.ndarray, sampling: TokenSampling, step: int) -> int:
    """Draw a token by ``scores`` [symbols], logits or logarithms of probabilities. If one is NaN, it is that token."""
    likeliest = int(scores.argmax())
    if not np.isfinite(scores[likeliest]):
        return likeliest
    logits = (scores.astype(np.float64) - float(scores[likeliest])) / sampling.temperature
    tokens: Sequence[int] | np.ndarray = range(len(logits))
    if sampling.top_k is not None or sampling.top_p < 1:
        tokens = np.argsort(-logits, kind="stable")[: sampling.top_k]
        logits = logits[tokens]
    shares = np.exp(logits).cumsum()
    if sampling.top_p < 1:
        shares = shares[: int(np.searchsorted(shares, sampling.top_p * shares[-1])) + 1]
    at = np.searchsorted(shares, draw_uniform(sampling.seed, step) * shares[-1], side="right")
    return int(tokens[min(int(at), len(shares) - 1)])


def normalise(scores: np.ndarray) -> np.ndarray:
    """Logits [rows, symbols] as logarithms of probabilities, float64."""
    logits = scores.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def find_log_probabilities(scores: np.ndarray, tokens: np.ndarray, are_logits: bool) -> np.ndarray:
    """The log-probability of each row's token, by ``scores`` [rows, symbols]."""
    found: np.ndarray = scores[np.arange(len(tokens)), tokens].astype(np.float64)
    if are_logits:
        shifted = scores.astype(np.float32, copy=False)
        most = shifted.max(axis=1, keepdims=True)
        found -= most[:, 0] + np.log(np.exp(shifted - most).sum(axis=1, dtype=np.float64))
    return found
