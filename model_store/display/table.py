"""Tables of ``sluice models``: lines as wide as the terminal, such as one for each model of ``list``."""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from model_store.display.size import write_size

_GAP = "  "
_SHRINKING = (("quality", 6), ("aliases", 7), ("task", 6), ("model", 8))
"""The columns that become narrower if lines are too long, in this order, with their least widths."""
_NUMBERS = frozenset({"size"})


def print_table(console: Console, rows: Sequence[Mapping[str, Any]], width: int | None) -> None:
    """Print versions as lines of at most ``width`` cells (None: any), then entries with faults and their reasons.

    ``rows`` are those of ``sluice models list --json``, each with its number of ``older`` versions.
    """
    good = [row for row in rows if row["task"] != "?"]
    print_cells(console, [_write_cells(row) for row in good], width)
    if any(row["older"] for row in good):
        say(console, "(+N): older versions; `sluice models list MODEL` lists them all", "dim")
    for row in rows:
        if row["error"]:
            name = f"{row['name']} {row['version']}" if row["version"] else row["name"]
            say(console, f"{name}: {row['error']}", "red")


def print_cells(
    console: Console,
    cells: Sequence[Mapping[str, str]],
    width: int | None,
    shrinking: Sequence[tuple[str, int]] = _SHRINKING,
) -> None:
    """Print lines of named cells below a heading. Columns without any text are left out.

    ``shrinking``: the columns that become narrower if lines are longer than ``width``, in this order, with their least
    widths.
    """
    if cells:
        for position, line in enumerate(_lay_out(cells, width, shrinking)):
            console.print(Text(line, style="bold" if position == 0 else ""), soft_wrap=True)


def find_width() -> int | None:
    """The width of the terminal, or that in COLUMNS; None if the output is a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None


def say(console: Console, text: str, style: str = "") -> None:
    """Print a line without markup. It is wrapped at words only in a terminal."""
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)


def _write_cells(row: Mapping[str, Any]) -> dict[str, str]:
    older = f" (+{row['older']})" if row["older"] else ""
    return {
        "model": row["name"],
        "version": f"{row['version']}{older}",
        "task": row["task"],
        "quality": next((f"{value:.4g} {name}" for name, value in row["quality"].items()), "-"),
        "rows": row["rows"] or "-",
        "size": write_size(row["size_bytes"]),
        "aliases": " ".join(row["aliases"]),
    }


def _lay_out(
    cells: Sequence[Mapping[str, str]], width: int | None, shrinking: Sequence[tuple[str, int]]
) -> Iterable[str]:
    """The heading and the lines, each column as wide as its longest cell if that fits."""
    names = [name for name in cells[0] if any(line[name] for line in cells)]
    table = [{name: name for name in names}, *cells]
    widths = {name: max(cell_len(line[name]) for line in table) for name in names}
    if width is not None:
        excess = sum(widths.values()) + len(_GAP) * (len(names) - 1) - width
        for name, least in shrinking:
            if name in widths and excess > 0:
                less = min(excess, max(0, widths[name] - least))
                widths[name] -= less
                excess -= less
    for line in table:
        yield _GAP.join(_fit(line[name], widths[name], name in _NUMBERS) for name in names).rstrip()


def _fit(text: str, width: int, is_number: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - cell_len(text)) + text if is_number else set_cell_size(text, width)
