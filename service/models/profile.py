"""Measures a graph before it serves: the time of a batch of each size, and whether all cores make it faster."""

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
"""After this time no larger batch is tried on the CPU, so that loads stay short: costs grow evenly with the rows."""
_ROUNDS = 3
"""The fastest of this many runs counts: other work of the machine may slow some of them."""
_COMPARE_S = 0.5
"""How long one core and all cores are compared: another process may keep a core busy for a while."""
_MOST_COMPARED = 16
"""Rows of the largest batch whose bits are compared: larger ones are divided in the same way, and take long."""

_decided: dict[tuple[Hashable, int], bool] = {}
"""By graph and number of threads: whether it also runs on all cores."""


def warm_up(session: Session, samples: Arrays, sizes: Buckets, axes: Axes | None) -> Mapping[int, Arrays]:
    """Run every size once, so that kernels and memory are prepared. Returns the inputs by number of rows.

    Without ``axes`` the samples run as they are. On a GPU every size runs, however long that takes: later, the first
    batch of a new size would delay requests.
    """
    began = time.perf_counter()
    ready: dict[int, Arrays] = {}
    for size in sizes:
        ready[size] = samples if axes is None else take_rows(samples, size, axes)
        run(session, ready[size])
        if session.on_cpu and time.perf_counter() - began > _WARM_UP_S:
            break
    return ready


def measure_costs(
    session: Session,
    ready: Mapping[int, Arrays],
    open_on: Callable[[int], Session],
    threads: int,
    axes: Axes,
    budget: Budget,
    graph: Hashable = None,
) -> tuple[CostModel, AllCores | None]:
    """The cost of each size, and a session on ``threads`` threads if that is faster and gives the same bits.

    The first load of a ``graph`` decides about the second session, which holds the weights once more. If every load
    decided anew, a model's memory would depend on how busy the machine was.
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
    # A graph with short runs is measured without waiting for other loads, which may take seconds.
    with contextlib.nullcontext() if is_short else measurement_lock.exclusive(), _keep_apart(helpers):
        one_s, *all_s = _time_runs(sessions, ready)
    wide = None
    if all_cores is not None:
        # The speed-up of all cores: the geometric mean over all sizes.
        gain = math.prod(one_s[size] / all_s[0][size] for size in one_s) ** (1 / len(one_s))
        if decided or gain >= WORTH_ALL_CORES:
            wide = AllCores(all_cores, _make_cost(*all_s), threads)
    if graph is not None and (decided is not None or not budget.is_spent):
        _decided[graph, threads] = wide is not None
    return _make_cost(one_s), wide


def _time_runs(sessions: Sequence[Session], ready: Mapping[int, Arrays]) -> list[dict[int, float]]:
    """For each session the shortest time by size, in seconds.

    Each round runs all sizes, so that a slow moment of the machine does not make a single size look expensive.
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
    # Also with one row less: threads may halve a batch, and compute its last row alone.
    tried += [take_rows(inputs, size - 1, axes) for size, inputs in ready.items() if 2 < size <= _MOST_COMPARED]
    return not any(differ(run(all_cores, inputs), run(session, inputs)) for inputs in tried)


def _list_threads() -> set[int]:
    """The threads of this process; none where the system does not list them."""
    return {int(name) for name in os.listdir("/proc/self/task")} if sys.platform == "linux" else set()


@contextlib.contextmanager
def _keep_apart(helpers: set[int]) -> Iterator[None]:
    """Pin this thread to one core, and the threads that help it to the others.

    Linux may wake a helper on this thread's core and leave it there although another core is idle: an MLP with a
    speed-up of 1.8 measured 0.97 and 1.12 in 2 of 20 starts. Pinned, it always measured more than 1.5. Pinning only
    this thread, or only the helpers, is not enough.
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
