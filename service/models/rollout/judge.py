"""Decides whether a canary is rolled back to the stable version. Pure: windows of counts go in, a reason comes out.

Three questions are asked. Each gets a third of the error that the confidence leaves, or a half if answers may differ at
will, which leaves two questions:
- errors: is its error rate above that of the stable version by more than the limit?
- p99: let t be the p99 of the stable version before the window. A request is slow if it takes longer than t, for the
  canary longer than t times the limit. Is the canary's rate of slow requests above that of the stable version by more
  than one percentage point? Both are counted in the same window, because a busy server slows both.
- disagreement: do more of its answers differ than the limit allows?
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from model_store.rollout import Limits
from service.models.rollout.evidence import Comparison, Evidence, Excess

_STEP: Final = 1.05
"""Times are counted in buckets of 5 %."""
_LOG_STEP: Final = math.log(_STEP)
_LEAST_S: Final = 1e-6
_LEAST_KNOWN: Final = 50
"""The p99 of the stable version is used from this number of requests on."""
_MOST_KNOWN: Final = 4000
"""The p99 is that of about this many last requests."""
_SPARE_SLOW: Final = 0.01
"""A canary whose p99 keeps the limit may have this rate of slow requests even if the stable version has none."""


def bucket_of(seconds: float) -> int:
    """The bucket of a time. Bucket n begins at ``_STEP`` to the power of n, in seconds."""
    return math.floor(math.log(max(seconds, _LEAST_S)) / _LOG_STEP)


def start_of(bucket: int) -> float:
    """The least time in a bucket, in seconds."""
    return math.exp(bucket * _LOG_STEP)


@dataclass
class Arm:
    """Counts of one version: requests, failed ones, and times by bucket."""

    requests: int = 0
    failed: int = 0
    times: Counter[int] = field(default_factory=Counter)

    def note(self, seconds: float, has_failed: bool) -> None:
        self.requests += 1
        self.failed += has_failed
        self.times[bucket_of(seconds)] += 1

    def add(self, other: Self) -> None:
        self.requests += other.requests
        self.failed += other.failed
        self.times.update(other.times)

    def count_from(self, bucket: int) -> int:
        """The requests in this bucket and those above."""
        return sum(number for place, number in self.times.items() if place >= bucket)


@dataclass
class Window:
    """Counts of both versions in about a second, in one worker. ``differ`` of ``compared`` answers differ."""

    canary: Arm = field(default_factory=Arm)
    stable: Arm = field(default_factory=Arm)
    compared: int = 0
    differ: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.canary.requests or self.stable.requests or self.compared)

    def add(self, other: Self) -> None:
        self.canary.add(other.canary)
        self.stable.add(other.stable)
        self.compared += other.compared
        self.differ += other.differ

    def to_json(self) -> dict[str, Any]:
        """For another worker."""
        arms = {
            name: [arm.requests, arm.failed, sorted(arm.times.items())]
            for name, arm in (("canary", self.canary), ("stable", self.stable))
        }
        return {**arms, "compared": self.compared, "differ": self.differ}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        arms = [Arm(each[0], each[1], Counter(dict(each[2]))) for each in (told["canary"], told["stable"])]
        return cls(arms[0], arms[1], told["compared"], told["differ"])


class Judge:
    """The decision about one canary. ``total`` has the counts since it began."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.total = Window()
        self._errors = Comparison(limits.errors)
        self._slow = Comparison(_SPARE_SLOW)
        self._differ = Excess(limits.disagreement)
        self._known: Counter[int] = Counter()
        self._timed = Window()
        """The requests whose times were compared; ``failed`` counts the slow ones."""
        self._waiting = Window()
        self._error = (1.0 - limits.confidence) / (3 if limits.disagreement < 1.0 else 2)

    def add(self, window: Window) -> str:
        """Add a window. Returns why the canary must be rolled back, or "".

        A window without requests of both versions is joined to the next one.
        """
        self._differ.add(window.compared, window.differ)
        self.total.add(window)
        waiting = self._waiting
        waiting.add(window)
        if waiting.canary.requests and waiting.stable.requests:
            self._waiting = Window()
            canary, stable = waiting.canary, waiting.stable
            self._errors.add(canary.requests, canary.failed, stable.requests, stable.failed)
            self._compare_times(canary, stable)
            self._learn(stable)
        return self.find_reason()

    @property
    def p99_s(self) -> float | None:
        """The p99 of the stable version's last requests, in seconds; None while there are too few."""
        bucket = self._find_p99()
        return None if bucket is None else start_of(bucket + 1)

    def find_reason(self) -> str:
        """Why the canary must be rolled back, or ""."""
        limits, canary, stable = self.limits, self.total.canary, self.total.stable
        sure = f"; confidence {100 * limits.confidence:.6g} %"
        if self._errors.refutes(self._error):
            return (
                f"errors: {_part(canary.failed, canary.requests)} of its requests failed, "
                f"{_part(stable.failed, stable.requests)} of the stable version's: "
                f"it may be {limits.errors:.4g} more{sure}"
            )
        if self._slow.refutes(self._error):
            timed, p99_s = self._timed, self.p99_s or 0.0
            return (
                f"p99: {_part(timed.canary.failed, timed.canary.requests)} of its requests took longer than "
                f"{self._limit_s(p99_s):.3g} s, {_part(timed.stable.failed, timed.stable.requests)} of the stable "
                f"version's longer than {p99_s:.3g} s, its p99{sure}"
            )
        if self._differ.refutes(self._error):
            seen = _part(self.total.differ, self.total.compared)
            return f"disagreement: {seen} of its answers differ: it may be {limits.disagreement:.4g}{sure}"
        return ""

    @property
    def doubts(self) -> dict[str, float]:
        """For each question how well the counts fit a canary within the limit, from 1 (well) to 0 (not at all)."""
        told: dict[str, Evidence] = {"errors": self._errors, "p99": self._slow, "disagreement": self._differ}
        return {name: min(1.0, math.exp(-each.log_value)) for name, each in told.items()}

    def _limit_s(self, p99_s: float) -> float:
        return max(self.limits.p99_ratio * p99_s, p99_s + self.limits.p99_extra_s)

    def _find_p99(self) -> int | None:
        """The bucket in which the p99 lies."""
        known = self._known.total()
        if known < _LEAST_KNOWN:
            return None
        above = 0
        for bucket in sorted(self._known, reverse=True):
            above += self._known[bucket]
            if above > known / 100:
                return bucket
        return None

    def _compare_times(self, canary: Arm, stable: Arm) -> None:
        bucket = self._find_p99()
        if bucket is None:
            return
        limit = bucket_of(self._limit_s(start_of(bucket + 1))) + 1
        slow, stable_slow = canary.count_from(limit), stable.count_from(bucket + 1)
        self._timed.add(Window(Arm(canary.requests, slow), Arm(stable.requests, stable_slow)))
        self._slow.add(canary.requests, slow, stable.requests, stable_slow)

    def _learn(self, stable: Arm) -> None:
        self._known.update(stable.times)
        while self._known.total() > _MOST_KNOWN:
            self._known = Counter({bucket: number // 2 for bucket, number in self._known.items() if number > 1})


def _part(number: int, of: int) -> str:
    return f"{number} of {of} ({number / max(1, of):.2%})"
