"""gRPC and shared memory against HTTP: what the analyzer is told, what it reports, and the promises."""

import dataclasses
import sys
from functools import partial
from pathlib import Path

import pytest

from loadtests.bench.load.wrk import WrkFailed
from loadtests.bench.models.model import MODELS
from loadtests.bench.peer import BINARY, Site
from loadtests.bench.peers.sluice import SOURCE_ROOT, make_before_peer
from loadtests.bench.results.result import TRANSPORTS, Cell, Result
from loadtests.bench.results.transport_verdict import GRPC, GRPC_SHARED, PICTURE, SHARED, STREAMS
from loadtests.bench.results.verdict import judge
from loadtests.bench.transports.analyzer import Analyzer, read_report
from loadtests.bench.transports.measure import LARGE_PICTURE, TRANSPORT_PEER, add_settings, plan_runs
from tests.loadtests.bench.results.made_up import MACHINE, make_cell

EACH = "tiny, 64 clients:"
REPORT = """\
Concurrency,Inferences/Second,Client Send,Server Queue,p50 latency,p90 latency,p99 latency
16,1500.5,1,2,640,700,1200
"""


def test_analyzer_that_fails_is_reported(tmp_path: Path) -> None:
    """Its last lines are in the reason: an analyzer that is not one, and one that writes no report."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    program = python.with_name("perf_analyzer")
    for script, said in (("echo no model; exit 3", "code 3:\nno model"), ("exit 0", "code 0")):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with pytest.raises(WrkFailed, match=said):
            Analyzer(python, tmp_path).run(MODELS["tiny"], GRPC, 1, "127.0.0.1:1", 0.1)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", REPORT.replace("640", "fast"), REPORT + "32,1,1,1,1,1,1\n"])
def test_report_that_cannot_be_read_is_reported(text: str) -> None:
    """Not a figure of nothing."""
    with pytest.raises(WrkFailed, match="cannot be read"):
        read_report(text, 3.0)


def test_report_gives_rate_and_times() -> None:
    """Requests a second over all windows, and microseconds as seconds."""
    sample = read_report(REPORT, 2.0)
    assert (sample.answers_per_s, sample.p50_s, sample.p99_s) == (1500.5, 640e-6, 1200e-6)


def test_server_offers_what_the_analyzer_asks_for(tmp_path: Path) -> None:
    """The regions of the command are those that the server allows, and a row is twelve MiB."""
    site = Site(Path(sys.executable), 1, LARGE_PICTURE, tmp_path / "repository", tmp_path / "source", 2, (5, 6))
    environment = TRANSPORT_PEER.environment(site)
    assert environment["SLUICE_GRPC_PORT"] == "5"
    assert environment["SLUICE_SHARED_MEMORY"] == "rows*,scores*"
    before = add_settings(make_before_peer(SOURCE_ROOT)).environment(site)
    assert before["SLUICE_GRPC_PORT"] == "5"
    # An older checkout would not start with a setting that it does not know.
    assert "SLUICE_SHARED_MEMORY" not in before
    command = Analyzer(Path("/e/bin/python"), tmp_path).command(LARGE_PICTURE, SHARED, 1, "127.0.0.1:1", 1.0)
    assert command[0] == "/e/bin/perf_analyzer"
    assert command[command.index("--shared-memory") + 1] == "system"
    assert "rows:3,1024,1024" in command
    assert LARGE_PICTURE.make_rows(1).nbytes == 12 << 20
    assert LARGE_PICTURE.score(LARGE_PICTURE.make_rows(1)).shape == (1, 10)


def test_older_checkout_is_measured_beside_this_one() -> None:
    """The two servers are asked over gRPC in the same rounds. The analyzer has a thread for each stream."""
    runs = list(plan_runs(make_before_peer(SOURCE_ROOT)))
    assert {run.clients for run in runs} == {1, 16, 64}
    assert all([peer.name for peer in run.peers] == ["sluice", "before"] for run in runs)
    assert all(run.forms == (GRPC,) for run in runs)
    command = Analyzer(Path("/e/bin/python"), Path()).command(MODELS["tiny"], STREAMS, 64, "127.0.0.1:1", 1.0)
    assert command[command.index("--max-threads") + 1] == "64"


http, grpc, streams = (partial(make_cell, "sluice", encoding=form) for form in (BINARY, GRPC, STREAMS))
A_PICTURE = "a picture of 12 MiB as a tensor, one client: shared memory against a binary body"


def picture(answers: int, encoding: str) -> Cell:
    return make_cell("sluice", answers, model=PICTURE, encoding=encoding, clients=1)


@pytest.mark.parametrize(
    ("cells", "name", "holds"),
    [
        ((streams(12), grpc(10)), f"{EACH} a gRPC st", True),
        ((streams(11), grpc(10)), f"{EACH} a gRPC st", False),
        ((grpc(1),), f"{EACH} rows", None),
        ((dataclasses.replace(grpc(1), rows_per_run=4.0),), f"{EACH} rows", True),
        ((dataclasses.replace(grpc(1), rows_per_run=3.9),), f"{EACH} rows", False),
        ((grpc(61), http(100)), f"{EACH} gRPC against", True),
        ((grpc(59), http(100)), f"{EACH} gRPC against", False),
        ((grpc(61),), f"{EACH} gRPC against", None),
        ((picture(21, SHARED), picture(10, BINARY)), f"{A_PICTURE}, HTTP", True),
        ((picture(19, GRPC_SHARED), picture(10, GRPC)), f"{A_PICTURE}, gRPC", False),
    ],
)
def test_promises_are_ratios_of_the_same_rounds(cells: tuple[Cell, ...], name: str, holds: bool | None) -> None:
    """gRPC must reach 0.6 of HTTP, shared memory twice a body; what was not measured neither holds nor fails."""
    rows = judge(Result(MACHINE, {}, {}, (), cells, (), only=TRANSPORTS))
    assert len(rows) == 10
    [row] = [row for row in rows if row.figure.startswith(name)]
    assert row.holds is holds
