"""When the requests of an open loop are due: at a constant rate, whether or not earlier ones are answered."""

import math


class Schedule:
    """Request ``n`` is due ``n / rate_per_s`` seconds after the start; each is taken once, by a free caller."""

    def __init__(self, rate_per_s: float) -> None:
        self.rate_per_s = rate_per_s
        self._taken = 0

    def take(self) -> float:
        """The seconds from the start at which the next request is due. They may be past."""
        due_s = self._taken / self.rate_per_s
        self._taken += 1
        return due_s

    def count_not_sent(self, elapsed_s: float) -> int:
        """Requests that were due by now and that no caller was free to take.

        One that is taken is sent as soon as it is due; at the end Locust stops its caller before that, which is no
        fault of the server.
        """
        return max(0, math.floor(elapsed_s * self.rate_per_s) + 1 - self._taken)
