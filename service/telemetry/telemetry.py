"""Opens the access log and the traces of a worker, as the settings ask."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from service.metrics.meters import Metrics
from service.settings import Settings, SettingsError
from service.telemetry.access_log import AccessLog
from service.telemetry.lines import LineWriter
from service.telemetry.writer import LogWriter
from service.transport.observer import ObserverGroup, RequestObserver

if TYPE_CHECKING:
    from service.telemetry.tracing import Exporter

logger = logging.getLogger("sluice")


class Telemetry:
    """``observer`` is for the handler; None if both are off. ``release`` is our version. Raises SettingsError."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        release: str = "",
    ) -> None:
        observers: list[RequestObserver] = []
        self._writer: LogWriter | None = None
        self._access_log: AccessLog | None = None
        self._exporter: Exporter | None = None
        if settings.access_log:
            lost = metrics.numbers("sluice_access_log_lost")
            self._writer = LogWriter(settings.access_log, loop, lost.add)
            self._access_log = AccessLog(LineWriter(settings.base_path), self._writer, loop, lost.add)
            observers.append(self._access_log)
        if settings.tracing and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true":
            try:
                from service.telemetry.tracing import open_tracing
            except ModuleNotFoundError as error:
                raise SettingsError(
                    f"SLUICE_TRACING: {error.name} is not installed: pip install 'sluice-serving[tracing]'"
                ) from None
            tracing, self._exporter = open_tracing(settings, clock, release)
            observers.append(tracing)
        self.observer: RequestObserver | None = None
        if observers:
            self.observer = observers[0] if len(observers) == 1 else ObserverGroup(observers)

    async def close(self) -> None:
        """Write and send the rest. This takes a few seconds at most."""
        if self._access_log is not None:
            self._access_log.flush()
        closing = [part.close() for part in (self._writer, self._exporter) if part is not None]
        await asyncio.gather(*closing)
