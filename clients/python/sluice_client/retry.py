"""When a request is sent again.

Only what the server has not worked on is sent again: the connection could not be made, or it answered 429 (busy) or 503
(not ready). An answer that has begun is never asked for twice. The wait is at least the server's ``Retry-After``; if
that would end after the deadline of the call, the error is raised at once.
"""

import email.utils
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

RETRIED = frozenset((429, 503))
"""Statuses."""
_SPREAD = 0.25
"""Callers that were refused together come back over this share of the wait."""


@dataclass(frozen=True)
class Retry:
    """``tries`` in all; 1: never again.

    Without ``Retry-After`` the waits double, from ``first_wait_s`` to ``most_wait_s``.
    """

    tries: int = 5
    first_wait_s: float = 0.1
    most_wait_s: float = 5.0

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"tries: expected at least 1, got {self.tries}")
        if not 0 < self.first_wait_s <= self.most_wait_s:
            raise ValueError(
                f"first_wait_s, most_wait_s: expected 0 < first <= most, got {self.first_wait_s}, {self.most_wait_s}"
            )

    def choose_wait(self, tried: int, left_s: float, retry_after_s: float | None = None) -> float | None:
        """Seconds until the next try, after ``tried`` tries; None: no more. ``left_s`` is left until the deadline."""
        if tried >= self.tries:
            return None
        least = retry_after_s
        if least is None:
            least = min(self.first_wait_s * 2 ** (tried - 1), self.most_wait_s)
        if least >= left_s:
            return None
        return min(least * (1 + _SPREAD * random.random()), left_s)  # noqa: S311  # not for secrets


def read_retry_after(text: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds of a ``Retry-After`` header: a number, or a date of HTTP. None where there is none that can be read."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now())
