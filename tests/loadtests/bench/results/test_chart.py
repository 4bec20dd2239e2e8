"""The chart: what stands on its bars, and that it can be drawn."""

from pathlib import Path

import pytest

from loadtests.bench.load.wrk import Sample
from loadtests.bench.machine import Machine
from loadtests.bench.results.chart import draw_chart, label_bar, order_cells
from loadtests.bench.results.result import Cell, Result

MACHINE = Machine("A CPU", 2, "Linux 6", "3.11.7", "abc123", "2026-01-01T00:00:00+00:00")


def cell(peer: str, rate: int, clients: int = 1) -> Cell:
    return Cell("tiny", "json", clients, peer, (Sample(rate, 1.0, 0, 0, 0, 0, 0.001, 0.002),))


OWN, OTHER = cell("sluice", 1234), cell("other", 100)
RESULT = Result(MACHINE, {}, {}, (), (OWN, OTHER, cell("onnxruntime", 1300), cell("other", 5, clients=16)), ())


def test_longest_bar_is_on_top() -> None:
    """A panel has the servers of its model, encoding and clients, the most requests first; the ceiling is a line."""
    assert order_cells(RESULT, "tiny", "json", 1) == [OWN, OTHER]
    assert order_cells(RESULT, "tiny", "binary", 1) == []


def test_bars_say_how_many_times() -> None:
    """Another server's bar has our ratio to it; ours, and one that answered nothing, have none."""
    assert label_bar(OTHER, OWN) == "100  (12.3×)"
    assert label_bar(OWN, OWN) == "1,234"
    assert label_bar(cell("dead", 0), OWN) == "0"
    assert label_bar(OTHER, None) == "100"


def test_chart_is_drawn(tmp_path: Path) -> None:
    """A picture comes out even when a panel is empty."""
    pytest.importorskip("matplotlib")
    draw_chart(RESULT, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
