"""The results of a command: a table for people, a record for programs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from export.errors import list_missed
from export.publish import FULL, PRECISION
from model_store import Manifest, ModelVersion
from model_store.manifest import Quality

_ENOUGH, _TOO_LITTLE, _NO_BAR = "[green]✓[/]", "[red]✗[/]", ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one model: its new versions, and why there are no more. ``seconds`` is the whole time."""

    name: str
    versions: tuple[tuple[ModelVersion, Manifest], ...] = ()
    error: str | None = None
    missed: Quality | None = None
    """The measured quality of a version that was refused because of it."""
    seconds: float = 0.0


def print_table(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print a line for each metric with a bar: the version, the value that it reached, and whether that is enough.

    A version of lower precision shows the figures of the first version beside its own. If no metric has a bar, all are
    shown. Models that were not published are always listed.
    """
    paired = any(_precision_of(manifest) for outcome in outcomes for _, manifest in outcome.versions)
    numbers = ["reached", *([FULL] if paired else []), "bar", "", "time"]
    table = Table(
        Column("model", overflow="fold"),
        Column("version", no_wrap=True),
        Column("metric", overflow="fold"),
        *(Column(title, justify="right", no_wrap=True) for title in numbers),
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,  # so that the names fit beside the numbers in 80 columns
    )
    for outcome in outcomes:
        name, took = escape(outcome.name), f"{outcome.seconds:.0f} s"
        for version, cells in _make_lines(outcome):
            metric, reached, full, bar, mark = cells
            table.add_row(name, version, metric, reached, *([full] if paired else []), bar, mark, took)
            name = took = ""  # only once per model
        table.add_section()
    console.print(table)
    _print_verdict(console, outcomes)


def _print_verdict(console: Console, outcomes: Sequence[Outcome]) -> None:
    failed = [outcome.name for outcome in outcomes if outcome.error is not None]
    for root in sorted({str(v.folder.parent.parent) for outcome in outcomes for v, _ in outcome.versions}):
        console.print(f"in {root}", highlight=False, soft_wrap=True, markup=False)
    total = f"{len(outcomes) - len(failed)} of {len(outcomes)} published"
    text = f"{total}; failed: {', '.join(failed)} (why: see above)" if failed else total
    console.print(text, style="red" if failed else "green", highlight=False, soft_wrap=True, markup=False)


_Cells = tuple[str, str, str, str, str]
"""The metric, its value, the first version's value, the bar, and a mark."""


def _make_lines(outcome: Outcome) -> Iterator[tuple[str, _Cells]]:
    """The lines of a model. Each version is named once."""
    for version, manifest in outcome.versions:
        precision = _precision_of(manifest)
        shown = f"{version.version} {precision}" if precision else str(version.version)
        for cells in _make_cells(manifest.quality):
            yield shown, cells
            shown = ""
    if outcome.error is not None:
        lines = list(_make_cells(outcome.missed)) if outcome.missed else [("-", "-", "", "-", _TOO_LITTLE)]
        for number, cells in enumerate(lines):
            yield "" if number else "[red]refused[/]", cells


def _make_cells(quality: Quality | None) -> Iterator[_Cells]:
    metrics = dict(quality.metrics) if quality else {}
    bar = dict(quality.bar) if quality else {}
    own = [name for name in metrics if not name.endswith(f"_{FULL}")]
    for name in list(bar) or own or ["-"]:
        least, value, full = bar.get(name), metrics.get(name), metrics.get(f"{name}_{FULL}")
        mark = _NO_BAR if least is None else _TOO_LITTLE if list_missed(metrics, {name: least}) else _ENOUGH
        yield (
            escape(name),
            "-" if value is None else f"{value:.4f}",
            "" if full is None else f"{full:.4f}",
            "-" if least is None else f"≥ {least:.4f}",
            mark,
        )


def _precision_of(manifest: Manifest) -> str | None:
    found = manifest.provenance.parameters.get(PRECISION) if manifest.provenance else None
    return None if found is None else str(found)


def _find_worst(manifest: Manifest) -> float:
    rungs = manifest.parity.rungs if manifest.parity else ()
    return max((case.max_abs_error for case in rungs), default=0.0)


def as_record(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The results as JSON: ``{"published": [...], "failed": [...]}``. A model can be in both."""
    return {
        "published": [
            {
                "name": outcome.name,
                "version": version.version,
                "precision": _precision_of(manifest),
                "folder": str(version.folder),
                "quality": dict(manifest.quality.metrics) if manifest.quality else None,
                "bar": dict(manifest.quality.bar) if manifest.quality else None,
                "max_abs_error": _find_worst(manifest) if manifest.parity else None,
                "seconds": round(outcome.seconds, 1),
                "files": {file: facts.sha256 for file, facts in manifest.files.items()},
            }
            for outcome in outcomes
            for version, manifest in outcome.versions
        ],
        "failed": [
            {
                "name": outcome.name,
                "error": outcome.error,
                "quality": dict(outcome.missed.metrics) if outcome.missed else None,
                "bar": dict(outcome.missed.bar) if outcome.missed else None,
                "seconds": round(outcome.seconds, 1),
            }
            for outcome in outcomes
            if outcome.error is not None
        ],
    }
