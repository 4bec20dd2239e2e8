"""Where the time of requests went: what the engine tells of them, for statistics, traces and their callers."""

from typing import NamedTuple


class Times(NamedTuple):
    """One answered request: two instants on a monotonic clock and its stages, in seconds."""

    rows: int
    arrived: float
    ended: float
    queue_s: float
    batch_s: float
    compute_s: float


class Tally:
    """Requests that were answered together: how many, and their stages, in seconds summed over them."""

    def __init__(self, requests: int = 0) -> None:
        self.requests = requests
        self.total_s = self.queue_s = self.batch_s = self.compute_s = 0.0


def render_server_timing(total_s: float, stages_s: tuple[float, float, float] | None) -> bytes:
    """Milliseconds of a request, and of its wait, batch and run where it had any. W3C Server Timing."""
    if stages_s is None:
        return b"total;dur=" + _milliseconds(total_s)
    queue_s, batch_s, compute_s = stages_s
    return b"".join(
        [
            b"queue;dur=",
            _milliseconds(queue_s),
            b", batch;dur=",
            _milliseconds(batch_s),
            b", compute;dur=",
            _milliseconds(compute_s),
            b", total;dur=",
            _milliseconds(total_s),
        ]
    )


_MILLISECONDS = [b"%d.%03d" % divmod(us, 1000) for us in range(10_000)]
"""By microseconds. To format the four of an answer took a thirtieth of a tiny model's request."""


def _milliseconds(seconds: float) -> bytes:
    us = int(seconds * 1e6 + 0.5)
    return _MILLISECONDS[us] if 0 <= us < len(_MILLISECONDS) else b"%.3f" % (seconds * 1e3)
