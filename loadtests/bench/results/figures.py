"""The figures that are not a rate against a peer: one client's latency, overload, and a poisoned row. Pure."""

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from loadtests.bench.load.openloop import Outcome, Plan, count_statuses, quantile

REFUSALS = (429, 503, 504)


@dataclass(frozen=True)
class Latency:
    """One client's median beside the median of the bare ``session.run`` of one row, in turns."""

    model: str
    p50_s: tuple[float, ...]
    bare_s: tuple[float, ...]

    @property
    def above_s(self) -> tuple[float, ...]:
        return tuple(p50 - bare for p50, bare in zip(self.p50_s, self.bare_s, strict=True))


@dataclass(frozen=True)
class OverloadRound:
    """Rates are per second of the schedule; ``within`` are right answers within the deadline."""

    capacity_per_s: float
    offered_per_s: float
    within_per_s: float
    late: int
    statuses: dict[str, int]
    refusal_p50_s: float | None
    refusal_p99_s: float | None
    not_sent: int
    unanswered: int
    generator_cores: float

    @property
    def share(self) -> float:
        return self.within_per_s / self.capacity_per_s


@dataclass(frozen=True)
class Overload:
    model: str
    deadline_s: float
    rounds: tuple[OverloadRound, ...]

    @property
    def share(self) -> float:
        return median(one.share for one in self.rounds)

    @property
    def refusal_p99_s(self) -> float | None:
        times_s = [one.refusal_p99_s for one in self.rounds if one.refusal_p99_s is not None]
        return median(times_s) if times_s else None


@dataclass(frozen=True)
class Poisoning:
    """``neighbours`` are the good requests; ``failed`` of them had no right answer."""

    neighbours: int
    failed: int
    poisoned: int
    poisoned_statuses: dict[str, int]


@dataclass(frozen=True)
class Figures:
    """What was measured; a reason in ``missing`` for what was not."""

    latency: Latency | None = None
    overload: Overload | None = None
    poisoning: Poisoning | None = None
    missing: tuple[str, ...] = ()

    def as_document(self) -> dict[str, Any]:
        document = asdict(self)
        if self.latency:
            document["latency"]["above_s"] = list(self.latency.above_s)
        if self.overload:
            document["overload"] |= {"share": self.overload.share, "refusal_p99_s": self.overload.refusal_p99_s}
        return document


def summarise_overload(plan: Plan, outcome: Outcome, capacity_per_s: float, deadline_s: float) -> OverloadRound:
    refusals = [time_s for status in REFUSALS for time_s in outcome.times_s.get(str(status), ())]
    within = outcome.count_within(deadline_s)
    return OverloadRound(
        capacity_per_s=capacity_per_s,
        offered_per_s=plan.rate_per_s,
        within_per_s=within / plan.duration_s,
        late=outcome.count(200) - within,
        statuses=dict(count_statuses(outcome)),
        refusal_p50_s=quantile(refusals, 0.5),
        refusal_p99_s=quantile(refusals, 0.99),
        not_sent=outcome.not_sent,
        unanswered=outcome.unanswered,
        generator_cores=outcome.cpu_s / outcome.elapsed_s if outcome.elapsed_s else 0.0,
    )


def summarise_poisoning(outcome: Outcome) -> Poisoning:
    return Poisoning(
        neighbours=outcome.sent - outcome.odd_sent,
        failed=outcome.usual_failed + outcome.wrong + outcome.unanswered,
        poisoned=outcome.odd_sent,
        poisoned_statuses=outcome.odd_statuses,
    )
