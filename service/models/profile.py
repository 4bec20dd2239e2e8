"""Runs of a graph before it serves: what a batch of each size costs, and whether all cores make it faster."""

import contextlib
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from model_store.graphs.bits import Axes, differ, take_rows
from service.engine.batching.buckets import Buckets
from service.engine.batching.cost import CostModel
from service.engine.batching.policy import INLINE_S, WORTH_ALL_CORES
from service.engine.execution.runner import AllCores
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.models.measurement_lock import measurement_lock
from service.models.verify import Budget, run

_WARM_UP_S = 0.25
"""After so long larger batches are not tried on the CPU: a load may not take long, and costs grow evenly with rows."""
_ROUNDS = 3
"""The best of so many runs counts: one may be slow because of what else the machine does."""
_COMPARE_S = 0.5
"""How long one core and all cores are compared: another process may keep a core busy for a while."""
_MOST_COMPARED = 16
"""Rows of the largest batch whose bits are compared: larger ones are cut in the same way, and take long."""

_decided: dict[tuple[Hashable, int], bool] = {}
"""Whether a graph runs on all cores too, by the graph and the number of threads."""


def make_ready(session: Session, samples: Arrays, sizes: Buckets, axes: Axes | None) -> Mapping[int, Arrays]:
    """Run every size once, to make kernels and memory ready. Returns the inputs by their rows.

    Without ``axes`` the samples are run as they are. On a GPU every size runs, however long that takes: later, a batch
    of a new size would delay requests.
    """
    began = time.perf_counter()
    ready: dict[int, Arrays] = {}
    for size in sizes:
        ready[size] = samples if axes is None else take_rows(samples, size, axes)
        run(session, ready[size])
        if session.on_cpu and time.perf_counter() - began > _WARM_UP_S:
            break
    return ready


def learn(
    session: Session,
    ready: Mapping[int, Arrays],
    open_on: Callable[[int], Session],
    threads: int,
    axes: Axes,
    budget: Budget,
    graph: Hashable = None,
) -> tuple[CostModel, AllCores | None]:
    """What each size costs, and the graph on ``threads`` threads where that pays and gives the same bits.

    The first load of a ``graph`` decides whether all cores pay. The second session holds the weights once more, so if
    each load decided anew, the memory of a model would vary with what else the machine does.
    """
    largest = max(ready)
    is_short = _time_runs([session], {largest: ready[largest]})[0][largest] < INLINE_S
    decided = None if graph is None else _decided.get((graph, threads))
    tries = decided if decided is not None else threads > 1 and not is_short and not budget.is_spent
    others = _list_threads()
    all_cores = open_on(threads) if tries else None
    helpers = _list_threads() - others
    if all_cores is not None and not _gives_same_bits(session, all_cores, ready, axes):
        all_cores = None
    sessions = [session] if all_cores is None else [session, all_cores]
    # The measurement of a short graph does not wait for other loads, which may take seconds.
    with contextlib.nullcontext() if is_short else measurement_lock.exclusive(), _keep_apart(helpers):
        one_s, *all_s = _time_runs(sessions, ready)
    wide = None
    if all_cores is not None:
        # How many times as fast all cores are, on the geometric mean of all sizes.
        gain = math.prod(one_s[size] / all_s[0][size] for size in one_s) ** (1 / len(one_s))
        if decided or gain >= WORTH_ALL_CORES:
            wide = AllCores(all_cores, _make_cost(*all_s), threads)
    if graph is not None and (decided is not None or not budget.is_spent):
        _decided[graph, threads] = wide is not None
    return _make_cost(one_s), wide


def _time_runs(sessions: Sequence[Session], ready: Mapping[int, Arrays]) -> list[dict[int, float]]:
    """The best seconds of each session by size.

    A round has all sizes: what slows the machine for a while must not make one size look expensive.
    """
    best = [dict.fromkeys(ready, math.inf) for _ in sessions]
    began = time.perf_counter()
    for rounds in itertools.count(1):
        for size, inputs in ready.items():
            for session, seconds in zip(sessions, best, strict=True):
                seconds[size] = min(seconds[size], _measure(session, inputs))
        if time.perf_counter() - began >= _COMPARE_S or (rounds == _ROUNDS and len(sessions) == 1):
            break
    return best


def _measure(session: Session, inputs: Arrays) -> float:
    began = time.perf_counter()
    run(session, inputs)
    return time.perf_counter() - began


def _make_cost(seconds: Mapping[int, float]) -> CostModel:
    cost = CostModel()
    for size, of_size in seconds.items():
        cost.observe(size, of_size)
    return cost


def _gives_same_bits(session: Session, all_cores: Session, ready: Mapping[int, Arrays], axes: Axes) -> bool:
    tried = [inputs for size, inputs in ready.items() if size <= _MOST_COMPARED]
    # One row less too: threads may halve a batch, and compute its last row alone.
    tried += [take_rows(inputs, size - 1, axes) for size, inputs in ready.items() if 2 < size <= _MOST_COMPARED]
    return not any(differ(run(all_cores, inputs), run(session, inputs)) for inputs in tried)


def _list_threads() -> set[int]:
    """The threads of this process, where the system tells."""
    return {int(name) for name in os.listdir("/proc/self/task")} if sys.platform == "linux" else set()


@contextlib.contextmanager
def _keep_apart(helpers: set[int]) -> Iterator[None]:
    """Keep this thread on one core, and the threads that help it on the others.

    Linux may wake a helper on this thread's core and leave it there beside an idle one: an MLP whose gain is 1.8 showed
    0.97 and 1.12 at 2 of 20 starts. Kept apart, it always showed more than 1.5. Pinning only one of them is not enough.
    """
    cores = os.sched_getaffinity(0) if helpers else set()
    if len(cores) < 2:
        yield
        return
    one = min(cores)
    _place(helpers, cores - {one})
    _place({0}, {one})
    try:
        yield
    finally:
        _place({0, *helpers}, cores)


def _place(threads: set[int], cores: set[int]) -> None:
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended, or the system does not allow it
            os.sched_setaffinity(thread, cores)
