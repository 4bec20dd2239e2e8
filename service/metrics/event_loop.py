"""Watches the event loop of a worker: how late it is.

A timer fires a few times a second. How late it is, is how long a request that comes now would have to wait before
anything happens. At each turn the worker writes its levels, so that the other workers can read them.
"""

import asyncio
import time
from collections.abc import Callable

from service.metrics.meters import Metrics

PERIOD_S = 0.25


class LoopWatch:
    """``clock`` gives seconds: that of the loop stands still while a callback runs."""

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
