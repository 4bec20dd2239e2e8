"""Runs before a version serves: measured alone, and on all cores only where that pays and gives the same bits."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.engine.execution.runner import AllCores
from service.engine.onnx.session import Session
from service.engine.tensors import Arrays
from service.errors import NotReady
from service.models import profile
from service.models.measurement_lock import MeasurementLock, measurement_lock
from service.models.profile import learn
from service.models.verify import Budget
from tests.support.models import graphs

READY: Mapping[int, Arrays] = {
    rows: {"x": np.arange(3.0 * rows).reshape(rows, 3).astype("f4")} for rows in (1, 2, 4, 8)
}


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Session, float]]:
    """Seconds that a run of each session is said to take, per row; what is measured otherwise is this machine's."""
    seconds: dict[Session, float] = {}

    def measure(session: Session, inputs: Arrays) -> float:
        return seconds[session] * len(inputs["x"])

    monkeypatch.setattr(profile, "_measure", measure)
    monkeypatch.setattr(profile, "_COMPARE_S", 0.0)
    with measurement_lock.shared():
        yield seconds


def widen(
    times: dict[Session, float], row_s: float, wide_row_s: float, all_cores: bytes | None = None
) -> AllCores | None:
    """What ``learn`` makes of a graph whose rows take so long on one thread and on two."""
    session, other = Session(graphs.double()), Session(all_cores or graphs.double(), intra_op_threads=2)
    times |= {session: row_s, other: wide_row_s}
    cost, found = learn(session, READY, {2: other}.__getitem__, 2, {"x": 0}, Budget(1e9))
    assert cost.predict(4) == pytest.approx(4 * row_s)
    return found


def test_other_bits_on_all_cores_are_refused(times: dict[Session, float]) -> None:
    """A graph that gives other bits on several threads runs on one, however much faster it were."""
    tripled = graphs.build(
        [helper.make_node("Mul", ["x", "three"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 3])],
        [("y", TensorProto.FLOAT, ["batch", 3])],
        {"three": np.array(np.nextafter(np.float32(2), np.float32(3)), np.float32)},
    )
    assert widen(times, 1e-3, 0.1e-3, tripled) is None


def test_all_cores_that_gain_little_are_given_back(times: dict[Session, float]) -> None:
    """Less than 1.2 times as fast is not worth the weights in memory once more."""
    assert widen(times, 1e-3, 0.84e-3) is None


def test_batch_that_is_alone_gets_all_cores_where_they_are_faster(times: dict[Session, float]) -> None:
    """From 1.2 times as fast on, with what it costs so."""
    found = widen(times, 1e-3, 0.82e-3)
    assert found is not None
    assert found.threads == 2
    assert found.cost.predict(4) == pytest.approx(4 * 0.82e-3)


def test_best_of_all_rounds_counts(monkeypatch: pytest.MonkeyPatch, times: dict[Session, float]) -> None:
    """A machine that gets busy during the comparison does not make all cores seem slow."""
    measure, seen = profile._measure, set()

    def measure_and_disturb(session: Session, inputs: Arrays) -> float:
        is_first = (session, len(inputs["x"])) not in seen
        seen.add((session, len(inputs["x"])))
        return measure(session, inputs) * (1 if is_first else 3)

    monkeypatch.setattr(profile, "_measure", measure_and_disturb)
    monkeypatch.setattr(profile, "_COMPARE_S", 1e-3)
    found = widen(times, 1e-3, 0.5e-3)
    assert found is not None
    assert found.cost.predict(max(READY)) == pytest.approx(max(READY) * 0.5e-3)


def test_short_runs_are_not_tried_on_all_cores(times: dict[Session, float]) -> None:
    """Where the largest batch takes less than half a millisecond no second session is opened."""
    session = Session(graphs.double())
    times[session] = 60e-6
    cost, found = learn(session, READY, _refuse, 2, {"x": 0}, Budget(1e9))
    assert found is None
    assert cost.predict(8) == pytest.approx(480e-6)


def test_one_thread_opens_no_second_session(times: dict[Session, float]) -> None:
    """With one core, or a number of threads that was asked for, there is nothing to compare."""
    session = Session(graphs.double())
    times[session] = 1.0
    assert learn(session, READY, _refuse, 1, {"x": 0}, Budget(1e9))[1] is None


def test_graph_without_rows_is_compared_as_a_whole(times: dict[Session, float]) -> None:
    """An output that is one number without any axis has bits to compare too."""
    shape: tuple[int, ...] = ()
    content = graphs.build(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        [("x", TensorProto.FLOAT, [3])],
        [("y", TensorProto.FLOAT, shape)],
    )
    session, other = Session(content), Session(content, intra_op_threads=2)
    times |= {session: 1.0, other: 0.5}
    assert (
        learn(session, {1: {"x": np.ones(3, np.float32)}}, {2: other}.__getitem__, 2, {"x": None}, Budget(1e9))[1]
        is not None
    )


needs_two_cores = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="places threads on two cores of Linux"
)


def own_threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}


class Watched:
    """A measurement that notes which cores its thread and those that its session brought were allowed."""

    def __init__(self, others: set[int]) -> None:
        self.others = others
        self.own: list[set[int]] = []
        self.helpers: list[set[int]] = []

    def __call__(self, session: Session, inputs: Arrays) -> float:
        self.own.append(os.sched_getaffinity(0))
        self.helpers += [os.sched_getaffinity(thread) for thread in own_threads() - self.others]
        return 1.0


@needs_two_cores
def test_threads_that_help_stand_apart_while_they_are_compared(
    monkeypatch: pytest.MonkeyPatch, times: dict[Session, float]
) -> None:
    """The measuring thread has a core on which no helper runs; afterwards all may run anywhere, as before."""
    session, before = Session(graphs.double()), os.sched_getaffinity(0)
    watched = Watched(own_threads())
    monkeypatch.setattr(profile, "_measure", watched)
    learn(session, READY, lambda threads: Session(graphs.double(), intra_op_threads=threads), 2, {"x": 0}, Budget(1e9))
    compared = [own for own in watched.own if own != before]
    assert compared
    assert all(own == {min(before)} for own in compared)
    assert before - {min(before)} in watched.helpers
    assert os.sched_getaffinity(0) == before


@needs_two_cores
def test_comparison_that_fails_leaves_its_threads_where_they_were(
    monkeypatch: pytest.MonkeyPatch, times: dict[Session, float]
) -> None:
    """A graph that fails on its samples does not cost the server its cores."""
    session, before = Session(graphs.double()), os.sched_getaffinity(0)
    opened: list[Session] = []

    def open_on(threads: int) -> Session:
        opened.append(Session(graphs.double(), intra_op_threads=threads))
        return opened[0]

    def fail(session: Session, inputs: Arrays) -> float:
        if opened and os.sched_getaffinity(0) != before:
            raise NotReady("not my day")
        return 1.0

    others = own_threads()
    monkeypatch.setattr(profile, "_measure", fail)
    with pytest.raises(NotReady):
        learn(session, READY, open_on, 2, {"x": 0}, Budget(1e9))
    assert {frozenset(os.sched_getaffinity(thread)) for thread in {0, *own_threads() - others}} == {frozenset(before)}


def _refuse(threads: int) -> Session:
    raise AssertionError(f"a session of {threads} threads was opened")


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_measurement_waits_for_those_who_load() -> None:
    """``alone`` begins when the last other has loaded, and whoever comes meanwhile waits for its end."""
    own, seen = MeasurementLock(), []
    loads, may_end, measured = threading.Event(), threading.Event(), threading.Event()

    def load() -> None:
        with own.shared():
            loads.set()
            assert may_end.wait(30)
            seen.append("loaded")

    def measure() -> None:
        with own.shared(), own.exclusive():
            late = in_thread(come_late)
            assert not measured.is_set()
            seen.append("measured")
            measured.set()
        late.join(30)

    def come_late() -> None:
        with own.shared():
            assert measured.is_set()
            seen.append("late")

    threads = [in_thread(load)]
    assert loads.wait(30)
    threads.append(in_thread(measure))
    may_end.set()
    for thread in threads:
        thread.join(30)
    assert seen == ["loaded", "measured", "late"]


def test_two_that_measure_do_so_one_after_the_other() -> None:
    """Neither waits for the other for ever, and never are both inside."""
    own, both, inside, most = MeasurementLock(), threading.Barrier(2), [], []

    def measure() -> None:
        with own.shared():
            both.wait(30)
            with own.exclusive():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [in_thread(measure) for _ in range(2)]
    for thread in threads:
        thread.join(30)
    assert most == [1, 1]


def test_measurement_that_fails_lets_the_others_go_on() -> None:
    """Whatever it raises, the next can measure."""
    own = MeasurementLock()
    with pytest.raises(ZeroDivisionError), own.shared(), own.exclusive():
        raise ZeroDivisionError
    with own.shared(), own.exclusive():
        pass


@pytest.mark.parametrize(("wide_s", "widens"), [(0.3, True), (0.6, False)])
def test_graph_that_takes_long_is_run_once_each_way(
    monkeypatch: pytest.MonkeyPatch, times: dict[Session, float], wide_s: float, widens: bool
) -> None:
    """Runs that take longer than the comparison are not repeated."""
    session, other = Session(graphs.double()), Session(graphs.double(), intra_op_threads=2)
    times |= {session: 0.6 / 8, other: wide_s / 8}
    measure, ran = profile._measure, []
    monkeypatch.setattr(profile, "_measure", lambda session, inputs: ran.append(session) or measure(session, inputs))
    cost, all_cores = learn(session, READY, {2: other}.__getitem__, 2, {"x": 0}, Budget(1e9))
    assert ran == [session, *[session, other] * len(READY)]
    assert (cost.predict(8), all_cores is not None) == (pytest.approx(0.6), widens)


@pytest.mark.parametrize(("first_s", "then_s", "widens"), [(0.3, 0.6, True), (0.6, 0.3, False)])
def test_graph_that_is_loaded_again_runs_on_as_many_cores_as_before(
    monkeypatch: pytest.MonkeyPatch, times: dict[Session, float], first_s: float, then_s: float, widens: bool
) -> None:
    """Another session has the weights once more: whether there is one does not change with what the machine does."""
    session, other = Session(graphs.double()), Session(graphs.double(), intra_op_threads=2)
    monkeypatch.setattr(profile, "_decided", {})
    for wide_s in (first_s, then_s):
        times |= {session: 0.6, other: wide_s}
        _, all_cores = learn(session, READY, {2: other}.__getitem__, 2, {"x": 0}, Budget(1e9), "graph")
        assert (all_cores is not None) == widens
