"""The times of requests, for statistics and traces."""

from typing import NamedTuple


class Times(NamedTuple):
    """An answered request: two times on a monotonic clock, and its stages in seconds."""

    rows: int
    arrived: float
    ended: float
    queue_s: float
    batch_s: float
    compute_s: float


class Tally:
    """Requests that were answered together: their number, and the sums of their stages in seconds."""

    def __init__(
        self,
        requests: int = 0,
        total_s: float = 0.0,
        queue_s: float = 0.0,
        batch_s: float = 0.0,
        compute_s: float = 0.0,
    ) -> None:
        self.requests = requests
        self.total_s = total_s
        self.queue_s = queue_s
        self.batch_s = batch_s
        self.compute_s = compute_s
