"""When workers are started again, which one listens, and how a stuck one is replaced."""

import os
import signal
from pathlib import Path

import pytest

from service import worker as module
from service.process.restarts import MAX_DELAY_S, Restarts, WorkerState, choose_listener, choose_paused
from tests.support.models import graphs
from tests.support.servers import ASGI, Serving, settings_for


def test_worker_that_dies_at_start_waits_longer_each_time() -> None:
    """A worker that was ready is started at once however often it dies; one that was not waits 0, 0.5, 1, 2 … 30 s."""
    restarts = Restarts()
    assert [restarts.find_delay_s(was_ready=True) for _ in range(5)] == [0.0] * 5
    assert restarts.failures == 0
    delays = [restarts.find_delay_s(was_ready=False) for _ in range(55)]
    assert (delays[:5], delays[-1]) == ([0.0, 0.5, 1.0, 2.0, 4.0], MAX_DELAY_S)
    assert restarts.find_delay_s(was_ready=True) == restarts.find_delay_s(was_ready=False) == 0.0


IMPORTS = WorkerState(is_first=True, has_started=False)
LOADS = WorkerState(is_first=True, has_started=True)
LISTENS = WorkerState(is_first=True, has_started=True, listens=True)
SERVES = WorkerState(is_first=True, has_started=True, listens=True, is_ready=True)
RESTARTED = WorkerState(is_first=False, has_started=True)
RESTARTED_LONG_AGO = WorkerState(is_first=False, has_started=True, waits_long=True)


@pytest.mark.parametrize(
    ("workers", "listener"),
    [
        ([IMPORTS, LOADS, LOADS], LOADS),
        ([IMPORTS, LISTENS, LOADS], None),
        ([SERVES, RESTARTED_LONG_AGO], None),
        ([RESTARTED], None),
        ([RESTARTED_LONG_AGO], RESTARTED_LONG_AGO),
    ],
    ids=["probes hear that it loads", "one is enough", "another serves", "a quick start", "a slow start"],
)
def test_worker_listens_before_it_is_ready_if_alone(workers: list[WorkerState], listener: WorkerState | None) -> None:
    """A first worker listens as soon as its event loop runs, one that replaces another only if it loads for long."""
    assert choose_listener(workers) is listener


def test_worker_that_is_not_ready_pauses_when_another_is() -> None:
    """When one worker is ready, no other one answers that it is loading."""
    assert choose_paused([LISTENS, LOADS]) == []
    assert choose_paused([LISTENS, SERVES]) == [LISTENS]


def test_worker_that_is_replaced_ends_as_told_but_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck worker sends itself SIGTERM, and drains only briefly."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    sent: list[tuple[int, int]] = []
    with Serving(settings_for(tmp_path, drain_s=60.0), ASGI) as server:
        assert server.worker.drain_s == 60.0
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", lambda *call: sent.append(call))
            module.Worker.replace(server.worker, "a lane is stuck")
        assert sent == [(os.getpid(), signal.SIGTERM)]
        assert server.worker.drain_s == module.REPLACE_DRAIN_S
