"""Fair shares of one device: the model that has used the least of it goes next. A plain object without a clock.

Rules
- Each model is charged the seconds that its batches take, those under way as long as they are expected to; of those
  with work, the one charged least runs next.
- A model that comes back after a rest starts at the level of the others: rest earns no credit, or it could block them.
"""

from collections.abc import Collection
from typing import TypeVar

T = TypeVar("T")


class FairShare:
    def __init__(self) -> None:
        self._used_s: dict[object, float] = {}
        self._under_way_s: dict[object, float] = {}
        self._level_s = 0.0

    def enter(self, who: object) -> None:
        """``who`` has work again after having had none."""
        self._used_s[who] = max(self._used_s.get(who, 0.0), self._level_s)

    def begin(self, who: object, expected_s: float) -> None:
        """A batch of ``who`` is under way that is expected to take so long."""
        self._under_way_s[who] = self._under_way_s.get(who, 0.0) + expected_s

    def end(self, who: object, expected_s: float, seconds: float) -> None:
        """It has ended, and took ``seconds``."""
        self._under_way_s[who] = self._under_way_s.get(who, 0.0) - expected_s
        self.charge(who, seconds)

    def charge(self, who: object, seconds: float) -> None:
        """Add to the account of ``who``."""
        self._used_s[who] = self._used_s.get(who, 0.0) + seconds

    def pick(self, candidates: Collection[T]) -> T:
        """The candidate that goes next; there must be one. To be asked of a single one too: that sets the level.

        What is under way counts for the choice only: at the level of an estimate a newcomer would stand behind the
        others by as much as it was too high.
        """
        chosen = next(iter(candidates)) if len(candidates) == 1 else min(candidates, key=self._account_s)
        self._level_s = max(self._level_s, self._used_s.get(chosen, 0.0))
        return chosen

    def _account_s(self, who: object) -> float:
        return self._used_s.get(who, 0.0) + self._under_way_s.get(who, 0.0)

    def forget(self, who: object) -> None:
        self._used_s.pop(who, None)
        self._under_way_s.pop(who, None)
