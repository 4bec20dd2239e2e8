"""The figures of the tasks and of the loop: rates alone and together, first steps, equal bits. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from loadtests.bench.load.closedloop import Reply
from loadtests.bench.results.promise import Ratio, compare_rounds


@dataclass(frozen=True)
class Rate:
    """``per_s``: units of work per second, from the first request to the last answer. ``failed``: answers other than
    200."""

    per_s: float
    failed: int


@dataclass(frozen=True)
class Speedup:
    """The same work one request after the other and all together, in interleaved rounds.

    ``arrival_s`` is how long the requests take to arrive together. ``most_per_s`` is the rate of a server that answers
    instantly; None if only the server limits the rate.
    """

    unit: str
    alone: tuple[Rate, ...]
    together: tuple[Rate, ...]
    arrival_s: float = 0.0
    most_per_s: float | None = None

    @property
    def failed(self) -> int:
        return sum(rate.failed for rate in (*self.alone, *self.together))

    @property
    def ratio(self) -> Ratio | None:
        return compare_rounds([rate.per_s for rate in self.together], [rate.per_s for rate in self.alone])

    @property
    def most_ratio(self) -> float | None:
        """The largest ratio that the arrivals allow."""
        alone_per_s = median(rate.per_s for rate in self.alone)
        return self.most_per_s / alone_per_s if self.most_per_s is not None and alone_per_s else None


@dataclass(frozen=True)
class FirstStep:
    """Medians of each round, over ``probes`` requests: seconds from a request to its first streamed step."""

    idle_s: tuple[float, ...]
    busy_s: tuple[float, ...]
    probes: int
    failed: int

    @property
    def ratio(self) -> Ratio | None:
        return compare_rounds(self.busy_s, self.idle_s)


@dataclass(frozen=True)
class Sameness:
    """Answers to the same ``seeds`` in several ways. ``differing`` have other bytes than in the first way."""

    seeds: int
    compared: int
    differing: int
    failed: int


@dataclass(frozen=True)
class PipelineCost:
    """Medians of each round for one client: seconds of a pipeline, and of its steps, asked one by one, together."""

    pipeline_s: tuple[float, ...]
    steps_s: tuple[float, ...]
    failed: int

    @property
    def ratio(self) -> Ratio | None:
        return compare_rounds(self.pipeline_s, self.steps_s)


@dataclass(frozen=True)
class TaskFigures:
    """What was measured, with speedups by name. ``missing`` has a reason for each figure that was not."""

    speedups: Mapping[str, Speedup] | None = None
    first_step: FirstStep | None = None
    sameness: Sameness | None = None
    pipeline: PipelineCost | None = None
    missing: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        speedups = sum(speedup.failed for speedup in (self.speedups or {}).values())
        return speedups + sum(one.failed for one in (self.first_step, self.sameness, self.pipeline) if one)

    def as_document(self) -> dict[str, Any]:
        """The figures and their ratios, for JSON."""
        document = asdict(self)
        for name, speedup in (self.speedups or {}).items():
            document["speedups"][name]["ratio"] = speedup.ratio and asdict(speedup.ratio)
        if self.first_step:
            document["first_step"]["ratio"] = self.first_step.ratio and asdict(self.first_step.ratio)
        if self.pipeline:
            document["pipeline"]["ratio"] = self.pipeline.ratio and asdict(self.pipeline.ratio)
        return document


def measure_rate(runs: Sequence[Sequence[Reply]], units: int = 1) -> Rate:
    """The rate of right answers, each with ``units`` of work. Time between runs does not count."""
    failed = sum(count_failed(run) for run in runs)
    right = sum(map(len, runs)) - failed
    elapsed_s = sum(max(one.ended_s for one in run) - min(one.asked_s for one in run) for run in runs)
    return Rate(units * right / elapsed_s, failed)


def count_failed(replies: Sequence[Reply]) -> int:
    return sum(reply.status != 200 for reply in replies)


def digest_outputs(body: bytes) -> str:
    """SHA-256 of an answer's ``outputs`` as they were sent. Raises ValueError where there are none."""
    return hashlib.sha256(body[body.index(b'"outputs":') :]).hexdigest()


def compare_outputs(ways: Sequence[Mapping[int, Reply]]) -> Sameness:
    """Compare replies by seed. The other ways are compared with the first."""
    first, *others = ways
    failed = sum(count_failed(list(way.values())) for way in ways)
    pairs = [
        (first[seed].body, reply.body)
        for way in others
        for seed, reply in way.items()
        if reply.status == 200 and first[seed].status == 200
    ]
    differing = sum(digest_outputs(one) != digest_outputs(other) for one, other in pairs)
    return Sameness(len(first), len(pairs), differing, failed)
