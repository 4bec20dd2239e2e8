"""Checks that a graph reproduces its golden samples, and that rows give the same answers alone and in a batch."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from model_store import GoldenSamples
from model_store.cancellation import current
from model_store.datatypes import datatype_of
from model_store.errors import first_line
from model_store.golden import check_tolerance, find_no_probability
from model_store.graph import Graph, Tensor
from model_store.graphs.bits import cut, find_rounding, limit_of, take_rows
from model_store.manifest import Golden
from model_store.tasks import Classes
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays, Signature
from service.errors import NotReady

_BUDGET_S = 5.0


class Budget:
    """How long the checks of one graph may take. A check that repeats runs once, and again while time is left."""

    def __init__(self, seconds: float = _BUDGET_S) -> None:
        self._ends_at = time.perf_counter() + seconds

    @property
    def is_spent(self) -> bool:
        return time.perf_counter() > self._ends_at


def try_in_batches(session: Session, signature: Signature, draw: Callable[[int], Arrays], max_rows: int) -> str:
    """Compare rows of a graph that is not proved alone and in batches: "" if the answers agree, else what differs.

    ``draw`` makes a given number of new rows. Each of eight rows runs alone, and at the first, a middle and the last
    place of a batch of other rows. This takes 5 s at most.
    """
    graph, axes, count, budget = signature.graph, signature.axes, min(8, max_rows), Budget()
    mine = draw(8)
    for number in range(8):
        alone = run(session, take_rows(mine, 1, axes, number))
        for place in sorted({0, count // 2, count - 1}):
            others = draw(count)
            mixed = {name: _place(others[name], mine[name], axes[name], number, place) for name in others}
            among = run(session, mixed)
            for output, axis, whole in zip(among, signature.output_axes, signature.output_names, strict=True):
                if axis is None or output.ndim <= axis or output.shape[axis] != count:
                    return f"output {whole!r} has shape {list(output.shape)} for {count} rows"
            error, name = find_rounding(alone, cut(among, place, 1, graph), graph)
            if error > limit_of(graph, name):
                return f"output {name!r} of a row changes with the rows beside it"
            if budget.is_spent:
                return f"only {number + 1} of 8 rows could be tried in {_BUDGET_S:g} s"
    return ""


def _place(others: np.ndarray, mine: np.ndarray, axis: int | None, number: int, place: int) -> np.ndarray:
    """The rows of ``others``, with row ``number`` of ``mine`` in row ``place``."""
    if axis is None:
        return mine
    mixed = np.array(others)
    np.moveaxis(mixed, axis, 0)[place] = np.moveaxis(mine, axis, 0)[number]
    return mixed


def run(session: Session, inputs: Arrays) -> Sequence[np.ndarray]:
    """As ``session.run``. Raises NotReady for whatever that raises, LoadCancelled if it was stopped."""
    try:
        return session.run(inputs)
    except Exception as error:
        current().check()
        raise NotReady(f"the graph fails on its own samples: {first_line(error)}") from error


def check_golden(
    session: Session, signature: Signature, facts: Golden, golden: GoldenSamples, classes: Classes | None = None
) -> float:
    """Run the golden samples on the provider that will serve. Returns the largest error.

    Raises NotReady if an error is too large, or if an output that ``classes`` calls probabilities holds none. Raises
    BadManifest for a tolerance that any output would pass.
    """
    atol, rtol = facts.atol, facts.rtol
    check_tolerance(facts, golden)
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
        with np.errstate(invalid="ignore"):  # two equal infinities have the difference NaN
            error = np.where(same, 0.0, np.abs(got.astype(np.float64) - wanted))
            excess = np.where(same, 0.0, error - (atol + rtol * np.abs(wanted)))
        if not (excess <= 0).all():  # NaN is out of bounds too
            at = np.unravel_index(int(np.argmax(np.where(np.isnan(excess), np.inf, excess))), excess.shape)
            raise NotReady(
                f"golden samples on {session.provider}: output {name!r} at {[int(i) for i in at]} is "
                f"{float(got[at]):.6g}, expected {float(expected[at]):.6g} within {atol:g} + {rtol:g} of it"
            )
        worst = max(worst, float(error.max(initial=0.0)))
    if classes is not None:
        reason = find_no_probability(classes, outputs, atol)
        if reason:
            raise NotReady(f"golden samples on {session.provider}: {reason}")
    return worst


def check_signature(declared: Graph, session: Session) -> None:
    """Raises NotReady if the tensors of the manifest are not those of the ONNX file."""
    actual = session.describe(declared.file)
    for said, found, is_output in ((declared.inputs, actual.inputs, False), (declared.outputs, actual.outputs, True)):
        if len(said) != len(found) or not all(_describes(*pair, is_output) for pair in zip(said, found, strict=True)):
            raise NotReady(
                f"the manifest describes {[_facts(t) for t in said]}, the graph has {[_facts(t) for t in found]}"
            )


def _describes(said: Tensor, found: Tensor, is_output: bool) -> bool:
    """Whether a description fits. ONNX Runtime may infer the size of an output's axis that the file leaves free."""
    (*told, said_shape), (*had, found_shape) = _facts(said), _facts(found)
    if told != had or len(said_shape) != len(found_shape):
        return False
    may_be_free = [is_output and axis != said.batch_axis for axis in range(len(said_shape))]
    sizes = zip(said_shape, found_shape, may_be_free, strict=True)
    return all(one == other or (one is None and free) for one, other, free in sizes)


def _facts(tensor: Tensor) -> tuple[str, str, tuple[int | None, ...]]:
    return tensor.name, tensor.datatype, tuple(size if isinstance(size, int) else None for size in tensor.shape)
