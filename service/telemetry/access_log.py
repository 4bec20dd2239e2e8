"""The access log: a line of JSON for each request that ends, also if it was refused or given up.

Lines are collected for ``FLUSH_S``, then a thread writes them (``writer.py``). This file and ``lines.py`` are compiled.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from service.metrics.spans import Trace
from service.telemetry.lines import LineWriter
from service.telemetry.writer import LogWriter
from service.transport.observer import RequestEnd, RequestObserver
from service.transport.request import FORWARDED_INFER

FLUSH_S: Final = 0.1
MOST_WAITING_BYTES: Final = 16 << 20


class AccessLog(RequestObserver):
    """Writes the log. Requests that another worker has forwarded are in the log of that worker.

    ``on_lost`` gets a number of lines that are dropped because the thread cannot write them fast enough.
    """

    def __init__(
        self,
        lines: LineWriter,
        writer: LogWriter,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lines = lines
        self._writer = writer
        self._loop = loop
        self._on_lost = on_lost
        self._clock = clock
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, route: str, headers: dict[bytes, bytes]) -> Trace | None:
        return None

    def end(self, request: RequestEnd) -> None:
        if request.route == FORWARDED_INFER:
            return
        if self._waiting_bytes + self._writer.unwritten_bytes > MOST_WAITING_BYTES:
            self._on_lost(1)
            return
        line = self._lines.render(request, self._clock())
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Pass the lines on to the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._writer.write(b"".join(lines))
