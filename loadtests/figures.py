"""The figures of a finished Locust run, read from the CSV files that our Locust file writes."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.objective import Measured

AGGREGATED = "Aggregated"


class NoFigures(Exception):
    """Locust left no figures, or unreadable ones; the text names the file."""


@dataclass(frozen=True)
class Route:
    """The figures of one route, or of all together. Times are in seconds, NaN without requests."""

    name: str
    requests: int
    failures: int
    requests_per_s: float
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True)
class Failure:
    """A kind of failure on a route, and how often it was seen."""

    route: str
    text: str
    count: int


@dataclass(frozen=True)
class Figures:
    routes: tuple[Route, ...]
    total: Route
    failures: tuple[Failure, ...]

    @property
    def measured(self) -> Measured:
        return Measured(self.total.requests, self.total.failures, self.total.p99_s)


def read_figures(prefix: Path) -> Figures:
    """Figures from ``<prefix>_stats.csv`` and ``<prefix>_failures.csv``; raises NoFigures."""
    routes = [_read_route(row) for row in _read_rows(Path(f"{prefix}_stats.csv"))]
    totals = [route for route in routes if route.name == AGGREGATED]
    if len(totals) != 1:
        raise NoFigures(f"{prefix}_stats.csv: expected one row named {AGGREGATED}, got {len(totals)}")
    failures = [
        Failure(row.get("Name", ""), row.get("Error", ""), int(row.get("Occurrences", "0")))
        for row in _read_rows(Path(f"{prefix}_failures.csv"))
    ]
    failures.sort(key=lambda failure: -failure.count)
    return Figures(tuple(route for route in routes if route.name != AGGREGATED), totals[0], tuple(failures))


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise NoFigures(f"{path} is missing: the load generator ended before it wrote its figures") from None


def _read_route(row: Mapping[str, str]) -> Route:
    try:
        return Route(
            name=row["Name"],
            requests=int(row["Request Count"]),
            failures=int(row["Failure Count"]),
            requests_per_s=float(row["Requests/s"]),
            p50_s=_read_time_s(row["50%"]),
            p95_s=_read_time_s(row["95%"]),
            p99_s=_read_time_s(row["99%"]),
        )
    except (KeyError, ValueError) as failure:
        raise NoFigures(f"a row of Locust's statistics cannot be read ({failure}): {dict(row)}") from None


def _read_time_s(milliseconds: str) -> float:
    return math.nan if milliseconds == "N/A" else float(milliseconds) / 1000
