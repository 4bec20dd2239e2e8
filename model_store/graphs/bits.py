"""Whether a row keeps its bits in a batch: the same rows run in batches of several sizes and are compared."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_store.datatypes import datatype_of
from model_store.graph import Graph, RowVerdict
from model_store.graphs import Arrays
from model_store.graphs.batch import batches, without_batch

Run = Callable[[Arrays], Sequence[np.ndarray]]
"""Runs a graph: inputs by name, outputs in order."""
Axes = Mapping[str, int | None]
"""The batch axis of each input; None for an input that all rows share."""
_LONG_ROW_S = 0.1
"""If one row takes longer, batches of three rows are compared instead of eight."""
_SHORT_ROW_S = 0.01
"""If one row takes longer, a single row is run alone."""
_ROWS_ALONE = 5
"""Rows of other graphs that are run alone. The few numbers of one row may be equal by chance."""
_LONG_S = 0.3
"""If a comparison takes longer, larger sizes are not tried."""
_ROUNDING = {"FP16": 2e-2, "BF16": 5e-2}
_ROUNDING_ELSE = 1e-3
"""A difference above this share of an output's largest magnitude is no rounding."""
_LEAST_SCALE = 1e-30


@dataclass(frozen=True, slots=True)
class Bits:
    """How a row's bits vary with the number of rows in its batch, on the provider that runs it.

    ``text`` is for people. ``least_rows`` is the smallest batch from which on the bits are equal. ``refuted`` says
    which output changes by more than rounding: such a graph must not be batched, whatever was proved about it.
    """

    text: str
    least_rows: int = 1
    is_exact: bool = True
    refuted: str = ""


def settle(
    run: Run, graph: Graph, samples: Arrays | None, max_rows: int, longer: Sequence[Arrays] = ()
) -> tuple[Graph, Bits]:
    """The graph and its bits. The graph loses its batch if rows change in it. Raises as ``run``.

    ``longer`` are samples of other sizes: kernels are chosen by size and by the alignment of a row in memory.
    """
    if not batches(graph) or samples is None:
        return graph, Bits("exact")
    began = time.perf_counter()
    bits = compare_bits(run, samples, graph, max_rows)
    for other in longer:
        if bits.is_exact and time.perf_counter() - began < _LONG_S:
            bits = _compare_longer(run, other, graph, max_rows, bits)
    if not bits.refuted:
        return graph, bits
    rows = RowVerdict(verdict="mixing", reason=bits.refuted)
    return without_batch(graph).model_copy(update={"rows": rows}), bits


def _compare_longer(run: Run, longer: Arrays, graph: Graph, max_rows: int, bits: Bits) -> Bits:
    """The worse of ``bits`` and the bits at larger sizes, if the graph runs at these."""
    try:
        again = compare_bits(run, longer, graph, max_rows)
    except Exception:  # noqa: BLE001  # these sizes do not fit the graph; runners raise many types
        return bits
    return bits if again.is_exact and again.least_rows <= bits.least_rows else again


def compare_bits(run: Run, samples: Arrays, graph: Graph, max_rows: int) -> Bits:
    """Run the same rows in batches of three sizes. Their independence is proved, so this can only refute it."""
    if max_rows == 1:
        return Bits("exact")
    axes = {tensor.name: tensor.batch_axis for tensor in graph.inputs}
    began = time.perf_counter()
    first = run(take_rows(samples, 1, axes, 1))
    row_s = time.perf_counter() - began
    count = min(8 if row_s < _LONG_ROW_S else 3, max_rows)
    together = run(take_rows(samples, count, axes, 0))
    tried = range(1, min(count, _ROWS_ALONE + 1)) if row_s < _SHORT_ROW_S else range(1, 2)
    alone = [(first if at == 1 else run(take_rows(samples, 1, axes, at)), at, 1) for at in tried]
    pairs = [(run(take_rows(samples, 2, axes, at)), at, 2) for at in tried[::2] if at + 2 <= count > 2]
    ones = [(outputs, cut(together, at, size, graph)) for outputs, at, size in alone]
    twos = [(outputs, cut(together, at, size, graph)) for outputs, at, size in pairs]
    if not any(differ(*each) for each in (*ones, *twos)):
        return Bits("exact")
    worst = max(find_rounding(*each, graph) for each in (*ones, *twos))
    if worst[0] > limit_of(graph, worst[1]):
        name, shown = worst[1], "in another shape" if worst[0] == math.inf else f"by {worst[0]:.2g} of its magnitude"
        return Bits("refuted", 1, False, f"output {name!r} of a row changes {shown} with the number of rows beside it")
    if twos and not any(differ(*each) for each in twos):
        return Bits("exact padded to 2", 2)
    return Bits(f"rounding ≤ {worst[0]:.1e}", 1, False)


def take_rows(samples: Arrays, count: int, axes: Axes, start: int = 0) -> Arrays:
    """``count`` rows, repeated from the samples as needed. Shared inputs stay as they are."""
    return {name: _take(array, range(start, start + count), axes[name]) for name, array in samples.items()}


def _take(array: np.ndarray, places: Sequence[int] | np.ndarray, axis: int | None) -> np.ndarray:
    return array if axis is None else np.take(array, places, axis=axis, mode="wrap")


def cut(outputs: Sequence[np.ndarray], start: int, count: int, graph: Graph) -> Sequence[np.ndarray]:
    """``count`` rows of every output, from ``start`` on."""
    return [
        output if tensor.batch_axis is None else np.take(output, range(start, start + count), tensor.batch_axis)
        for output, tensor in zip(outputs, graph.outputs, strict=True)
    ]


def limit_of(graph: Graph, name: str) -> float:
    """The largest difference of an output, relative to its magnitude, that still counts as rounding."""
    datatype = next((tensor.datatype for tensor in graph.outputs if tensor.name == name), None)
    return math.inf if datatype is None else _ROUNDING.get(datatype, _ROUNDING_ELSE)


def find_rounding(apart: Sequence[np.ndarray], part: Sequence[np.ndarray], graph: Graph) -> tuple[float, str]:
    """The largest difference of an output, relative to its magnitude, and the output's name."""
    worst: tuple[float, str] = (0.0, "")
    for tensor, a, b in zip(graph.outputs, apart, part, strict=True):
        if a.shape != b.shape:
            return math.inf, tensor.name
        if not datatype_of(a).is_float:
            if not np.array_equal(a, b):
                return math.inf, tensor.name
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(x) & np.isfinite(y)
        if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
            return math.inf, tensor.name
        scale = max(float(np.abs(y[finite]).max(initial=0.0)), _LEAST_SCALE)
        worst = max(worst, (float(np.abs(x - y)[finite].max(initial=0.0)) / scale, tensor.name))
    return worst


def differ(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    """Whether any bit differs between the outputs of two runs."""
    for a, b in zip(left, right, strict=True):
        if a.shape != b.shape:
            return True
        if a.dtype.hasobject:
            if not np.array_equal(a, b):
                return True
        elif a.tobytes() != b.tobytes() and not _differ_in_nans_only(a, b):
            return True
    return False


def _differ_in_nans_only(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays differ only in the sign or payload of NaNs, which count as equal."""
    if not datatype_of(a).is_float:
        return False
    nans = np.isnan(a)
    return bool(np.array_equal(nans, np.isnan(b))) and a[~nans].tobytes() == b[~nans].tobytes()
