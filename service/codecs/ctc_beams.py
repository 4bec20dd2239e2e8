"""The most probable text for scores over time, by a search over prefixes. Graves et al., ICML 2006, section 3.2.

The probability of a text is the sum over all ways to read it. So it can be higher than that of the best symbol of each
step.
"""

import math
from collections.abc import Sequence

import numpy as np

from model_store.tasks import Reading


class _Prefix:
    """The beginning of a text: a shorter prefix and one more symbol. The empty prefix has neither."""

    __slots__ = ("before", "symbol")

    def __init__(self, before: "_Prefix | None", symbol: int) -> None:
        self.before = before
        self.symbol = symbol


class CtcBeams:
    """As ``CtcText``, but keeps the ``width`` best prefixes after each step. It does not know the places of symbols.

    A symbol that is not among the best of a step is tried only if the prefix with it is already known. Other prefixes
    with such a symbol cannot be among the ``width`` best, so nothing is lost.
    """

    def __init__(self, facts: Reading, symbols: Sequence[str], width: int) -> None:
        self._facts = facts
        self._symbols = symbols
        self._width = width
        empty = _Prefix(None, -1)
        # Prefix -> the logarithms of the probabilities that it ends in a blank, and in its last symbol.
        self._beams: dict[_Prefix, tuple[float, float]] = {empty: (0.0, -math.inf)}

    @property
    def text(self) -> str:
        prefix, parts = next(iter(self._beams)), []
        while prefix.before is not None:
            parts.append(self._symbols[prefix.symbol])
            prefix = prefix.before
        return "".join(reversed(parts))

    @property
    def probability(self) -> float:
        """The probability of the text, over all ways to read it."""
        return min(1.0, math.exp(_join(*next(iter(self._beams.values())))))

    def add(self, scores: np.ndarray, first: int | None = None) -> None:
        """As ``CtcText.add``. ``first`` is ignored."""
        for row in scores:
            logs = self._to_logarithms(row)
            count = min(len(logs), self._width + 2)  # the blank, and a symbol that repeats, may be among them
            best = np.argpartition(-logs, count - 1)[:count]
            self._step(logs, [int(symbol) for symbol in best if symbol != self._facts.blank])

    def _step(self, logs: np.ndarray, best: Sequence[int]) -> None:
        blank = float(logs[self._facts.blank])
        known = {(prefix.before, prefix.symbol): prefix for prefix in self._beams}
        wanted = set(best)
        found: dict[_Prefix, tuple[float, float]] = {}
        for prefix, (in_blank, in_symbol) in self._beams.items():
            whole = _join(in_blank, in_symbol)
            stays = in_symbol + float(logs[prefix.symbol]) if prefix.before is not None else -math.inf
            _add(found, prefix, whole + blank, stays)
            there = [symbol for before, symbol in known if before is prefix and symbol not in wanted]
            for symbol in (*best, *there):
                longer = known.get((prefix, symbol)) or _Prefix(prefix, symbol)
                known[prefix, symbol] = longer
                _add(found, longer, -math.inf, (in_blank if symbol == prefix.symbol else whole) + float(logs[symbol]))
        order = sorted(found, key=lambda prefix: _join(*found[prefix]), reverse=True)
        self._beams = {prefix: found[prefix] for prefix in order[: self._width]}

    def _to_logarithms(self, row: np.ndarray) -> np.ndarray:
        """The logarithms of the probabilities of a step, float64."""
        values = row.astype(np.float64)
        if self._facts.scores == "probabilities":
            with np.errstate(divide="ignore"):
                return np.log(np.maximum(values, 0))
        if self._facts.scores == "logits":
            values -= values.max()
            values -= np.log(np.exp(values).sum())
        return values


def _add(found: dict[_Prefix, tuple[float, float]], prefix: _Prefix, in_blank: float, in_symbol: float) -> None:
    before = found.get(prefix, (-math.inf, -math.inf))
    found[prefix] = _join(before[0], in_blank), _join(before[1], in_symbol)


def _join(a: float, b: float) -> float:
    """The logarithm of the sum."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
