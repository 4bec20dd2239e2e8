"""Search for a counterexample by running a graph: rows alone against the same rows in a batch.

It knows nothing of the analysis that the suite judges: it only runs ONNX Runtime.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.random import Generator
from onnx import helper

from tests.support.rows.case import Case, Kind

Tensors = dict[str, np.ndarray]

_POOL = 24
_LENGTHS = (4, 7)
_WORDS = ("a", "b", "cat", "the", "Dog", "bird sings", "a b c d")


@dataclass(frozen=True)
class Counterexample:
    """What a row gave in a batch that it does not give alone."""

    kind: Kind
    text: str


def find_counterexample(case: Case, sizes: Sequence[int], kind: Kind | None = None) -> Counterexample | None:
    """The first counterexample (of one kind, if given) at these numbers of rows."""
    return next((found for found in search(case, sizes) if kind in (None, found.kind)), None)


def search(case: Case, sizes: Sequence[int]) -> Iterator[Counterexample]:
    """Every counterexample, at two lengths of each other free axis, among ordinary values, among values of many
    magnitudes, and among rows that hold infinity or NaN. Each run has other rows in another order.

    Raises ValueError where nothing runs, or where rows that are to be independent all give the same.
    """
    runner = Runner(case)
    ran = varied = False
    for draw in range(6):
        rng = np.random.default_rng(draw)
        shared, rows = runner.draw_inputs(rng, which=draw % 2, decades=draw in (2, 3))
        spoilt = runner.spoil(rng, rows) if draw > 3 else set()
        alone = [runner.run(shared | row) for row in rows]
        varied = varied or any(not _is_equal(first, alone[0]) for first in alone)
        for size in sizes:
            chosen = rng.permutation(_POOL)[:size]
            together = runner.run(shared | runner.join([rows[place] for place in chosen]))
            ran = ran or together is not None
            watched = [place for place in range(size) if chosen[place] not in spoilt]
            yield from compare(case, [alone[place] for place in chosen], together, watched)
    if not ran:
        raise ValueError(f"{case.name} never runs: {runner.failure}")
    if case.truth == "independent" and not varied:
        raise ValueError(f"{case.name}: every row gives the same")


def compare(
    case: Case, alone: Sequence[Tensors | None], together: Tensors | None, watched: Sequence[int]
) -> Iterator[Counterexample]:
    """What differs for the watched places between rows run one by one and in one run; None stands for a failed run."""
    size = len(alone)
    if together is None:
        if None not in alone:
            yield Counterexample("failure", f"{size} rows fail together and run alone")
        return
    for place in watched:
        row = alone[place]
        if row is None:
            yield Counterexample("failure", f"row {place} of {size} fails alone and runs in a batch")
            continue
        for name, expected in row.items():
            yield from _compare_output(case, name, expected, together[name], place, size)


def _compare_output(
    case: Case, name: str, expected: np.ndarray, got: np.ndarray, place: int, size: int
) -> Iterator[Counterexample]:
    """What differs between an output of a row alone and its part of the output for ``size`` rows."""
    axis = case.find_axis(name) or 0
    if got.ndim <= axis or got.shape[axis] != size or expected.ndim != got.ndim or expected.shape[axis] != 1:
        yield Counterexample("shape", f"{name}: {expected.shape} alone, {got.shape} for {size} rows")
        return
    own = got.take([place], axis)
    if own.shape != expected.shape:
        yield Counterexample("shape", f"{name}: {expected.shape} alone, {own.shape} in {size} rows")
    elif (distance := _measure(expected, own)) > case.tolerance:
        yield Counterexample("values", f"{name}: row {place} of {size} differs by {distance:.2g}")


class Runner:
    """A session for a case, and inputs that suit it."""

    def __init__(self, case: Case) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.failure = ""
        self._case = case
        self._session = ort.InferenceSession(
            case.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        constants = {constant.name for constant in case.model.graph.initializer}
        self._inputs = [value for value in case.model.graph.input if value.name not in constants]

    def run(self, inputs: Tensors) -> Tensors | None:
        """The outputs by name; None where the run fails."""
        try:
            return dict(
                zip([o.name for o in self._case.model.graph.output], self._session.run(None, inputs), strict=True)
            )
        except Exception as error:  # noqa: BLE001  ONNX Runtime has an exception class of its own for each status
            self.failure = str(error)
            return None

    def join(self, rows: Sequence[Tensors]) -> Tensors:
        """One batch of these rows."""
        return {name: np.concatenate([row[name] for row in rows], self._case.find_axis(name)) for name in rows[0]}

    def draw_inputs(self, rng: Generator, which: int, decades: bool) -> tuple[Tensors, list[Tensors]]:
        """The inputs that all rows share, and a pool of rows."""
        shared: Tensors = {}
        rows: list[Tensors] = [{} for _ in range(_POOL)]
        for value in self._inputs:
            axis = self._case.find_axis(value.name)
            lengths = _find_lengths(value, axis, self._case.lengths, which)
            for row in rows if axis is not None else [shared]:
                row[value.name] = self._draw(value, rng, lengths, decades)
        return shared, rows

    def spoil(self, rng: Generator, rows: Sequence[Tensors]) -> set[int]:
        """Puts infinity or NaN into every third row; the places of these rows. Inputs with values to respect stay."""
        spoilt = set(range(0, len(rows), 3))
        for place in spoilt:
            for name, value in rows[place].items():
                if value.dtype.kind == "f" and name not in self._case.draws:
                    value.reshape(-1)[rng.integers(value.size)] = rng.choice([np.nan, np.inf, -np.inf])
        return spoilt

    def _draw(self, value: onnx.ValueInfoProto, rng: Generator, lengths: Sequence[int], decades: bool) -> np.ndarray:
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if value.name in self._case.draws:
            return np.asarray(self._case.draws[value.name](rng, lengths)).astype(dtype)
        if dtype == np.dtype(object):
            return rng.choice(np.array(_WORDS, object), lengths)
        if dtype.kind == "f":
            return np.asarray(rng.normal(0, 1, lengths) * 10 ** (rng.uniform(-2, 3) if decades else 0.0)).astype(dtype)
        low, high = {"b": (0, 2), "u": (0, 256)}.get(dtype.kind, (-9, 10))
        return np.asarray(rng.integers(low, high, lengths)).astype(dtype)


def _find_lengths(
    value: onnx.ValueInfoProto, axis: int | None, lengths: Mapping[str, Sequence[int]], which: int
) -> list[int]:
    """The shape of an input for one row."""
    found = []
    for place, dim in enumerate(value.type.tensor_type.shape.dim):
        if place == axis:
            found.append(1)
        elif dim.HasField("dim_value"):
            found.append(dim.dim_value)
        else:
            found.append(lengths.get(dim.dim_param or "?", _LENGTHS)[which])
    return found


def _is_equal(first: Tensors | None, second: Tensors | None) -> bool:
    if first is None or second is None:
        return first is second
    return all(np.array_equal(first[name], second[name]) for name in first)


def _measure(expected: np.ndarray, got: np.ndarray) -> float:
    """The largest difference relative to the largest value; infinite where they differ in kind."""
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(expected, got) else np.inf
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(got)) or not np.array_equal(
        expected[~finite], got[~finite], equal_nan=True
    ):
        return np.inf
    if not finite.any():
        return 0.0
    largest = max(float(np.abs(expected[finite]).max()), 1e-6)
    return float(np.abs(expected[finite] - got[finite]).max()) / largest
