"""A promise, what was measured of it, and the ratio that most promises are about. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One promise. ``holds`` and ``reaches_aim`` are None where nothing was measured, or nothing that says it."""

    figure: str
    at_least: str
    aim: str
    measured: str
    holds: bool | None
    reaches_aim: bool | None


@dataclass(frozen=True)
class Ratio:
    """How many times as much as another: of the medians, and the least and the most in a single round."""

    medians: float
    least: float
    most: float


def compare_rounds(ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
    """Rounds that were interleaved, one by one; None where ``theirs`` came to nothing."""
    if not ours or not theirs or not median(theirs):
        return None
    rounds = [mine / other for mine, other in zip(ours, theirs, strict=False) if other]
    return Ratio(median(ours) / median(theirs), min(rounds), max(rounds))


def write_ratio(ratio: Ratio) -> str:
    return f"{ratio.medians:.2f}× ({ratio.least:.2f}–{ratio.most:.2f})"


def ratio_row(figure: str, least: float, aim: float, ratio: Ratio | None) -> Row:
    if ratio is None:
        return Row(figure, f"{least:g}×", f"{aim:g}×", NOT_MEASURED, None, None)
    return Row(figure, f"{least:g}×", f"{aim:g}×", write_ratio(ratio), ratio.medians >= least, ratio.medians >= aim)
