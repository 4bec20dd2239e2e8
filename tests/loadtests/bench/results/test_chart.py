"""The chart: what stands on its bars, and that it can be drawn."""

from pathlib import Path

import pytest

from loadtests.bench.results.chart import draw_chart, label_bar, order_cells
from loadtests.bench.results.result import Cell, Result
from tests.loadtests.bench.results.made_up import MACHINE, make_cell

OWN, OTHER = make_cell("sluice", 1234), make_cell("other", 100)
CELLS = (OTHER, OWN, make_cell("onnxruntime", 1300), make_cell("other", 5, clients=16))
RESULT = Result(MACHINE, {}, {}, (), CELLS, ())


def test_longest_bar_is_on_top() -> None:
    """A panel has the servers of its model, encoding and clients, the most requests first; the ceiling is a line."""
    assert order_cells(RESULT, "tiny", "json", 64) == [OWN, OTHER]
    assert order_cells(RESULT, "tiny", "binary", 64) == []


@pytest.mark.parametrize(
    ("cell", "own", "label"),
    [(OTHER, OWN, "100  (12.3×)"), (OWN, OWN, "1,234"), (make_cell("dead", 0), OWN, "0"), (OTHER, None, "100")],
)
def test_bars_say_how_many_times(cell: Cell, own: Cell | None, label: str) -> None:
    """Another server's bar has our ratio to it; ours, and one that answered nothing, have none."""
    assert label_bar(cell, own) == label


def test_chart_is_drawn(tmp_path: Path) -> None:
    """A picture comes out even when a panel is empty."""
    pytest.importorskip("matplotlib")
    draw_chart(RESULT, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
