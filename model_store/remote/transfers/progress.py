"""Reports the progress of a transfer."""

import logging
from typing import Protocol

from model_store.display.size import write_size

logger = logging.getLogger("sluice.store")
EVERY_S = 10.0


class Progress(Protocol):
    """Called from one thread at a time."""

    def begin(self, files: int, total_bytes: int) -> None:
        """A transfer of one or more files begins."""

    def advance(self, count: int, now_s: float) -> None:
        """``count`` more bytes were transferred."""

    def end(self) -> None:
        """The transfer has ended."""


class NoProgress:
    def begin(self, files: int, total_bytes: int) -> None:
        pass

    def advance(self, count: int, now_s: float) -> None:
        pass

    def end(self) -> None:
        pass


class LogProgress:
    """Logs a line at the beginning, from time to time, and at the end."""

    def __init__(self) -> None:
        self._total = self._done = 0
        self._told_s: float | None = None

    def begin(self, files: int, total_bytes: int) -> None:
        self._total, self._done, self._told_s = total_bytes, 0, None
        logger.info("fetching %d files, %s", files, write_size(total_bytes))

    def advance(self, count: int, now_s: float) -> None:
        self._done += count
        if self._told_s is None:
            self._told_s = now_s
        elif now_s - self._told_s >= EVERY_S:
            self._told_s = now_s
            share = 100 * self._done // max(1, self._total)
            logger.info("fetching: %s of %s, %d %%", write_size(self._done), write_size(self._total), share)

    def end(self) -> None:
        logger.info("fetching: %s done", write_size(self._done))
