"""Whether a graph gives what it must: its golden samples, and the same rows alone and in company.

The runs of a trial take three runs of the largest batch, or 5 s if that is more: see ``Budget``.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_store import GoldenSamples
from model_store.datatypes import datatype_of
from model_store.manifest import Golden
from service.engine.session import Session, first_line
from service.engine.tensors import Arrays, Signature
from service.errors import NotReady

_BUDGET_S = 5.0
_LONG_ROW_S = 0.1
"""A graph that takes longer for one row is tried with three rows in company instead of eight."""
_ROUNDING = {"FP16": 2e-2, "BF16": 5e-2}
_ROUNDING_ELSE = 1e-3
_LEAST_SCALE = 1e-30
"""Of the largest magnitude of an output: a difference above it between a row alone and in company is no rounding."""


class Budget:
    """How long the trial of one graph may take. Every loop does what it must once, and goes on while this lasts."""

    def __init__(self, seconds: float = _BUDGET_S) -> None:
        self._ends_at = time.perf_counter() + seconds

    @property
    def is_spent(self) -> bool:
        return time.perf_counter() > self._ends_at


Axes = Mapping[str, int | None]
"""The batch axis of each input; None for one that all rows share."""


def rows(samples: Arrays, count: int, axes: Axes, start: int = 0) -> Arrays:
    """``count`` rows, repeated from the samples as often as needed; what all rows share stays as it is."""
    return {name: _take(array, range(start, start + count), axes[name]) for name, array in samples.items()}


def _take(array: np.ndarray, places: Sequence[int] | np.ndarray, axis: int | None) -> np.ndarray:
    return array if axis is None else np.take(array, places, axis=axis, mode="wrap")


@dataclass(frozen=True, slots=True)
class Bits:
    """How a row's bits vary with the number of rows of its batch, on the provider that serves.

    ``text`` is for people; ``least_rows`` is the smallest batch from which on the bits are the same. ``refuted`` says
    where a row changes by more than rounding: then its batches must not be shared, whatever was proved of the graph.
    """

    text: str
    least_rows: int = 1
    is_exact: bool = True
    refuted: str = ""


def compare_bits(session: Session, samples: Arrays, signature: Signature, max_rows: int) -> Bits:
    """Run the same rows in batches of three sizes. Rows are known to be independent: this could only refute it."""
    if max_rows == 1:
        return Bits("exact")
    axes = signature.axes
    began = time.perf_counter()
    one = run(session, rows(samples, 1, axes, 1))
    count = min(8 if time.perf_counter() - began < _LONG_ROW_S else 3, max_rows)
    two = run(session, rows(samples, 2, axes, 1))
    together = run(session, rows(samples, count, axes, 0))
    pairs = [(outputs, _cut(together, 1, size, signature)) for size, outputs in ((2, two), (1, one)) if size < count]
    if all(not differ(*pair) for pair in pairs):
        return Bits("exact")
    worst = max(_find_rounding(*pair, signature) for pair in pairs)
    if worst[0] > _limit_of(signature, worst[1]):
        name, shown = worst[1], "in another shape" if worst[0] == math.inf else f"by {worst[0]:.2g} of its magnitude"
        return Bits("refuted", 1, False, f"output {name!r} of a row changes {shown} with the number of rows beside it")
    if count > 2 and not differ(*pairs[0]):
        return Bits("exact padded to 2", 2)
    return Bits(f"rounding ≤ {worst[0]:.1e}", 1, False)


def _limit_of(signature: Signature, name: str) -> float:
    return _ROUNDING.get(signature.outputs[name].datatype, _ROUNDING_ELSE) if name else math.inf


def _find_rounding(apart: Sequence[np.ndarray], part: Sequence[np.ndarray], signature: Signature) -> tuple[float, str]:
    """The largest difference of an output, relative to its magnitude, and the output's name."""
    worst: tuple[float, str] = (0.0, "")
    for name, a, b in zip(signature.output_names, apart, part, strict=True):
        if a.shape != b.shape:
            return math.inf, name
        if not datatype_of(a).is_float:
            if not np.array_equal(a, b):
                return math.inf, name
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(x) & np.isfinite(y)
        if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
            return math.inf, name
        scale = max(float(np.abs(y[finite]).max(initial=0.0)), _LEAST_SCALE)
        worst = max(worst, (float(np.abs(x - y)[finite].max(initial=0.0)) / scale, name))
    return worst


def try_company(session: Session, signature: Signature, draw: Callable[[int], Arrays], max_rows: int) -> str:
    """Whether rows of a graph that is not proved keep their answers among others: "" if they do, else what changes.

    ``draw`` gives so many distinct rows, others at each call. Each of eight runs alone, and at the first, a middle and
    the last place among new ones, for 5 s at most.
    """
    axes, count, budget = signature.axes, min(8, max_rows), Budget()
    mine = draw(8)
    for number in range(8):
        alone = run(session, rows(mine, 1, axes, number))
        for place in sorted({0, count // 2, count - 1}):
            others = draw(count)
            mixed = {name: _place(others[name], mine[name], axes[name], number, place) for name in others}
            among = run(session, mixed)
            for output, axis, whole in zip(among, signature.output_axes, signature.output_names, strict=True):
                if axis is None or output.ndim <= axis or output.shape[axis] != count:
                    return f"output {whole!r} has shape {list(output.shape)} for {count} rows"
            error, name = _find_rounding(alone, _cut(among, place, 1, signature), signature)
            if error > _limit_of(signature, name):
                return f"output {name!r} of a row changes with the rows beside it"
            if budget.is_spent:
                return f"only {number + 1} of 8 rows could be tried in {_BUDGET_S:g} s"
    return ""


def _place(others: np.ndarray, mine: np.ndarray, axis: int | None, number: int, place: int) -> np.ndarray:
    """The others with one of mine at a place."""
    if axis is None:
        return mine
    mixed = np.array(others)
    np.moveaxis(mixed, axis, 0)[place] = np.moveaxis(mine, axis, 0)[number]
    return mixed


def _cut(outputs: Sequence[np.ndarray], start: int, count: int, signature: Signature) -> Sequence[np.ndarray]:
    return [
        output if axis is None else np.take(output, range(start, start + count), axis)
        for output, axis in zip(outputs, signature.output_axes, strict=True)
    ]


def differ(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    """Whether any bit differs between the outputs of two runs."""
    for a, b in zip(left, right, strict=True):
        if a.shape != b.shape:
            return True
        if not np.array_equal(a, b) if a.dtype.hasobject else a.tobytes() != b.tobytes():
            return True
    return False


def run(session: Session, inputs: Arrays) -> Sequence[np.ndarray]:
    """As ``session.run``; raises NotReady for whatever it raises."""
    try:
        return session.run(inputs)
    except Exception as error:
        raise NotReady(f"the graph fails on its own samples: {first_line(error)}") from error


def check_golden(session: Session, signature: Signature, facts: Golden, golden: GoldenSamples) -> float:
    """Run the stored samples on the provider that will serve. Returns the worst error; raises NotReady above it."""
    atol, rtol = facts.atol, facts.rtol
    if golden.outputs.keys() != signature.outputs.keys():
        raise NotReady(f"golden samples: expected the outputs {list(signature.outputs)}, got {list(golden.outputs)}")
    outputs = dict(zip(signature.output_names, run(session, golden.inputs), strict=True))
    worst = 0.0
    for name, expected in golden.outputs.items():
        got = outputs[name]
        if got.shape != expected.shape:
            raise NotReady(f"golden samples: output {name!r} has shape {got.shape}, expected {expected.shape}")
        if datatype_of(expected).kind not in "fiu":
            if not np.array_equal(got, expected):
                raise NotReady(f"golden samples: output {name!r} differs from what was exported")
            continue
        wanted = expected.astype(np.float64)
        same = (got == expected) | (np.isnan(got.astype(np.float64)) & np.isnan(wanted))
        with np.errstate(invalid="ignore"):  # infinities on both sides are the same, not a difference
            error = np.where(same, 0.0, np.abs(got.astype(np.float64) - wanted))
            excess = np.where(same, 0.0, error - (atol + rtol * np.abs(wanted)))
        if not (excess <= 0).all():  # NaN is not within bounds either
            at = np.unravel_index(int(np.argmax(np.where(np.isnan(excess), np.inf, excess))), excess.shape)
            raise NotReady(
                f"golden samples on {session.provider}: output {name!r} at {[int(i) for i in at]} is "
                f"{float(got[at]):.6g}, expected {float(expected[at]):.6g} within {atol:g} + {rtol:g} of it"
            )
        worst = max(worst, float(error.max(initial=0.0)))
    return worst
