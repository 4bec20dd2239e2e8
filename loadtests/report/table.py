"""The short tables that ``sluice loadtest`` prints."""

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from loadtests.figures import Figures, Route
from loadtests.objective import Verdict
from loadtests.report.step import Step, write_finding, write_ms

SPLIT = ("client", "rest", "queue", "batch", "compute", "answer")
"""The client's mean is the sum of the others. ``rest``: everything but the server's engine."""


def make_table(*headings: str, first: str = "left") -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position or first == "right" else "left")
    return table


def figures_table(figures: Figures) -> Table:
    table = make_table("route", "requests", "failed", "requests/s", "p50 ms", "p95 ms", "p99 ms")
    for route in figures.routes:
        table.add_row(*_write_route(route))
    if len(figures.routes) != 1:
        table.add_section()
        table.add_row(*_write_route(figures.total))
    return table


def verdict_table(verdict: Verdict) -> Table:
    table = Table("objective", "measured", "limit", "holds", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for finding in verdict.findings:
        table.add_row(*write_finding(finding), "[green]yes[/]" if finding.holds else "[bold red]no[/]")
    return table


def split_table(step: Step) -> Table:
    """Where the mean time of a request went, as the client and the server saw it."""
    table = make_table("mean, in ms", *SPLIT, "rows a run")
    table.add_row("", *split_cells(step), _write_rows(step))
    return table


def split_cells(step: Step) -> tuple[str, ...]:
    times = step.times
    parts = (times.queue_s, times.batch_s, times.compute_s, times.answer_s) if times else (math.nan,) * 4
    return tuple(write_ms(each) for each in (step.figures.total.mean_s, step.rest_s, *parts))


def sweep_table(steps: Sequence[Step]) -> Table:
    """A line for each number of callers; the times are in milliseconds, the last ones are means."""
    table = make_table(*SWEEP, first="right")
    for step in steps:
        cells = sweep_cells(step)
        table.add_row(*cells[:-1], "[green]yes[/]" if step.verdict.holds else "[bold red]no[/]")
    return table


SWEEP = ("callers", "req/s", "failed", "p50", "p95", "p99", "rest", "queue", "batch", "run", "rows", "holds")


def sweep_cells(step: Step) -> tuple[str, ...]:
    total = step.figures.total
    _, rest, queue, batch, compute, _ = split_cells(step)
    times = (write_ms(each) for each in (total.p50_s, total.p95_s, total.p99_s))
    counts = (str(step.plan.users), f"{total.requests_per_s:.0f}", str(total.failures))
    return (*counts, *times, rest, queue, batch, compute, _write_rows(step), "yes" if step.verdict.holds else "no")


def _write_rows(step: Step) -> str:
    rows = step.times.rows_per_run if step.times else math.nan
    return "–" if math.isnan(rows) else f"{rows:.1f}"


def _write_route(route: Route) -> tuple[str, ...]:
    times = (write_ms(time_s) for time_s in (route.p50_s, route.p95_s, route.p99_s))
    return (route.name, str(route.requests), str(route.failures), f"{route.requests_per_s:.1f}", *times)
