"""Restarts of workers in the metrics."""

import signal
from pathlib import Path

import pytest

from service.metrics.meters import Metrics
from service.metrics.restarts import CAUSES, RestartCounter, find_cause


@pytest.mark.parametrize(
    ("code", "loading", "cause"),
    [
        (-signal.SIGSEGV, True, "load"),
        (-signal.SIGSEGV, False, "crash"),
        (-signal.SIGKILL, False, "killed"),
        (3, False, "failed"),
        (0, False, "stopped"),
    ],
)
def test_cause_is_read_from_how_a_worker_ended(code: int, loading: bool, cause: str) -> None:
    """The exit code decides, unless a version that was loaded is to blame."""
    assert find_cause(code, loading) == cause


def test_workers_tell_what_the_supervisor_has_counted(tmp_path: Path) -> None:
    """Every cause is exposed from the start, and the supervisor does not count as a worker."""
    counter, metrics = RestartCounter(tmp_path), Metrics(tmp_path)
    assert metrics.sums()["sluice_worker_restarts"] == {(cause,): [0.0] for cause in CAUSES}
    counter.count(-signal.SIGKILL, loading=False)
    counter.count(-signal.SIGKILL, loading=False)
    sums = metrics.sums()
    assert sums["sluice_worker_restarts"]["killed",] == [2.0]
    assert (sums["sluice_workers"][()], len(metrics.workers())) == ([1.0], 1)
