"""Runs of a graph before it serves: whether rows keep their bits in company, what a batch costs, whether cores help."""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from model_store.datatypes import datatype_of
from service.engine.buckets import Buckets
from service.engine.cost import CostModel
from service.engine.lane import Wide
from service.engine.session import Session, first_line
from service.engine.tensors import Arrays
from service.errors import NotReady

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
_WORTH_WIDENING = 1.2
"""Times as fast. On two cores: a residual network 1.7, a memory-bound MLP 1.5; networks of small operations, each of
which is handed out anew, 0.9 to 1.2, of which nothing is left beside a load generator."""
_MOST_TRIED = 16
"""Rows of the largest batch whose bits are compared: larger ones are cut alike, and would take long."""


class Quiet:
    """Versions load side by side, but what is measured for one of them is measured while no other keeps a core busy."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = 0
        self._measures = False

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Load beside others, and while nobody measures."""
        with self._changed:
            self._changed.wait_for(lambda: not self._measures)
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within ``beside``: wait until the others have loaded or wait for the same, and go on alone."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy and not self._measures)
            self._measures = True
        try:
            yield
        finally:
            with self._changed:
                self._measures = False
                self._busy += 1
                self._changed.notify_all()


quiet = Quiet()
"""Of this process."""


def rows(samples: Arrays, count: int, start: int = 0) -> Arrays:
    """``count`` rows, repeated from the samples as often as needed."""
    return {name: np.take(a, range(start, start + count), axis=0, mode="wrap") for name, a in samples.items()}


def _with_neighbour(samples: Arrays) -> Arrays:
    """The samples; a single row gets another one beside it that differs from it wherever it has floats."""
    if any(len(a) > 1 for a in samples.values()):
        return samples
    return {
        name: np.concatenate([a, a * a.dtype.type(0.5) if datatype_of(a).is_float else a])
        for name, a in samples.items()
    }


def prove_company(session: Session, samples: Arrays, max_rows: int) -> tuple[int, str]:
    """Whether rows are independent, and from which batch size on they keep their bits.

    Returns the least rows of a batch and ``Loaded.batch_invariant``. First the same rows run in batches of one size
    among different neighbours: any difference there means that rows influence each other. Then in batches of different
    sizes: a difference there is rounding, and often goes away when no row runs alone.
    """
    count = min(8, max_rows)
    if count == 1:
        return 1, "exact"
    samples = _with_neighbour(samples)
    together = run(session, rows(samples, count))
    half = count // 2
    for start in (0, count - half):
        # The other rows are replaced by copies of one of these: whatever they add to a sum or a mean changes.
        kept = np.arange(count)
        kept[np.r_[0:start, start + half : count]] = start
        among = run(session, {name: np.take(a, kept, axis=0, mode="wrap") for name, a in samples.items()})
        if _differ(_cut(among, start, half), _cut(together, start, half)):
            return 1, "none"
    for size in (1, 2):
        starts = range(0, count - size + 1, size)
        apart = [run(session, rows(samples, size, start)) for start in starts]
        if not any(_differ(part, _cut(together, at, size)) for at, part in zip(starts, apart, strict=True)):
            return size, "exact"
    return 1, "bound"


def _cut(outputs: Sequence[np.ndarray], start: int, count: int) -> Sequence[np.ndarray]:
    return [output[start : start + count] for output in outputs]


def _differ(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> bool:
    """Whether any bit differs between the outputs of two runs."""
    for a, b in zip(left, right, strict=True):
        if not np.array_equal(a, b) if a.dtype.hasobject else a.tobytes() != b.tobytes():
            return True
    return False


def make_ready(session: Session, samples: Arrays, sizes: Buckets, batches: bool) -> Mapping[int, Arrays]:
    """Run every size once, to make kernels and memory ready. Returns the inputs by their rows.

    On a GPU all of them, however long it takes: a batch of a new size would hold up the requests of a server in use.
    """
    began = time.perf_counter()
    ready: dict[int, Arrays] = {}
    for size in sizes:
        ready[size] = rows(samples, size) if batches else samples
        run(session, ready[size])
        if session.on_cpu and time.perf_counter() - began > _WARM_UP_S / (1 + _ROUNDS):
            break
    return ready


def learn(
    session: Session, ready: Mapping[int, Arrays], open_on: Callable[[int], Session], threads: int
) -> tuple[CostModel, Wide | None]:
    """What each size costs, and the graph on ``threads`` threads where that pays, and gives the same bits."""
    if _measure(session, ready[max(ready)]) < _LONG_S:
        return _learn_cost(session, ready), None
    others = _threads()
    wide = open_on(threads) if threads > 1 else None
    helpers = _threads() - others
    if wide is not None and not _gives_same_bits(session, wide, ready):
        wide = None
    with quiet.alone(), _apart_from(helpers):
        if wide is None:
            return _learn_cost(session, ready), None
        one_s, all_s = _compare(session, wide, ready)
        cost = _learn_cost(session, ready, one_s)
        if _find_gain(one_s, all_s) < _WORTH_WIDENING:
            return cost, None
        return cost, Wide(wide, _learn_cost(wide, ready, all_s), threads)


def _learn_cost(session: Session, ready: Mapping[int, Arrays], found_s: Mapping[int, float] | None = None) -> CostModel:
    """What each size costs; ``found_s`` are seconds that some of them took before.

    The best of some rounds counts, and a round has all sizes: whatever else the machine does for a while would be taken
    for the cost of one of them, and batches be made far too small or too large for as long as the version serves.
    """
    best_s = dict(found_s or {})
    for _ in range(_ROUNDS):
        for size, inputs in ready.items():
            best_s[size] = min(best_s.get(size, math.inf), _measure(session, inputs))
    cost = CostModel()
    for size, seconds in best_s.items():
        cost.observe(size, seconds)
    return cost


def _gives_same_bits(session: Session, wide: Session, ready: Mapping[int, Arrays]) -> bool:
    tried = [inputs for size, inputs in ready.items() if size <= _MOST_TRIED]
    # A row less too, for threads may halve a batch, and its last row be computed alone.
    tried += [rows(inputs, size - 1) for size, inputs in ready.items() if 2 < size <= _MOST_TRIED]
    return not any(_differ(run(wide, inputs), run(session, inputs)) for inputs in tried)


def _compare(session: Session, wide: Session, ready: Mapping[int, Arrays]) -> tuple[dict[int, float], dict[int, float]]:
    """The best seconds of a small, a middle and a large batch, on one core and on all of them."""
    sizes = sorted(ready)
    sizes = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
    one_s, all_s = dict.fromkeys(sizes, math.inf), dict.fromkeys(sizes, math.inf)
    began = time.perf_counter()
    rounds = 0
    while True:
        for size in sizes:
            one_s[size] = min(one_s[size], _measure(session, ready[size]))
            all_s[size] = min(all_s[size], _measure(wide, ready[size]))
        took_s = time.perf_counter() - began
        rounds += 1
        pays = _find_gain(one_s, all_s) >= _WORTH_WIDENING
        if rounds >= _ROUNDS and took_s > (_COMPARE_S if pays else _DOUBT_S):
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


def run(session: Session, inputs: Arrays) -> Sequence[np.ndarray]:
    """As ``session.run``; raises NotReady for whatever it raises."""
    try:
        return session.run(inputs)
    except Exception as error:
        raise NotReady(f"the graph fails on its own samples: {first_line(error)}") from error
