"""What batches cost: how long one takes, learned from every run, and how much of the device each model has used.

Rules of fair shares
- Each model is charged the seconds that its batches take, and those that its running batches are expected to take. Of
  the models with work, the one charged least runs next.
- A model that comes back after a rest starts at the level of the others. If a rest earned credit, it could block them.
"""

import bisect
from collections import defaultdict
from collections.abc import Collection
from typing import TypeVar

from mypy_extensions import mypyc_attr

from service.engine.batching import policy
from service.errors import BodyTooLarge

T = TypeVar("T")


@mypyc_attr(allow_interpreted_subclasses=True)
class CostModel:
    """Predicts the seconds of a run from its number of rows.

    Runs are grouped by powers of two of their rows. Each group has a running mean of rows and of seconds. Between these
    points the cost is interpolated. So a step in the cost, such as a kernel that changes at 8 rows, stays visible.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._rows: list[float] = []
        self._seconds: list[float] = []

    @property
    def is_known(self) -> bool:
        """Whether anything was observed."""
        return bool(self._sizes)

    def observe(self, rows: int, seconds: float) -> None:
        """Learn that a batch of ``rows`` rows took ``seconds``."""
        size = (rows - 1).bit_length()
        at = bisect.bisect_left(self._sizes, size)
        if at < len(self._sizes) and self._sizes[at] == size:
            known_s = self._seconds[at]
            if known_s > 0:
                seconds = min(seconds, policy.MOST_TIMES * known_s)
            self._rows[at] += policy.NEW_RUN_WEIGHT * (rows - self._rows[at])
            self._seconds[at] += policy.NEW_RUN_WEIGHT * (seconds - self._seconds[at])
        else:
            self._sizes.insert(at, size)
            self._rows.insert(at, rows)
            self._seconds.insert(at, seconds)

    def predict(self, rows: int) -> float:
        """The seconds that ``rows`` rows will take; 0.0 before anything was observed.

        Fewer rows than ever observed cost as much as the smallest batch; more cost in proportion to the largest.
        """
        known, seconds = self._rows, self._seconds
        if not known:
            return 0.0
        at = bisect.bisect_left(known, rows)
        if at == len(known):
            return seconds[-1] * rows / known[-1]
        if at == 0:
            return seconds[0]
        share = (rows - known[at - 1]) / (known[at] - known[at - 1])
        return seconds[at - 1] + share * (seconds[at] - seconds[at - 1])

    def scale(self, factor: float) -> "CostModel":
        """The cost of runs that take ``factor`` times as long."""
        scaled = CostModel()
        scaled._sizes, scaled._rows = list(self._sizes), list(self._rows)
        scaled._seconds = [seconds * factor for seconds in self._seconds]
        return scaled

    def largest(self, max_rows: int, seconds: float) -> int:
        """The most rows, up to ``max_rows`` and at least 1, that are expected to finish within ``seconds``."""
        if self.predict(max_rows) <= seconds:
            return max_rows
        return max(1, bisect.bisect_right(range(1, max_rows), seconds, key=self.predict))

    def efficient(self, max_rows: int) -> int:
        """The smallest of ``max_rows``, its half, its quarter and so on, whose cost of a row is close to the best.

        Larger batches would only make everybody wait longer.
        """
        sizes = [max_rows]
        while sizes[-1] > 1:
            sizes.append(sizes[-1] // 2)
        row_s = [(self.predict(rows) + policy.BATCH_OVERHEAD_S) / rows for rows in sizes]
        limit_s = min(row_s) * (1 + policy.EFFICIENT_WITHIN)
        return min(rows for rows, seconds in zip(sizes, row_s, strict=True) if seconds <= limit_s)

    def share(self, limit: int, waiting: int, lanes: int, inline_s: float) -> int:
        """The rows of the next batch if several ``lanes`` are idle: a share for each, if that is clearly faster.

        A share so short that the event loop would run it itself gains nothing: the lanes would stay idle.
        """
        share = max(1, min(limit, -(-waiting // lanes)))
        whole_s = self.predict(min(limit, waiting))
        return share if inline_s < self.predict(share) < policy.WORTH_SHARING * whole_s else limit


class SizedCosts:
    """Predicts the seconds of a run from its number of rows and their size, if rows may have any size.

    Sizes are grouped by powers of two of their elements, so there are few. ``usual_elements`` is the size that was
    measured before the model served; None: the first size that runs. The caller keeps the cost model of that size. In
    the methods ``elements`` is 0 if all rows have one size.
    """

    def __init__(self, usual_elements: int | None) -> None:
        self._usual = 0 if usual_elements is None else usual_elements.bit_length()
        self._costs: dict[int, CostModel] = {}

    def find(self, elements: int, usual: CostModel) -> tuple[CostModel, bool]:
        """The cost of rows of this size, and whether it was measured on rows at least this large.

        If it was not, the cost is in proportion to that of smaller rows.
        """
        size = elements.bit_length()
        if not self._usual or size in (0, self._usual):
            return usual, usual.is_known
        costs = {**self._costs, self._usual: usual}
        nearest = min((one for one in costs if one >= size), default=0)
        if nearest:
            return costs[nearest], costs[nearest].is_known
        largest = max(costs)
        return costs[largest].scale(2.0 ** (size - largest)), False

    def observe(self, rows: int, elements: int, seconds: float, usual: CostModel) -> None:
        """Learn that a batch of ``rows`` rows, each of ``elements``, took ``seconds``."""
        size = elements.bit_length()
        self._usual = self._usual or size
        if size in (0, self._usual):
            usual.observe(rows, seconds)
        else:
            self._costs.setdefault(size, CostModel()).observe(rows, seconds)


class RunMemory:
    """How many bytes a run takes, and the most that it may take.

    A row of n elements takes ``terms[0]`` + ``terms[1]`` n + ``terms[2]`` n². The square is for attention, which
    compares each element of a row with every other one.
    """

    def __init__(self, limit_bytes: int, terms: tuple[float, float, float]) -> None:
        self.limit_bytes = limit_bytes
        self._terms = terms

    def predict(self, elements: int) -> float:
        """The bytes that a row of ``elements`` takes while it runs."""
        fixed, linear, square = self._terms
        return fixed + elements * (linear + elements * square)

    def check(self, elements: int) -> None:
        """Raises BodyTooLarge for a row that takes too much."""
        run_bytes = self.predict(elements)
        if run_bytes > self.limit_bytes:
            raise BodyTooLarge(
                f"inputs: expected rows that take at most {self.limit_bytes} bytes while they run "
                f"(SLUICE_MAX_RUN_BYTES), got one of {elements} elements, which takes about {run_bytes:.2g}"
            )

    def most_rows(self, elements: int) -> int:
        """How many rows of ``elements`` may run together; at least one."""
        return max(1, int(self.limit_bytes / max(1.0, self.predict(elements))))


def may_try(rested_s: float, expected_s: float) -> bool:
    """Whether a model that has rested for ``rested_s`` may run a request for which it seems too slow.

    If all such requests were refused, the cost would never be learned anew.
    """
    return rested_s >= policy.RETRY_RUNS * expected_s


class FairShare:
    """Chooses which model runs next on a device: the one that has used it least."""

    def __init__(self) -> None:
        self._used_s: defaultdict[object, float] = defaultdict(float)
        self._under_way_s: defaultdict[object, float] = defaultdict(float)
        self._level_s = 0.0

    def enter(self, who: object) -> None:
        """``who`` has work again after having had none."""
        self._used_s[who] = max(self._used_s[who], self._level_s)

    def begin(self, who: object, expected_s: float) -> None:
        """A batch of ``who`` begins that is expected to take ``expected_s``."""
        self._under_way_s[who] += expected_s

    def end(self, who: object, expected_s: float, seconds: float) -> None:
        """A batch of ``who`` has ended and took ``seconds``."""
        self._under_way_s[who] -= expected_s
        self.charge(who, seconds)

    def charge(self, who: object, seconds: float) -> None:
        """Add to the account of ``who``."""
        self._used_s[who] += seconds

    def pick(self, candidates: Collection[T]) -> T:
        """The candidate that goes next. There must be one. Call it for a single one too, because it sets the level.

        Running batches affect the choice but not the level: an estimate that is too high would put a new model behind
        the others.
        """
        chosen = next(iter(candidates)) if len(candidates) == 1 else min(candidates, key=self._account_s)
        self._level_s = max(self._level_s, self._used_s[chosen])
        return chosen

    def _account_s(self, who: object) -> float:
        return self._used_s[who] + self._under_way_s[who]

    def forget(self, who: object) -> None:
        self._used_s.pop(who, None)
        self._under_way_s.pop(who, None)
