"""The times of requests, for statistics and traces."""

from dataclasses import dataclass
from typing import NamedTuple


class Times(NamedTuple):
    """The times of an answered request: two on a monotonic clock, and its stages in seconds."""

    rows: int
    arrived: float
    ended: float
    queue_s: float
    batch_s: float
    compute_s: float


@dataclass(slots=True)
class Tally:
    """Sums over requests that were answered together: their number, and their stages in seconds."""

    requests: int = 0
    total_s: float = 0.0
    queue_s: float = 0.0
    batch_s: float = 0.0
    compute_s: float = 0.0
