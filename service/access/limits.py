"""Limits of callers: how many requests and rows. Pure; time is an argument, in seconds of a monotonic clock.

Rules
- A rate is a token bucket. It holds the amount of one second, at least 1, and is full at first.
- A daily quota is a window of 24 hours that begins with its first row.
- A request with more rows than a limit holds is accepted only if the limit is unused. What it takes beyond the limit is
  deducted later.
- With several workers each has its share, because workers have no common memory for counting.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import abc
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

DAY_S: Final = 86_400.0


class Rates(NamedTuple):
    """The configured limits; 0: no limit."""

    requests_per_s: float = 0.0
    rows_per_s: float = 0.0
    rows_per_day: float = 0.0

    def shared_by(self, workers: int) -> "Rates":
        """The share of one worker."""
        return Rates(*(each / workers for each in self))


class Limit(abc.ABC):
    """At most ``quota`` in ``window_s`` seconds. ``name`` is the unit, for headers and messages."""

    def __init__(self, name: str, quota: float, window_s: float) -> None:
        self.name = name
        self.quota = quota
        self.window_s = window_s

    @abc.abstractmethod
    def left(self, now: float) -> float:
        """What may be taken now; negative after a request that took more."""

    @abc.abstractmethod
    def reset_s(self, now: float) -> float:
        """Seconds until the whole quota is available again."""

    @abc.abstractmethod
    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken; 0: now."""

    @abc.abstractmethod
    def take(self, amount: float, now: float) -> None:
        """Take ``amount``, even if less is left."""

    def describe_policy(self) -> str:
        unit = "" if self.name == "requests" else ';qu="rows"'
        return f'"{self.name}";q={math.floor(self.quota)};w={math.ceil(self.window_s)}{unit}'

    def describe_left(self, now: float) -> str:
        return f'"{self.name}";r={max(0, math.floor(self.left(now)))};t={math.ceil(self.reset_s(now))}'


class Bucket(Limit):
    """A rate, as a token bucket."""

    def __init__(self, name: str, per_s: float) -> None:
        super().__init__(name, max(1.0, per_s), max(1.0, 1.0 / per_s))
        self._per_s = per_s
        self._level = self.quota
        self._at = -math.inf

    def left(self, now: float) -> float:
        elapsed_s = max(0.0, now - self._at)
        return min(self.quota, self._level + elapsed_s * self._per_s)

    def reset_s(self, now: float) -> float:
        return (self.quota - self.left(now)) / self._per_s

    def wait_s(self, amount: float, now: float) -> float:
        return max(0.0, (min(amount, self.quota) - self.left(now)) / self._per_s)

    def take(self, amount: float, now: float) -> None:
        self._level, self._at = self.left(now) - amount, now


class DailyQuota(Limit):
    def __init__(self, name: str, quota: float) -> None:
        super().__init__(name, max(1.0, quota), DAY_S)
        self._taken = 0.0
        self._ends = -math.inf

    def left(self, now: float) -> float:
        return self.quota if now >= self._ends else self.quota - self._taken

    def reset_s(self, now: float) -> float:
        return max(0.0, self._ends - now) if self._taken else 0.0

    def wait_s(self, amount: float, now: float) -> float:
        return 0.0 if self.left(now) >= min(amount, self.quota) else self._ends - now

    def take(self, amount: float, now: float) -> None:
        if now >= self._ends:
            self._ends, self._taken = now + DAY_S, 0.0
        self._taken += amount


class Refusal(NamedTuple):
    """``limit`` is used up for ``wait_s`` seconds."""

    limit: Limit
    wait_s: float


class Limits:
    """The limits of one caller. ``rates`` are the share of this worker."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self._requests = [Bucket("requests", rates.requests_per_s)] if rates.requests_per_s else []
        self._rows: list[Limit] = [Bucket("rows", rates.rows_per_s)] if rates.rows_per_s else []
        if rates.rows_per_day:
            self._rows.append(DailyQuota("rows-per-day", rates.rows_per_day))
        policies = ", ".join(each.describe_policy() for each in (*self._requests, *self._rows))
        self._policy = (b"ratelimit-policy", policies.encode())

    def take_request(self, now: float) -> Refusal | None:
        """Count a request, and return None; or return why it is refused, and count nothing."""
        return _take(self._requests, 1.0, now)

    def take_rows(self, rows: int, now: float, *, may_refuse: bool = True) -> Refusal | None:
        """Count rows, and return None; or, if ``may_refuse``, return why they are refused, and count nothing."""
        return _take(self._rows, float(rows), now, may_refuse)

    def headers(self, now: float) -> Sequence[tuple[bytes, bytes]]:
        """``RateLimit-Policy`` and ``RateLimit``."""
        left = ", ".join(each.describe_left(now) for each in (*self._requests, *self._rows))
        return (self._policy, (b"ratelimit", left.encode()))


def open_limits(rates: Rates, workers: int) -> Limits | None:
    """The limits of a caller in one of ``workers`` workers; None without limits."""
    return Limits(rates.shared_by(workers)) if any(rates) else None


def _take(limits: Sequence[Limit], amount: float, now: float, may_refuse: bool = True) -> Refusal | None:
    if may_refuse:
        for limit in limits:
            wait_s = limit.wait_s(amount, now)
            if wait_s > 0:
                return Refusal(limit, wait_s)
    for limit in limits:
        limit.take(amount, now)
    return None
