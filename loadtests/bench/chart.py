"""A picture of the result, where matplotlib is installed."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loadtests.bench.result import Result


def can_draw() -> bool:
    return find_spec("matplotlib") is not None


def draw_chart(result: Result, path: Path) -> None:
    """One panel for each model and encoding: rows/s of every peer by number of clients, the ceiling as a line."""
    import_module("matplotlib").use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    panels = list(dict.fromkeys((cell.model, cell.encoding) for cell in result.cells))
    figure, grid = pyplot.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.4), squeeze=False, layout="constrained"
    )
    for axes, (model, encoding) in zip(grid[0], panels, strict=True):
        _draw_panel(axes, result, model, encoding)
    grid[0][0].set_ylabel("rows/s")
    grid[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{result.machine.cpu}, {result.machine.cores} cores", fontsize=9)
    figure.savefig(path, dpi=160)
    pyplot.close(figure)


def _draw_panel(axes: Any, result: Result, model: str, encoding: str) -> None:
    cells = [cell for cell in result.cells if (cell.model, cell.encoding) == (model, encoding)]
    clients = sorted({cell.clients for cell in cells})
    width = 0.8 / max(1, len(result.peers))
    for place, peer in enumerate(result.peers):
        rates = {cell.clients: cell.rows_per_s for cell in cells if cell.peer == peer}
        positions = [clients.index(count) + (place + 0.5) * width - 0.4 for count in rates]
        axes.bar(positions, list(rates.values()), width * 0.95, label=peer, color=f"C{place}")
    for ceiling in result.ceilings:
        if ceiling.model == model:
            axes.axhline(ceiling.best.rows_per_s, color="0.5", linestyle=":", linewidth=1, label="ceiling")
    axes.set_title(f"{model}, {encoding}", fontsize=10)
    axes.set_xticks(range(len(clients)), [str(count) for count in clients])
    axes.set_xlabel("clients")
    axes.spines[["top", "right"]].set_visible(False)
