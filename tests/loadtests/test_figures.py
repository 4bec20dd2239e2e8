"""Figures from the CSV files that Locust leaves."""

import json
import math
from pathlib import Path

import pytest

from loadtests.figures import NoFigures, read_figures

HEADER = "Type,Name,Request Count,Failure Count,Requests/s,Average Response Time,50%,95%,99%\n"
FAILURES = "Method,Name,Error,Occurrences\n"


def write(folder: Path, stats: str, failures: str = FAILURES) -> Path:
    (folder / "r_stats.csv").write_text(HEADER + stats)
    (folder / "r_failures.csv").write_text(failures)
    return folder / "r"


def test_unreadable_figures_are_refused(tmp_path: Path) -> None:
    """Without a file, whose path is reported, or without one readable total there is nothing to judge."""
    with pytest.raises(NoFigures, match=r"r_stats\.csv is missing"):
        read_figures(tmp_path / "r")
    for stats in ("", "POST,/classify,5,0,1.0,1,1,2,3\n", ",Aggregated,many,0,1.0,1,1,2,3\n"):
        with pytest.raises(NoFigures):
            read_figures(write(tmp_path, stats))


def test_no_request_has_no_times(tmp_path: Path) -> None:
    """Locust's N/A is not a number here, and no error rate is claimed for no requests."""
    figures = read_figures(write(tmp_path, ",Aggregated,0,0,0.0,0,N/A,N/A,N/A\n"))
    assert figures.routes == ()
    assert math.isnan(figures.measured.p99_s)
    assert math.isnan(figures.measured.error_rate)


def test_times_become_seconds_and_failures_are_sorted(tmp_path: Path) -> None:
    """Milliseconds become seconds; the most frequent failure comes first."""
    failures = FAILURES + "POST,/classify,seldom,1\nPOST,/classify,often,4\n"
    stats = "POST,/classify,50,5,10.5,20,12,80,250\n,Aggregated,50,5,10.5,20,12,80,250\n"
    figures = read_figures(write(tmp_path, stats, failures))
    assert figures.measured.error_rate == pytest.approx(0.1)
    assert (figures.total.mean_s, figures.total.p50_s, figures.total.p99_s) == (0.02, 0.012, 0.25)
    assert [failure.text for failure in figures.failures] == ["often", "seldom"]
    assert [route.name for route in figures.routes] == ["/classify"]


GENERATOR = {"cores": 0.5, "not_sent": 50, "first_events_s": [0.1, 0.2, 0.4], "quantiles_ms": {"/a": [0.25, 1.5, 2.5]}}


def test_what_was_never_sent_has_failed(tmp_path: Path) -> None:
    """Requests that were due while no caller was free count as requests and as failures."""
    prefix = write(tmp_path, "POST,/a,50,0,10.5,20,0,2,3\n,Aggregated,50,0,10.5,20,0,2,3\n")
    (tmp_path / "r_generator.json").write_text(json.dumps(GENERATOR))
    figures = read_figures(prefix)
    assert (figures.measured.requests, figures.measured.error_rate) == (100, 0.5)


def test_times_below_a_millisecond_are_kept(tmp_path: Path) -> None:
    """Locust's file has whole milliseconds; the generator adds the others, and the times to the first event."""
    prefix = write(tmp_path, "POST,/a,50,0,10.5,20,0,2,3\n,Aggregated,50,0,10.5,20,0,2,3\n")
    (tmp_path / "r_generator.json").write_text(json.dumps(GENERATOR))
    figures = read_figures(prefix)
    [route] = figures.routes
    assert (route.p50_s, route.p95_s, route.p99_s) == (0.00025, 0.0015, 0.0025)
    assert (figures.generator.first_p50_s, figures.generator.cores) == (0.2, 0.5)
