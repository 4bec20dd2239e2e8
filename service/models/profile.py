"""Runs of a graph before it serves: what a batch of each size costs, and whether all cores make it faster."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping

from model_store.graphs.bits import Axes, differ, take_rows
from service.engine.batching.buckets import Buckets
from service.engine.batching.cost import CostModel
from service.engine.execution.runner import AllCores
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.models.measurement_lock import measurement_lock
from service.models.verify import Budget, run

_WARM_UP_S = 1.0
"""On the CPU larger batches are not tried if warm-up would take longer; the cost model scales from the largest."""
_ROUNDS = 3
_COMPARE_S = 0.2
"""One core and all of them are compared for at least so long: of short runs three rounds say too little."""
_DOUBT_S = 0.6
"""And for so long where all of them do not seem to pay: another process may keep one of them busy for a while."""
_LONG_S = 500e-6
"""Largest batches from here on are measured with care. Shorter ones are over before another thread is awake, and
whatever their size they cost little."""
_SLOW_S = 0.25
"""Largest batches from here on are run once on one core and once on all of them."""
_WORTH_WIDENING = 1.2
"""Times as fast. On two cores: a residual network 1.7, a memory-bound MLP 1.5; networks of small operations, each of
which is handed out anew, 0.9 to 1.2, of which nothing is left beside a load generator."""
_MOST_DECIDED = 1024
"""Graphs of which it is known whether all cores pay."""
_MOST_TRIED = 16
"""Rows of the largest batch whose bits are compared: larger ones are cut alike, and would take long."""


_decided: dict[Hashable, bool] = {}
"""Whether a graph runs on all cores too, by what it is known by."""


def make_ready(session: Session, samples: Arrays, sizes: Buckets, axes: Axes | None) -> Mapping[int, Arrays]:
    """Run every size once, to make kernels and memory ready. Returns the inputs by their rows.

    Without ``axes`` the samples are run as they are.

    On a GPU all of them, however long it takes: a batch of a new size would hold up the requests of a server in use.
    """
    began = time.perf_counter()
    ready: dict[int, Arrays] = {}
    for size in sizes:
        ready[size] = samples if axes is None else take_rows(samples, size, axes)
        run(session, ready[size])
        if session.on_cpu and time.perf_counter() - began > _WARM_UP_S / (1 + _ROUNDS):
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
    """What each size costs, and the graph on ``threads`` threads where that pays, and gives the same bits.

    ``graph`` is what the graph is known by: whether all cores pay is decided when it is first loaded. A second session
    has the weights once more, so the memory of a model would change with every load, by what else the machine did.
    """
    decided = None if graph is None else _decided.get((graph, threads))
    cost, all_cores = _learn(session, ready, open_on, 1 if decided is False else threads, axes, budget, decided)
    if graph is not None:
        if len(_decided) >= _MOST_DECIDED:
            _decided.clear()
        _decided[graph, threads] = all_cores is not None
    return cost, all_cores


def _learn(
    session: Session,
    ready: Mapping[int, Arrays],
    open_on: Callable[[int], Session],
    threads: int,
    axes: Axes,
    budget: Budget,
    pays: bool | None,
) -> tuple[CostModel, AllCores | None]:
    """As ``learn``; ``pays`` where it is known that all cores do."""
    longest_s = _measure(session, ready[max(ready)])
    if _LONG_S <= longest_s < _SLOW_S:  # a pause of the machine is not taken for a long run
        longest_s = min(longest_s, *(_measure(session, ready[max(ready)]) for _ in range(2)))
    found_s = {max(ready): longest_s}
    if not pays and (longest_s < _LONG_S or budget.is_spent):
        return _learn_cost(session, ready, found_s, budget), None
    if threads == 1:
        with measurement_lock.exclusive():
            return _learn_cost(session, ready, found_s, budget), None
    others = _threads()
    all_cores = open_on(threads)
    helpers = _threads() - others
    if longest_s > _SLOW_S:
        return _compare_once(session, all_cores, ready, threads, pays)
    if not _gives_same_bits(session, all_cores, ready, axes):
        with measurement_lock.exclusive():
            return _learn_cost(session, ready, found_s, budget), None
    with measurement_lock.exclusive(), _apart_from(helpers):
        one_s, all_s = _compare(session, all_cores, ready, budget)
        cost = _learn_cost(session, ready, one_s, budget)
        if not pays and _find_gain(one_s, all_s) < _WORTH_WIDENING:
            return cost, None
        return cost, AllCores(all_cores, _learn_cost(all_cores, ready, all_s, budget), threads)


def _compare_once(
    session: Session, all_cores: Session, ready: Mapping[int, Arrays], threads: int, pays: bool | None
) -> tuple[CostModel, AllCores | None]:
    """As ``learn`` for a graph whose runs take long, each of them once: what else the machine does matters less."""
    size = max(ready)
    cost, all_cores_cost = CostModel(), CostModel()
    with measurement_lock.exclusive():
        began = time.perf_counter()
        one = run(session, ready[size])
        between = time.perf_counter()
        every = run(all_cores, ready[size])
        one_s, all_s = between - began, time.perf_counter() - between
    cost.observe(size, one_s)
    all_cores_cost.observe(size, all_s)
    pays = pays or _find_gain({size: one_s}, {size: all_s}) >= _WORTH_WIDENING
    return cost, AllCores(all_cores, all_cores_cost, threads) if pays and not differ(one, every) else None


def _learn_cost(
    session: Session, ready: Mapping[int, Arrays], found_s: Mapping[int, float], budget: Budget
) -> CostModel:
    """What each size costs; ``found_s`` are seconds that some of them took before.

    The best of some rounds counts, and a round has all sizes: whatever else the machine does for a while would be taken
    for the cost of one of them, and batches be made far too small or too large for as long as the version serves.
    """
    best_s = dict(found_s)
    for _ in range(_ROUNDS):
        if budget.is_spent:
            break
        for size, inputs in ready.items():
            best_s[size] = min(best_s.get(size, math.inf), _measure(session, inputs))
    cost = CostModel()
    for size, seconds in best_s.items():
        cost.observe(size, seconds)
    return cost


def _gives_same_bits(session: Session, all_cores: Session, ready: Mapping[int, Arrays], axes: Axes) -> bool:
    tried = [inputs for size, inputs in ready.items() if size <= _MOST_TRIED]
    # A row less too, for threads may halve a batch, and its last row be computed alone.
    tried += [take_rows(inputs, size - 1, axes) for size, inputs in ready.items() if 2 < size <= _MOST_TRIED]
    return not any(differ(run(all_cores, inputs), run(session, inputs)) for inputs in tried)


def _compare(
    session: Session, all_cores: Session, ready: Mapping[int, Arrays], budget: Budget
) -> tuple[dict[int, float], dict[int, float]]:
    """The best seconds of a small, a middle and a large batch, on one core and on all of them."""
    sizes = sorted(ready)
    sizes = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
    one_s, all_s = dict.fromkeys(sizes, math.inf), dict.fromkeys(sizes, math.inf)
    began = time.perf_counter()
    rounds = 0
    while True:
        for size in sizes:
            one_s[size] = min(one_s[size], _measure(session, ready[size]))
            all_s[size] = min(all_s[size], _measure(all_cores, ready[size]))
        took_s = time.perf_counter() - began
        rounds += 1
        pays = _find_gain(one_s, all_s) >= _WORTH_WIDENING
        if budget.is_spent or (rounds >= _ROUNDS and took_s > (_COMPARE_S if pays else _DOUBT_S)):
            return one_s, all_s


def _find_gain(one_s: Mapping[int, float], all_s: Mapping[int, float]) -> float:
    """How many times as fast all cores are, on the whole."""
    return math.prod(one_s[size] / all_s[size] for size in one_s) ** (1 / len(one_s))


def _threads() -> set[int]:
    """Of this process, where the system tells."""
    return {int(name) for name in os.listdir("/proc/self/task")} if sys.platform == "linux" else set()


def _cores() -> set[int]:
    """On which this thread may run, where the system tells."""
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set()


@contextlib.contextmanager
def _apart_from(helpers: set[int]) -> Iterator[None]:
    """Let this thread run on one core, and the threads that help it on the others.

    A thread that helps is woken where its waker runs, and if the two of them have once met on a core they may share it
    for as long as all this takes, beside an idle one: an MLP on two cores, whose gain is 1.6, showed 1.04 to 1.29 at 3
    of 34 starts of the server. Apart, it showed 1.43 to 1.76 at 20.
    """
    cores = _cores()
    if not helpers or len(cores) < 2:
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
    if sys.platform == "linux":
        for thread in threads:
            with contextlib.suppress(OSError):  # it has ended, or the system does not allow it
                os.sched_setaffinity(thread, cores)


def _measure(session: Session, inputs: Arrays) -> float:
    began = time.perf_counter()
    run(session, inputs)
    return time.perf_counter() - began
