"""A service level objective, and its verdict on what a load test measured. Pure: no clock, no file, no socket."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """The results of one load test. 99 % of the requests took at most ``p99_s`` seconds."""

    requests: int
    failures: int
    p99_s: float

    @property
    def error_rate(self) -> float:
        """Failed requests as a fraction of all; NaN without requests."""
        return self.failures / self.requests if self.requests else math.nan


@dataclass(frozen=True)
class Finding:
    """One figure beside its limit."""

    figure: str
    measured: float
    limit: float
    holds: bool


@dataclass(frozen=True)
class Verdict:
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


@dataclass(frozen=True)
class Objective:
    """The limits for a service. A value equal to a limit is allowed.

    Raises ValueError for limits that nothing could meet or break.
    """

    max_error_rate: float = 0.0
    max_p99_s: float = 0.25
    min_requests: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.max_error_rate <= 1:
            raise ValueError(f"max_error_rate is a fraction: expected 0 to 1, got {self.max_error_rate}")
        if not (math.isfinite(self.max_p99_s) and self.max_p99_s > 0):
            raise ValueError(f"max_p99_s is a time in seconds: expected more than 0, got {self.max_p99_s}")
        if self.min_requests < 1:
            # Without a single request every other limit would hold, and a dead service would pass.
            raise ValueError(f"min_requests: expected at least 1, got {self.min_requests}")

    def judge(self, measured: Measured) -> Verdict:
        """Compare each figure with its limit. NaN (nothing was measured) never holds."""
        return Verdict(
            (
                Finding("requests", measured.requests, self.min_requests, holds=measured.requests >= self.min_requests),
                Finding(
                    "error_rate",
                    measured.error_rate,
                    self.max_error_rate,
                    holds=measured.error_rate <= self.max_error_rate,
                ),
                Finding("p99_s", measured.p99_s, self.max_p99_s, holds=measured.p99_s <= self.max_p99_s),
            )
        )
