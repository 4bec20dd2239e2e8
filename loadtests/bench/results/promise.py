"""A promise, its measured value, and the ratio that most promises are about. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One promise. ``holds`` and ``reaches_aim`` are None if nothing conclusive was measured."""

    figure: str
    at_least: str
    aim: str
    measured: str
    holds: bool | None
    reaches_aim: bool | None


@dataclass(frozen=True)
class Ratio:
    """How many times as much as another in the middle round, with the interval that holds the true median in 15 of 16
    comparisons. With up to five rounds it goes from the least to the most."""

    middle: float
    least: float
    most: float


def compare_rounds(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """Compare interleaved rounds one by one, because what slows the machine slows both; None without a ratio."""
    rounds = sorted(mine / other for mine, other in zip(ours, theirs, strict=False) if other)
    if not rounds:
        return None
    outside = _count_outside(len(rounds))
    return Ratio(median(rounds), rounds[outside], rounds[-1 - outside])


def _count_outside(rounds: int) -> int:
    """How many rounds may be left out at either end.

    Each round falls below the true median with probability 1/2. So the n-th least round is above it with the
    probability of fewer than n heads in as many tosses as rounds, which must be at most 1/32.
    """
    outside, chance = 0, 0.5**rounds
    while (chance := chance + math.comb(rounds, outside + 1) * 0.5**rounds) <= 1 / 32:
        outside += 1
    return outside


def write_ratio(ratio: Ratio) -> str:
    return f"{ratio.middle:.2f}× ({ratio.least:.2f}–{ratio.most:.2f})"


def ratio_row(figure: str, least: float, aim: float, ratio: Ratio | None) -> Row:
    if ratio is None:
        return Row(figure, f"{least:g}×", f"{aim:g}×", NOT_MEASURED, None, None)
    return Row(figure, f"{least:g}×", f"{aim:g}×", write_ratio(ratio), ratio.middle >= least, ratio.middle >= aim)
