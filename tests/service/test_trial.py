"""Runs before a version serves: measured alone, and on all cores only where that pays and gives the same bits."""

import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
from onnx import TensorProto, helper

from service import trial
from service.engine.lane import Wide
from service.engine.session import Session
from service.engine.tensors import Arrays
from service.trial import Quiet, learn, quiet
from tests import graphs

READY: Mapping[int, Arrays] = {
    rows: {"x": np.arange(3.0 * rows).reshape(rows, 3).astype("f4")} for rows in (1, 2, 4, 8)
}


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Session, float]]:
    """Seconds that a run of each session is said to take, per row; what is measured otherwise is this machine's."""
    seconds: dict[Session, float] = {}

    def measure(session: Session, inputs: Arrays) -> float:
        return seconds[session] * len(inputs["x"])

    monkeypatch.setattr(trial, "_measure", measure)
    monkeypatch.setattr(trial, "_COMPARE_S", 0.0)
    monkeypatch.setattr(trial, "_DOUBT_S", 0.0)
    with quiet.beside():
        yield seconds


def widen(times: dict[Session, float], row_s: float, wide_row_s: float, wide: bytes | None = None) -> Wide | None:
    """What ``learn`` makes of a graph whose rows take so long on one thread and on two."""
    session, other = Session(graphs.double()), Session(wide or graphs.double(), intra_op_threads=2)
    times |= {session: row_s, other: wide_row_s}
    cost, found = learn(session, READY, {2: other}.__getitem__, 2)
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


def test_short_runs_are_not_tried_on_all_cores(times: dict[Session, float]) -> None:
    """Where the largest batch takes less than half a millisecond no second session is opened."""
    session = Session(graphs.double())
    times[session] = 60e-6
    cost, found = learn(session, READY, _refuse, 2)
    assert found is None
    assert cost.predict(8) == pytest.approx(480e-6)


def test_one_thread_opens_no_second_session(times: dict[Session, float]) -> None:
    """With one core, or a number of threads that was asked for, there is nothing to compare."""
    session = Session(graphs.double())
    times[session] = 1.0
    assert learn(session, READY, _refuse, 1)[1] is None


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
    assert learn(session, {1: {"x": np.ones(3, np.float32)}}, {2: other}.__getitem__, 2)[1] is not None


def _refuse(threads: int) -> Session:
    raise AssertionError(f"a session of {threads} threads was opened")


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_measurement_waits_for_those_who_load() -> None:
    """``alone`` begins when the last other has loaded, and whoever comes meanwhile waits for its end."""
    own, seen = Quiet(), []
    loads, may_end, measured = threading.Event(), threading.Event(), threading.Event()

    def load() -> None:
        with own.beside():
            loads.set()
            assert may_end.wait(30)
            seen.append("loaded")

    def measure() -> None:
        with own.beside(), own.alone():
            late = in_thread(come_late)
            assert not measured.is_set()
            seen.append("measured")
            measured.set()
        late.join(30)

    def come_late() -> None:
        with own.beside():
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
    own, both, inside, most = Quiet(), threading.Barrier(2), [], []

    def measure() -> None:
        with own.beside():
            both.wait(30)
            with own.alone():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [in_thread(measure) for _ in range(2)]
    for thread in threads:
        thread.join(30)
    assert most == [1, 1]


def test_measurement_that_fails_lets_the_others_go_on() -> None:
    """Whatever it raises, the next can measure."""
    own = Quiet()
    with pytest.raises(ZeroDivisionError), own.beside(), own.alone():
        raise ZeroDivisionError
    with own.beside(), own.alone():
        pass
