"""Where the time of requests went: what the engine tells of them, for statistics and traces."""

from dataclasses import dataclass
from typing import NamedTuple


class Times(NamedTuple):
    """One answered request: two instants on a monotonic clock and its stages, in seconds."""

    rows: int
    arrived: float
    ended: float
    queue_s: float
    batch_s: float
    compute_s: float


@dataclass
class Tally:
    """Requests that were answered together: how many, and their stages, in seconds summed over them."""

    requests: int = 0
    total_s: float = 0.0
    queue_s: float = 0.0
    batch_s: float = 0.0
    compute_s: float = 0.0
