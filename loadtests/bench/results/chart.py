"""The result as a picture, if matplotlib is installed: each server's requests/s, and the first server's multiple of it.

There is one row of panels for each model and encoding, and one column for each number of clients. The longest bar is on
top.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loadtests.bench.results.result import IN_PROCESS, Cell, Result, compare

OWN, OTHER, CEILING = "#d9480f", "#74879a", "#343a40"
PANEL_WIDTH_IN, BAR_HEIGHT_IN, PANEL_MARGIN_IN = 4.6, 0.27, 0.75
LEAST_WIDTH_IN = 9.2  # the title's


def can_draw() -> bool:
    return find_spec("matplotlib") is not None


def draw_chart(result: Result, path: Path) -> None:
    import_module("matplotlib").use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    kinds = list(dict.fromkeys((cell.model, cell.encoding) for cell in result.cells))
    clients = sorted({cell.clients for cell in result.cells})
    height = sum(len({c.peer for c in result.cells if (c.model, c.encoding) == kind} - {IN_PROCESS}) for kind in kinds)
    size = (
        max(LEAST_WIDTH_IN, PANEL_WIDTH_IN * len(clients)),
        BAR_HEIGHT_IN * height + PANEL_MARGIN_IN * (len(kinds) + 1),
    )
    figure, grid = pyplot.subplots(len(kinds), len(clients), figsize=size, squeeze=False, layout="constrained")
    for line, (model, encoding) in zip(grid, kinds, strict=True):
        for axes, count in zip(line, clients, strict=True):
            _draw_panel(axes, result, order_cells(result, model, encoding, count))
            axes.set_title(f"{model}, {encoding}, {count} client{'s' if count > 1 else ''}", fontsize=10, loc="left")
    machine = result.machine
    figure.suptitle(
        f"requests/s, one row each; in brackets: how many times as many {result.peers[0]} answers; "
        f"dashed: ONNX Runtime in process\n{machine.cpu}, {machine.cores} cores with the load generator, "
        f"{machine.date[:10]}, commit {machine.commit[:12] or 'unknown'}",
        fontsize=10,
    )
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def order_cells(result: Result, model: str, encoding: str, clients: int) -> list[Cell]:
    """The servers' cells of one panel, the most requests first."""
    cells = [cell for cell in _find_panel(result, model, encoding, clients) if cell.peer != IN_PROCESS]
    return sorted(cells, key=lambda cell: -cell.rows_per_s)


def _find_panel(result: Result, *key: str | int) -> list[Cell]:
    return [cell for cell in result.cells if (cell.model, cell.encoding, cell.clients) == key]


def label_bar(cell: Cell, own: Cell | None) -> str:
    """The rate and, for another server, how many times as much ours is."""
    text = f"{cell.rows_per_s:,.0f}"
    ratio = compare(own, cell) if own and own is not cell else None
    return f"{text}  ({ratio.middle:.3g}×)" if ratio else text


def _draw_panel(axes: Any, result: Result, cells: list[Cell]) -> None:
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    if not cells:
        axes.set_yticks([])
        return
    own = next((cell for cell in cells if cell.peer == result.peers[0]), None)
    places = range(len(cells))
    rates = [cell.rows_per_s for cell in cells]
    axes.barh(places, rates, 0.75, color=[OWN if cell is own else OTHER for cell in cells])
    axes.set_yticks(places, [cell.peer for cell in cells], fontsize=9)
    axes.invert_yaxis()
    for place, cell in zip(places, cells, strict=True):
        axes.annotate(
            label_bar(cell, own), (cell.rows_per_s, place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8.5, fontweight="bold" if cell is own else "normal",
        )  # fmt: skip
    axes.set_xlim(0, max(rates) * 1.35 or 1)
    for ceiling in _find_panel(result, cells[0].model, cells[0].encoding, cells[0].clients):
        if ceiling.peer == IN_PROCESS and ceiling.rows_per_s <= max(rates) * 1.35:
            axes.axvline(ceiling.rows_per_s, color=CEILING, linestyle="--", linewidth=1)
