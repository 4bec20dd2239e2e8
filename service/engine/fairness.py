"""Fair shares of one device: the model that has used the least of it goes next. A plain object without a clock.

Rules
- Each model is charged the seconds that its batches take; of those with work, the one charged least runs next.
- A model that comes back after a rest starts at the level of the others: rest earns no credit, or it could block them.
"""

from collections.abc import Collection
from typing import TypeVar

T = TypeVar("T")


class FairShare:
    def __init__(self) -> None:
        self._used_s: dict[object, float] = {}
        self._level_s = 0.0

    def enter(self, who: object) -> None:
        """``who`` has work again after having had none."""
        self._used_s[who] = max(self._used_s.get(who, 0.0), self._level_s)

    def charge(self, who: object, seconds: float) -> None:
        """Add to (or, when an estimate was too high, take from) the account of ``who``."""
        self._used_s[who] = self._used_s.get(who, 0.0) + seconds

    def pick(self, candidates: Collection[T]) -> T:
        """The candidate that goes next; there must be one. To be asked of a single one too: that sets the level."""
        if len(candidates) == 1:
            chosen = next(iter(candidates))
        else:
            chosen = min(candidates, key=lambda who: self._used_s.get(who, 0.0))
        self._level_s = max(self._level_s, self._used_s.get(chosen, 0.0))
        return chosen

    def forget(self, who: object) -> None:
        self._used_s.pop(who, None)
