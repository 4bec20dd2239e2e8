"""The short tables that ``sluice loadtest`` prints."""

import math

from rich.table import Table

from loadtests.figures import Figures, Route
from loadtests.objective import Finding, Verdict

_LIMITS = {"requests": "at least", "error_rate": "at most", "p99_s": "at most"}


def figures_table(figures: Figures) -> Table:
    table = Table("route")
    for heading in ("requests", "failures", "requests/s", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for route in figures.routes:
        table.add_row(*_write_route(route))
    if len(figures.routes) != 1:
        table.add_section()
        table.add_row(*_write_route(figures.total))
    return table


def verdict_table(verdict: Verdict) -> Table:
    table = Table("objective", "measured", "limit", "holds")
    for finding in verdict.findings:
        figure, measured, limit = _write_finding(finding)
        table.add_row(figure, measured, limit, "[green]yes[/]" if finding.holds else "[bold red]no[/]")
    return table


def _write_route(route: Route) -> tuple[str, ...]:
    times = (_write_ms(time_s) for time_s in (route.p50_s, route.p95_s, route.p99_s))
    return (route.name, str(route.requests), str(route.failures), f"{route.requests_per_s:.1f}", *times)


def _write_finding(finding: Finding) -> tuple[str, str, str]:
    word = _LIMITS[finding.figure]
    if finding.figure == "p99_s":
        return "p99 ms", _write_ms(finding.measured), f"{word} {_write_ms(finding.limit)}"
    if finding.figure == "error_rate":
        measured = "–" if math.isnan(finding.measured) else f"{finding.measured:.2%}"
        return "error rate", measured, f"{word} {finding.limit:.2%}"
    return finding.figure, f"{finding.measured:.0f}", f"{word} {finding.limit:.0f}"


def _write_ms(time_s: float) -> str:
    return "–" if math.isnan(time_s) else f"{time_s * 1000:g}"
