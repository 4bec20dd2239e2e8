"""What a comparison found: medians, their ratios, and the table that shows them. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from loadtests.bench.ceiling import Ceiling
from loadtests.bench.machine import Machine
from loadtests.bench.wrk import Sample


@dataclass(frozen=True)
class Cell:
    """All rounds of one peer on one model, with one encoding and one number of clients. One request has one row."""

    model: str
    encoding: str
    clients: int
    peer: str
    samples: tuple[Sample, ...]

    @property
    def rows_per_s(self) -> float:
        return median(sample.answers_per_s for sample in self.samples)

    @property
    def p50_s(self) -> float:
        return median(sample.p50_s for sample in self.samples)

    @property
    def p99_s(self) -> float:
        return median(sample.p99_s for sample in self.samples)

    @property
    def errors(self) -> int:
        return sum(sample.errors for sample in self.samples)


@dataclass(frozen=True)
class Ratio:
    """How many times the rows of another: of the medians, and the least and the most in a single round."""

    medians: float
    least: float
    most: float


@dataclass(frozen=True)
class Absence:
    """A peer that could not be measured, and why."""

    peer: str
    model: str
    reason: str


@dataclass(frozen=True)
class Result:
    machine: Machine
    settings: dict[str, Any]
    versions: dict[str, dict[str, str]]
    ceilings: tuple[Ceiling, ...]
    cells: tuple[Cell, ...]
    absences: tuple[Absence, ...]

    @property
    def peers(self) -> list[str]:
        """The measured peers, in the order in which they were asked for."""
        return list(dict.fromkeys(cell.peer for cell in self.cells))

    def write_json(self) -> str:
        cells = [
            {
                **asdict(cell),
                "rows_per_s": cell.rows_per_s,
                "p50_s": cell.p50_s,
                "p99_s": cell.p99_s,
                "errors": cell.errors,
            }
            for cell in self.cells
        ]
        ceilings = [{**asdict(ceiling), "best": asdict(ceiling.best)} for ceiling in self.ceilings]
        return json.dumps({**asdict(self), "ceilings": ceilings, "cells": cells}, indent=2)


def compare(one: Cell, other: Cell) -> Ratio | None:
    """``one`` against ``other``, whose rounds were interleaved; None where ``other`` answered nothing right."""
    if not other.rows_per_s:
        return None
    rounds = [
        mine.answers_per_s / theirs.answers_per_s
        for mine, theirs in zip(one.samples, other.samples, strict=False)
        if theirs.answers_per_s
    ]
    return Ratio(one.rows_per_s / other.rows_per_s, min(rounds), max(rounds))


def write_markdown(result: Result) -> str:
    """The machine, and one line for each model, encoding and number of clients.

    Each peer's column has its median rows/s and p99; the first peer is set against every other one and the ceiling.
    """
    first, *others = result.peers or [""]
    headings = ["model", "encoding", "clients"]
    headings += [f"{peer}, rows/s (p99)" for peer in result.peers]
    headings += [f"{first} / {other}" for other in others]
    headings += [f"{first} / ceiling"] if result.ceilings else []
    lines = [_write_line(headings), _write_line(["---"] * 3 + ["---:"] * (len(headings) - 3))]
    lines += [_write_line(row) for row in _rows(result, first, others)]
    return "\n".join([_describe(result), "", *lines, "", *_notes(result)]).rstrip() + "\n"


def _rows(result: Result, first: str, others: Sequence[str]) -> Iterator[list[str]]:
    cells = {(cell.model, cell.encoding, cell.clients, cell.peer): cell for cell in result.cells}
    ceilings = {ceiling.model: ceiling.best.rows_per_s for ceiling in result.ceilings}
    for key in dict.fromkeys((cell.model, cell.encoding, cell.clients) for cell in result.cells):
        mine = cells.get((*key, first))
        row = [key[0], key[1], str(key[2])]
        row += [_write_cell(cells.get((*key, peer))) for peer in result.peers]
        row += [_write_ratio(mine, cells.get((*key, other))) for other in others]
        if result.ceilings:
            ceiling = ceilings.get(key[0])
            row.append(f"{mine.rows_per_s / ceiling:.0%}" if mine and ceiling else "–")
        yield row


def _write_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _write_cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    text = f"{cell.rows_per_s:,.0f} ({cell.p99_s * 1000:.3g} ms)"
    return f"{text}, **{cell.errors} errors**" if cell.errors else text


def _write_ratio(one: Cell | None, other: Cell | None) -> str:
    ratio = compare(one, other) if one and other else None
    return f"{ratio.medians:.2f} ({ratio.least:.2f}–{ratio.most:.2f})" if ratio else "–"


def _describe(result: Result) -> str:
    machine, settings = result.machine, result.settings
    versions = "; ".join(
        f"{peer}: {', '.join(f'{name} {version}' for name, version in found.items())}"
        for peer, found in result.versions.items()
    )
    commit = f", commit {machine.commit}" if machine.commit else ""
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.system}, Python {machine.python}{commit}, {machine.date}. "
        f"Load generator on the same cores, {settings.get('rounds')} interleaved rounds of "
        f"{settings.get('round_s')} s, medians; ratios with the least and the most of a round. {versions}."
    )


def _notes(result: Result) -> Iterator[str]:
    for ceiling in result.ceilings:
        best = ceiling.best
        yield (
            f"Ceiling of {ceiling.model}: {best.rows_per_s:,.0f} rows/s in process, batches of {best.batch_rows}, "
            f"{best.lanes} lanes of {best.threads} threads."
        )
    for absence in result.absences:
        yield f"**{absence.peer} was not measured on {absence.model}**: {absence.reason.splitlines()[0]}"
