"""Measures how late the event loop of a worker is.

A timer fires a few times a second. If it fires late, a request that came then had to wait as long. At each turn the
worker also writes its levels, so that the other workers can read them.
"""

import asyncio
import time
from collections.abc import Callable

from service.metrics.meters import Metrics

PERIOD_S = 0.25


class LoopWatch:
    """``clock`` is in seconds. The loop's own does not serve, because it stands still while a callback runs."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, metrics: Metrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._loop = loop
        self._metrics = metrics
        self._clock = clock
        self._lag = metrics.histogram("sluice_event_loop_lag_seconds", ())
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due = self._clock() + PERIOD_S
        self._timer = self._loop.call_later(PERIOD_S, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._lag.observe(max(0.0, self._clock() - self._due))
        self._metrics.write_levels()
        self.start()
