"""The results of a comparison: medians and their ratios. Pure."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from loadtests.bench.load.ceiling import Ceiling
from loadtests.bench.load.wrk import Sample
from loadtests.bench.machine import Machine
from loadtests.bench.results.figures import Figures
from loadtests.bench.results.promise import Ratio, compare_rounds
from loadtests.bench.results.task_figures import TaskFigures

TASKS, PICTURES, TEXTS, PIPELINES = "tasks", "pictures", "texts", "pipelines"
SPEECH, READING, TELEMETRY, TRANSPORTS = "speech", "reading", "telemetry", "transports"
IN_PROCESS = "onnxruntime"
"""The name of the ceiling, ONNX Runtime in process, among the peers."""


@dataclass(frozen=True)
class Cell:
    """All rounds of one peer on one model, with one encoding and one number of clients. A request has one row."""

    model: str
    encoding: str
    clients: int
    peer: str
    samples: tuple[Sample, ...]
    rows_per_run: float | None = None
    """How many rows a batch had, where that was read."""

    @property
    def rows_per_s(self) -> float:
        return median(sample.answers_per_s for sample in self.samples)

    @property
    def spread(self) -> float:
        """From the slowest to the fastest round, as a share of the median."""
        rates = [sample.answers_per_s for sample in self.samples]
        return (max(rates) - min(rates)) / self.rows_per_s if self.rows_per_s else 0.0

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
    figures: Figures = field(default_factory=Figures)
    tasks: TaskFigures = field(default_factory=TaskFigures)
    only: str = ""
    """One of ``TASKS`` to ``TRANSPORTS``, if nothing else was to be measured."""

    @property
    def peers(self) -> list[str]:
        """The measured peers, in the order in which they were asked for."""
        return list(dict.fromkeys(cell.peer for cell in self.cells))


def compare(one: Cell, other: Cell) -> Ratio | None:
    """``one`` against ``other``, from interleaved rounds; None if ``other`` answered nothing right."""
    ours, theirs = ([sample.answers_per_s for sample in cell.samples] for cell in (one, other))
    return compare_rounds(ours, theirs)
