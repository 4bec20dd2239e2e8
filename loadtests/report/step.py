"""The results of a run, and of a sweep over several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.figures import Figures
from loadtests.objective import Finding, Verdict
from loadtests.run import Plan
from loadtests.server_times import ServerTimes

_BUSY_CORES = 0.9


@dataclass(frozen=True)
class Step:
    """One run. ``times`` is None if the server has no statistics."""

    plan: Plan
    figures: Figures
    verdict: Verdict
    times: ServerTimes | None

    @property
    def rest_s(self) -> float:
        """The mean that is not the server's engine: network, reading requests, writing answers, the generator."""
        return self.figures.total.mean_s - self.times.total_s if self.times else math.nan


def tell_verdict(steps: Sequence[Step]) -> str:
    """One sentence: whether the objective holds, and if not, which figure breaks it."""
    good = [step for step in steps if step.verdict.holds]
    bad = [step for step in steps if not step.verdict.holds]
    if len(steps) == 1:
        return f"the objective does not hold: {_tell_broken(bad[0])}" if bad else _tell_good(good[0])
    told = f"the objective holds in {len(good) or 'none'} of {len(steps)} runs"
    if good:
        best = max(good, key=lambda step: step.figures.total.requests_per_s)
        told += f"; best with {_tell_callers(best)}: {best.figures.total.requests_per_s:,.0f} requests/s"
    return told + (f"; not with {_tell_callers(bad[0])}: {_tell_broken(bad[0])}" if bad else "")


def list_notes(steps: Sequence[Step]) -> list[str]:
    """What one must know to read the figures."""
    notes = []
    for step in steps:
        of = f"with {_tell_callers(step)} " if len(steps) > 1 else ""
        generator = step.figures.generator
        if generator.cores > _BUSY_CORES:
            notes.append(
                f"{of}the load generator used {generator.cores:.2f} of a core, and it has one: the figures may be its "
                "limit, not the server's"
            )
        if generator.not_sent:
            notes.append(
                f"{generator.not_sent} requests were due while no caller was free, and count as failed: the server, or "
                f"{_tell_callers(step)}, cannot keep the rate (--users allows more)"
            )
        if not math.isnan(generator.first_p50_s):
            first = f"p50 {generator.first_p50_s * 1e3:.3g} ms, p99 {generator.first_p99_s * 1e3:.3g} ms"
            notes.append(f"{of}the first event of a stream came after {first}")
    return notes


def write_finding(finding: Finding) -> tuple[str, str, str]:
    """Its name, what was measured and the limit, for people."""
    word = "at least" if finding.figure == "requests" else "at most"
    if finding.figure == "p99_s":
        measured = "–" if math.isnan(finding.measured) else f"{write_ms(finding.measured)} ms"
        return "p99", measured, f"{word} {write_ms(finding.limit)} ms"
    if finding.figure == "error_rate":
        measured = "–" if math.isnan(finding.measured) else f"{finding.measured:.2%}"
        return "error rate", measured, f"{word} {finding.limit:.2%}"
    return finding.figure, f"{finding.measured:.0f}", f"{word} {finding.limit:.0f}"


def write_ms(time_s: float) -> str:
    time_ms = time_s * 1000
    if math.isnan(time_ms):
        return "–"
    return f"{time_ms:.2f}" if time_ms < 1 else f"{time_ms:.1f}" if time_ms < 10 else f"{time_ms:.0f}"


def _tell_good(step: Step) -> str:
    _, p99, limit = write_finding(step.verdict.findings[-1])
    return f"the objective holds: {step.figures.total.requests_per_s:,.0f} requests/s, p99 {p99}, {limit}"


def _tell_callers(step: Step) -> str:
    return "1 caller" if step.plan.users == 1 else f"{step.plan.users} callers"


def _tell_broken(step: Step) -> str:
    if not step.figures.total.requests:
        return "no request was made"
    broken = (write_finding(finding) for finding in step.verdict.findings if not finding.holds)
    return ", ".join(f"{name} {measured}, {limit}" for name, measured, limit in broken)
