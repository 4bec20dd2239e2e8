"""The figures of a finished Locust run, read from the CSV files that our Locust file writes."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    mean_s: float
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
class Generator:
    """What the load generator did itself.

    ``cores``: how much of a core it used; near 1 it is the limit, not the server. ``not_sent``: requests of an open
    loop that were due while no caller was free. ``first_p50_s``, ``first_p99_s``: times to the first event of a stream.
    """

    cores: float = math.nan
    not_sent: int = 0
    first_p50_s: float = math.nan
    first_p99_s: float = math.nan


@dataclass(frozen=True)
class Figures:
    routes: tuple[Route, ...]
    total: Route
    failures: tuple[Failure, ...]
    generator: Generator = Generator()

    @property
    def measured(self) -> Measured:
        """A request that was due and never sent counts as one that failed."""
        not_sent = self.generator.not_sent
        return Measured(self.total.requests + not_sent, self.total.failures + not_sent, self.total.p99_s)


def read_figures(prefix: Path) -> Figures:
    """Figures from ``<prefix>_stats.csv``, ``_failures.csv`` and ``_generator.json``; raises NoFigures."""
    facts = _read_facts(Path(f"{prefix}_generator.json"))
    routes = [_read_route(row, facts.get("quantiles_ms", {})) for row in _read_rows(Path(f"{prefix}_stats.csv"))]
    totals = [route for route in routes if route.name == AGGREGATED]
    if len(totals) != 1:
        raise NoFigures(f"{prefix}_stats.csv: expected one row named {AGGREGATED}, got {len(totals)}")
    failures = [
        Failure(row.get("Name", ""), row.get("Error", ""), int(row.get("Occurrences", "0")))
        for row in _read_rows(Path(f"{prefix}_failures.csv"))
    ]
    failures.sort(key=lambda failure: -failure.count)
    kept = tuple(route for route in routes if route.name != AGGREGATED)
    return Figures(kept, totals[0], tuple(failures), _read_generator(facts) if facts else Generator())


def _read_facts(path: Path) -> dict[str, Any]:
    """Empty if Locust ended before its users began."""
    facts: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return facts


def _read_generator(facts: Mapping[str, Any]) -> Generator:
    first = facts["first_events_s"]
    p50_s, p99_s = ((first[int(share * (len(first) - 1))] if first else math.nan) for share in (0.5, 0.99))
    return Generator(facts["cores"], facts["not_sent"], p50_s, p99_s)


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise NoFigures(f"{path} is missing: the load generator ended before it wrote its figures") from None


def _read_route(row: Mapping[str, str], quantiles_ms: Mapping[str, list[float]]) -> Route:
    """``quantiles_ms`` are those of the routes that have requests; Locust's file has whole milliseconds only."""
    try:
        exact = quantiles_ms.get(row["Name"], [math.nan] * 3) if int(row["Request Count"]) else [math.nan] * 3
        whole = [_read_time_s(row[name]) for name in ("50%", "95%", "99%")]
        times = [time if math.isnan(ms) else ms / 1000 for ms, time in zip(exact, whole, strict=True)]
        return Route(
            name=row["Name"],
            requests=int(row["Request Count"]),
            failures=int(row["Failure Count"]),
            requests_per_s=float(row["Requests/s"]),
            mean_s=float(row["Average Response Time"]) / 1000 if int(row["Request Count"]) else math.nan,
            p50_s=times[0],
            p95_s=times[1],
            p99_s=times[2],
        )
    except (KeyError, ValueError) as failure:
        raise NoFigures(f"a row of Locust's statistics cannot be read ({failure}): {dict(row)}") from None


def _read_time_s(milliseconds: str) -> float:
    return math.nan if milliseconds == "N/A" else float(milliseconds) / 1000
