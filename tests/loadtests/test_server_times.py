"""The server's time, as the difference of two readings of its statistics."""

import math
from collections.abc import Callable

import pytest

from loadtests.server_times import Counts, read_counts, subtract

BEFORE = Counts(requests=10, total_ns=10**9, stages_ns=(1, 1, 1, 1), rows=100, runs=50)


def test_server_without_statistics_has_no_times(serve: Callable, closed_address: str) -> None:
    """Another server, one that is gone and one that answered nothing have none, and that is no failure."""
    with serve() as server:
        assert read_counts(server.address, "plain") is None
        counts = read_counts(server.address, "digits")
    assert counts is not None
    assert subtract(counts, counts) is None
    assert read_counts(closed_address, "digits") is None
    assert subtract(None, BEFORE) is None
    assert subtract(BEFORE, None) is None


def test_restarted_server_has_no_times() -> None:
    """Its counts begin anew, so that a difference would mean nothing."""
    assert subtract(Counts(3, 1, (1, 1, 1, 1), 1, 1), BEFORE) is None


def test_times_are_means_of_the_requests_between_the_readings() -> None:
    """What was before does not count; rows are those of a run."""
    stages_ns = (10**7 + 1, 1, 4 * 10**6 + 1, 1)
    times = subtract(Counts(12, BEFORE.total_ns + 20 * 10**6, stages_ns, rows=108, runs=52), BEFORE)
    assert times is not None
    assert (times.requests, times.rows_per_run) == (2, 4.0)
    assert (times.total_s, times.queue_s, times.compute_s) == pytest.approx((0.01, 0.005, 0.002))


def test_requests_without_a_run_have_no_rows() -> None:
    """A division by no run is no number."""
    times = subtract(Counts(11, BEFORE.total_ns, BEFORE.stages_ns, 100, 50), BEFORE)
    assert times is not None
    assert math.isnan(times.rows_per_run)
