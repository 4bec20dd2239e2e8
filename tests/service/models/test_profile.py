"""Runs before a version serves: measured alone, and on all cores only where that pays and gives the same bits."""

import contextlib
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
from service.models.profile import measure_costs
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


def widen(times: dict[Session, float], row_s: float, wide_row_s: float, all_cores: bytes) -> AllCores | None:
    """What ``measure_costs`` makes of a graph whose rows take so long on one thread and on two."""
    session, other = Session(graphs.double()), Session(all_cores, intra_op_threads=2)
    times |= {session: row_s, other: wide_row_s}
    cost, found = measure_costs(session, READY, {2: other}.__getitem__, 2, {"x": 0}, Budget(1e9))
    assert cost.predict(4) == pytest.approx(4 * row_s)
    return found


def multiply(factor: np.float32) -> bytes:
    return graphs.build(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 3])],
        [("y", TensorProto.FLOAT, ["batch", 3])],
        {"factor": np.array(factor, np.float32)},
    )


@pytest.mark.parametrize(
    ("wide_row_s", "factor", "widens"),
    [(0.82e-3, 2, True), (0.84e-3, 2, False), (0.1e-3, np.nextafter(np.float32(2), np.float32(3)), False)],
    ids=["faster", "hardly faster", "much faster, with other bits"],
)
def test_batch_that_is_alone_gets_all_cores_where_they_pay(
    times: dict[Session, float], wide_row_s: float, factor: np.float32, widens: bool
) -> None:
    """All cores are used where they are 1.2 times as fast and give the same bits."""
    found = widen(times, 1e-3, wide_row_s, multiply(factor))
    assert (found is not None) == widens
    if found is not None:
        assert (found.threads, found.cost.predict(4)) == (2, pytest.approx(4 * wide_row_s))


def test_best_of_all_rounds_counts(monkeypatch: pytest.MonkeyPatch, times: dict[Session, float]) -> None:
    """A machine that gets busy during the comparison does not make all cores seem slow."""
    measure, seen = profile._measure, set()

    def measure_and_disturb(session: Session, inputs: Arrays) -> float:
        is_first = (session, len(inputs["x"])) not in seen
        seen.add((session, len(inputs["x"])))
        return measure(session, inputs) * (1 if is_first else 3)

    monkeypatch.setattr(profile, "_measure", measure_and_disturb)
    monkeypatch.setattr(profile, "_COMPARE_S", 1e-3)
    found = widen(times, 1e-3, 0.5e-3, multiply(np.float32(2)))
    assert found is not None
    assert found.cost.predict(max(READY)) == pytest.approx(max(READY) * 0.5e-3)


@pytest.mark.parametrize(("row_s", "threads"), [(60e-6, 2), (1.0, 1)], ids=["short runs", "one thread"])
def test_no_second_session_where_all_cores_cannot_pay(times: dict[Session, float], row_s: float, threads: int) -> None:
    """Batches that take less than half a millisecond, or a single thread, need no second session."""

    def refuse(threads: int) -> Session:
        raise AssertionError(f"a session of {threads} threads was opened")

    session = Session(graphs.double())
    times[session] = row_s
    cost, found = measure_costs(session, READY, refuse, threads, {"x": 0}, Budget(1e9))
    assert (cost.predict(8), found) == (pytest.approx(8 * row_s), None)


def test_graph_without_rows_is_compared_as_a_whole(times: dict[Session, float]) -> None:
    """An output that is one number without any axis has bits to compare too."""
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    content = graphs.build([node], [("x", TensorProto.FLOAT, [3])], [("y", TensorProto.FLOAT, ())])
    session, other = Session(content), Session(content, intra_op_threads=2)
    times |= {session: 1.0, other: 0.5}
    ready = {1: {"x": np.ones(3, np.float32)}}
    assert measure_costs(session, ready, {2: other}.__getitem__, 2, {"x": None}, Budget(1e9))[1] is not None


needs_two_cores = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="places threads on two cores of Linux"
)


def own_threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}


@needs_two_cores
@pytest.mark.parametrize("fails", [False, True], ids=["measured", "failed"])
def test_threads_that_help_stand_apart_while_they_are_compared(
    monkeypatch: pytest.MonkeyPatch, times: dict[Session, float], fails: bool
) -> None:
    """No helper runs on the core of the measuring thread; afterwards all may run anywhere, also after a failure."""
    before, others = os.sched_getaffinity(0), own_threads()
    own: list[set[int]] = []
    helpers: list[set[int]] = []

    def measure(session: Session, inputs: Arrays) -> float:
        own.append(os.sched_getaffinity(0))
        helpers.extend(os.sched_getaffinity(thread) for thread in own_threads() - others)
        if fails and own[-1] != before:
            raise NotReady("not my day")
        return 1.0

    opened: list[Session] = []

    def open_on(threads: int) -> Session:
        opened.append(Session(graphs.double(), intra_op_threads=threads))
        return opened[0]

    monkeypatch.setattr(profile, "_measure", measure)
    with pytest.raises(NotReady) if fails else contextlib.nullcontext():
        measure_costs(Session(graphs.double()), READY, open_on, 2, {"x": 0}, Budget(1e9))
    compared = [cores for cores in own if cores != before]
    assert compared == [{min(before)}] * len(compared) != []
    assert before - {min(before)} in helpers
    assert {frozenset(os.sched_getaffinity(thread)) for thread in {0, *own_threads() - others}} == {frozenset(before)}


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_measurement_waits_for_those_who_load() -> None:
    """``exclusive`` begins when the last other has loaded, and whoever comes meanwhile waits for its end."""
    own, seen = MeasurementLock(), []
    loads, may_end = threading.Event(), threading.Event()

    def load() -> None:
        with own.shared():
            loads.set()
            assert may_end.wait(30)
            seen.append("loaded")

    def measure() -> None:
        with own.shared(), own.exclusive():
            late = in_thread(come_late)
            seen.append("measured")
        late.join(30)

    def come_late() -> None:
        with own.shared():
            seen.append("late")

    threads = [in_thread(load)]
    assert loads.wait(30)
    threads.append(in_thread(measure))
    may_end.set()
    for thread in threads:
        thread.join(30)
    assert seen == ["loaded", "measured", "late"]


def test_two_that_measure_do_so_one_after_the_other() -> None:
    """Two loads that both want to measure are never both inside, and one that fails lets the others go on."""
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
    cost, all_cores = measure_costs(session, READY, {2: other}.__getitem__, 2, {"x": 0}, Budget(1e9))
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
        _, all_cores = measure_costs(session, READY, {2: other}.__getitem__, 2, {"x": 0}, Budget(1e9), "graph")
        assert (all_cores is not None) == widens
