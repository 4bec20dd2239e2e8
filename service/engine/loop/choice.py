"""Which token comes next in rows that do not just take the likeliest one: draws, beams, given and suppressed tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.engine.loop.decoding import Beams
from service.engine.loop.noise import draw_uniform
from service.engine.loop.request import TokenSampling
from service.engine.loop.sequence import LoopSequence
from service.engine.loop.slots import Span


class Slot(NamedTuple):
    """The first slot of a row, and how many tokens were chosen for the row before this step: below 0, one is given."""

    row: int
    at: int
    chosen: int


def list_slots(span: Span[LoopSequence], step: int) -> list[Slot]:
    """The rows of a span at its step ``step``, from 0."""
    decoding, width = span.sequence.request.decoding, span.sequence.width
    forced = decoding.forced if decoding is not None else ()
    rows = range(span.start, span.stop)
    return [
        Slot(row, span.offset + number * width, step - (len(forced[row]) if forced else 0))
        for number, row in enumerate(rows)
    ]


def suppress(span: Span[LoopSequence], step: int, scores: np.ndarray) -> None:
    """Take the scores of tokens that may not be chosen from the rows of a span."""
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
    """Put the tokens of a span into ``tokens``, and the slots that its hypotheses continue into ``order``."""
    sequence, decoding = span.sequence, span.sequence.request.decoding
    if decoding is None or sequence.gone or not (decoding.forced or decoding.sampling or sequence.width > 1):
        return
    for row, at, chosen in list_slots(span, step):
        if chosen < 0:
            tokens[at : at + sequence.width] = decoding.forced[row][chosen]  # counted from its end
        elif decoding.sampling is not None:
            tokens[at] = draw(scores[at], decoding.sampling, chosen)
        elif sequence.width > 1:
            slots = slice(at, at + sequence.width)
            beams = sequence.sentences[row]
            assert isinstance(beams, Beams)  # noqa: S101  # made so for rows of several slots
            parents, tokens[slots] = beams.take(normalise(scores[slots]) if decoding.are_logits else scores[slots])
            order[slots] = at + parents


def draw(scores: np.ndarray, sampling: TokenSampling, step: int) -> int:
    """A token by its ``scores`` [symbols], logits or logarithms of probabilities. NaN: a token whose score is NaN."""
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
    """Of each row's token, by ``scores`` [rows, symbols]."""
    found: np.ndarray = scores[np.arange(len(tokens)), tokens].astype(np.float64)
    if are_logits:
        shifted = scores.astype(np.float32, copy=False)
        most = shifted.max(axis=1, keepdims=True)
        found -= most[:, 0] + np.log(np.exp(shifted - most).sum(axis=1, dtype=np.float64))
    return found
