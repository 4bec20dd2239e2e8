"""What it costs to tell of each request: the servers that are compared, the sink of their spans, and the promise."""

from functools import partial
from pathlib import Path

import pytest

from loadtests.bench.models.model import MODELS
from loadtests.bench.peer import BINARY, Site
from loadtests.bench.results.result import TELEMETRY, Cell, Result
from loadtests.bench.results.telemetry_verdict import CLIENTS, MODEL_NAMES, OFF, ON, TRACED
from loadtests.bench.results.verdict import judge
from loadtests.bench.telemetry.cost import make_peers, run_sink
from loadtests.http_client import Request, exchange
from tests.loadtests.bench.results.made_up import MACHINE, make_cell

cell = partial(make_cell, model="tiny", encoding=BINARY)


def test_servers_differ_by_what_they_tell(tmp_path: Path):
    """One has all on as by default, one nothing, and one traces each request; those that tell are scraped."""
    site = Site(Path("python"), 1234, MODELS["tiny"], tmp_path / "repository", tmp_path / "source", 2)
    scraped: set[str] = set()
    told, quiet, traced = (peer.environment(site) for peer in make_peers("http://sink", scraped))
    assert (told["SLUICE_TRACING"], told["OTEL_TRACES_SAMPLER"], told["OTEL_EXPORTER_OTLP_ENDPOINT"]) == (
        "true",
        "",
        "http://sink",
    )
    assert told["SLUICE_ACCESS_LOG"] == str(tmp_path / "access.log")
    assert traced["OTEL_TRACES_SAMPLER"] == "always_on"
    assert not {
        name for name, value in quiet.items() if value and name in told and name not in ("PYTHONPATH", "PYTHONSAFEPATH")
    }
    assert scraped == {site.address}


def test_sink_takes_spans():
    """It answers 200, whatever comes."""
    with run_sink() as address:
        assert exchange(address, Request("/v1/traces", "POST", {}, b"spans")).status == 200


@pytest.mark.parametrize(
    ("cells", "holds"),
    [
        ((cell(ON, 96), cell(OFF, 100)), True),
        ((cell(ON, 94), cell(OFF, 100)), False),
        ((cell(ON, 96), cell(OFF, 100), cell(TRACED, 10)), True),
        ((cell(ON, 96),), None),
        ((cell(ON, 96, wrong_status=1), cell(OFF, 100)), None),
    ],
    ids=["holds", "does not", "all traces", "one server", "errors"],
)
def test_promise_holds_for_each_cell(cells: tuple[Cell, ...], holds: bool | None):
    """The share of throughput that is left must be 0.95; a server with errors is not compared."""
    result = Result(MACHINE, {}, {}, (), cells, (), only=TELEMETRY)
    rows = {row.figure: row for row in judge(result)}
    assert len(rows) == len(MODEL_NAMES) * len(CLIENTS) * 2
    (row,) = (row for name, row in rows.items() if name.startswith(f"tiny, binary, {cells[0].clients} clients"))
    assert row.holds is holds
