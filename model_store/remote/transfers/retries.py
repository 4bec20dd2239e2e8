"""Decides when something that failed is tried again. Pure: time is an argument."""

from collections.abc import Iterator
from dataclasses import dataclass, field

FIRST_WAIT_S = 0.2
MOST_TRIES = 6
LONGEST_WAIT_S = 3600.0


def find_waits(tries: int) -> Iterator[float]:
    """Seconds to wait before each further try, each time twice as long."""
    for number in range(tries - 1):
        yield FIRST_WAIT_S * 2**number


@dataclass(slots=True)
class Backoff:
    """Versions that could not be fetched, which are tried again after a wait that doubles each time.

    If the mark of a version changes, the remote store has something else, and it is tried at once.
    """

    first_s: float
    _failed: dict[tuple[str, int], tuple[str, int, float]] = field(default_factory=dict)
    """By name and version: the mark, how often it has failed, and when it may be tried again."""

    def is_due(self, key: tuple[str, int], mark: str, now_s: float) -> bool:
        found = self._failed.get(key)
        return found is None or found[0] != mark or now_s >= found[2]

    def fail(self, key: tuple[str, int], mark: str, now_s: float) -> None:
        found = self._failed.get(key)
        tries = found[1] + 1 if found is not None and found[0] == mark else 1
        wait_s = min(self.first_s * 2 ** min(tries - 1, 30), LONGEST_WAIT_S)
        self._failed[key] = (mark, tries, now_s + wait_s)

    def succeed(self, key: tuple[str, int]) -> None:
        self._failed.pop(key, None)

    def has(self, key: tuple[str, int]) -> bool:
        return key in self._failed
