"""Connectionist temporal classification (CTC): scores of symbols over time to text. Graves et al., ICML 2006."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from model_store.tasks import Reading


class Piece(NamedTuple):
    """A symbol that was read: its text, its probability in its first step, and its steps ``begin`` to ``end``."""

    text: str
    probability: float
    begin: int
    end: int


class CtcText:
    """Reads one row by the best symbol of each step. The scores come in parts.

    Neighbouring steps with the same symbol are one symbol, even across the border of two parts. Not thread-safe.
    """

    def __init__(self, facts: Reading, symbols: Sequence[str]) -> None:
        self.pieces: list[Piece] = []
        self.steps = 0
        """The number of the next step."""
        self._facts = facts
        self._symbols = symbols
        self._last = facts.blank

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def probability(self) -> float:
        """The mean over the symbols; 0 without symbols."""
        return sum(piece.probability for piece in self.pieces) / len(self.pieces) if self.pieces else 0.0

    def add(self, scores: np.ndarray, first: int | None = None) -> None:
        """Read more ``scores``: finite, [steps, symbols], of the kind that the manifest names.

        ``first`` is the number of the first step, if it does not follow the last one.
        """
        self.steps = self.steps if first is None else first
        if not len(scores):
            return
        best = scores.argmax(axis=1)
        before = np.concatenate([[self._last], best[:-1]])
        begins = np.flatnonzero(best != before)
        if self.pieces and best[0] == self._last != self._facts.blank:  # the last symbol goes on
            end = begins[0] if len(begins) else len(best)
            self.pieces[-1] = self.pieces[-1]._replace(end=self.steps + int(end))
        probabilities = self._to_probabilities(scores[begins], best[begins])
        for place, begin in enumerate(begins):
            symbol = best[begin]
            if symbol != self._facts.blank:
                end = begins[place + 1] if place + 1 < len(begins) else len(best)
                piece = Piece(
                    self._symbols[symbol], float(probabilities[place]), self.steps + int(begin), self.steps + int(end)
                )
                self.pieces.append(piece)
        self._last = int(best[-1])
        self.steps += len(best)

    def _to_probabilities(self, scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The probability of the chosen symbol of each step, float64."""
        highest: np.ndarray = scores[np.arange(len(scores)), chosen].astype(np.float64)
        if self._facts.scores == "probabilities":
            return highest
        if self._facts.scores == "log_probabilities":
            return np.asarray(np.exp(highest))
        return np.asarray(1 / np.exp(scores - highest[:, None]).sum(axis=1))


class Text(Protocol):
    """Reads scores in parts: ``CtcText``, or a beam search."""

    @property
    def text(self) -> str: ...
    @property
    def probability(self) -> float: ...
    def add(self, scores: np.ndarray, first: int | None = None) -> None: ...


class JoinedText:
    """The text of a sound that is read window by window. Not thread-safe.

    Two windows share some samples. Each reads the half nearer to its middle, because a model is worst at the edges.
    """

    def __init__(self, symbols: int, overlap: int, text: Text) -> None:
        """``overlap`` is the number of samples that two windows share, ``symbols`` that of the symbols of ``text``."""
        self._text = text
        self._shared = overlap // 2
        self._position = 0  # samples that have been read
        self._tail: tuple[np.ndarray, int] = np.zeros((0, symbols), np.float32), 0

    @property
    def text(self) -> str:
        return self._text.text

    @property
    def probability(self) -> float:
        return self._text.probability

    def add(self, scores: np.ndarray, begin: int, end: int, step_samples: float) -> None:
        """Read the next window, samples ``begin`` to ``end``. ``scores`` are [steps, symbols]."""
        before = round(begin / step_samples)
        borders = [round((place - begin) / step_samples) for place in (self._position, end - self._shared, end)]
        first, last, whole = (min(max(0, border), len(scores)) for border in borders)
        self._text.add(scores[first:last], before + first)
        self._position = max(self._position, end - self._shared)
        self._tail = scores[last:whole], before + last

    def finish(self) -> None:
        """Read the last window to its end."""
        self._text.add(*self._tail)
