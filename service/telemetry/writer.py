"""Writes the lines of the access log to a file or to standard output, in a thread of its own.

Rules
- The event loop never waits for the file.
- Lines that cannot be written, as on a full disk, are lost and counted. Requests go on.
- A file that was moved or removed (logrotate) is opened anew before the next lines are written.
- Several workers append to one file, so each call writes whole lines.
"""

import asyncio
import contextlib
import logging
import os
import queue
import select
import stat
import threading
import time
from collections.abc import Callable

from service.settings import SettingsError

logger = logging.getLogger("sluice.http")

COMPLAIN_EVERY_S = 60.0
STOP_S = 2.0
"""How long a stop waits for the last lines."""
STANDARD_OUTPUT = "-"
_MODE = 0o640


class LogWriter:
    """``path`` "-" is standard output. ``on_lost`` gets a number of lost lines, on the event loop's thread.

    Raises SettingsError if the file cannot be opened.
    """

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop, on_lost: Callable[[int], None]) -> None:
        self.unwritten_bytes = 0
        self._path = path
        self._loop = loop
        self._on_lost = on_lost
        self._batches: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_cut = False  # the last write ended within a line
        self._complained_at = -COMPLAIN_EVERY_S
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise SettingsError(
                f"SLUICE_ACCESS_LOG={path} (--access-log): expected a file that can be written, or -: {error}"
            ) from None
        self._thread = threading.Thread(target=self._write_all, name="access log", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Write whole lines, later. On the event loop's thread."""
        self.unwritten_bytes += len(lines)
        self._batches.put(lines)

    async def close(self) -> None:
        """Write the rest. This takes ``STOP_S`` at most: standard output may be a pipe that nobody reads."""
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join, STOP_S)

    # In the thread

    def _write_all(self) -> None:
        while (lines := self._batches.get()) is not None:
            try:
                self._reopen_if_moved()
                lost = self._write(lines)
            except Exception as error:  # noqa: BLE001  # the thread must not end
                self._complain(error)
                lost = lines.count(b"\n")
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._note, len(lines), lost)
        if self._path != STANDARD_OUTPUT:
            os.close(self._descriptor)

    def _note(self, written_bytes: int, lost: int) -> None:
        self.unwritten_bytes -= written_bytes
        if lost:
            self._on_lost(lost)

    def _open(self) -> int:
        if self._path == STANDARD_OUTPUT:
            return 1
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def _reopen_if_moved(self) -> None:
        if self._path == STANDARD_OUTPUT:
            return
        ours = os.fstat(self._descriptor)
        with contextlib.suppress(FileNotFoundError):
            there = os.stat(self._path)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        new = self._open()
        os.close(self._descriptor)
        self._descriptor, self._is_cut = new, False

    def _write(self, lines: bytes) -> int:
        """Write lines now. Returns how many were lost."""
        lost = 0
        for piece in self._cut(lines):
            rest = memoryview(b"\n" + piece if self._is_cut else piece)
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                    self._is_cut = bool(rest)
                except BlockingIOError:  # another process has made the pipe non-blocking
                    select.select((), (self._descriptor,), ())
                except OSError as error:
                    lost += bytes(rest).count(b"\n")
                    self._complain(error)
                    break
        return lost

    def _cut(self, lines: bytes) -> list[bytes]:
        """Cut lines for a pipe. It takes ``PIPE_BUF`` bytes at once: longer writes of several workers would mix."""
        if not stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            return [lines]
        pieces, begin = [], 0
        while begin < len(lines):
            end = len(lines)
            if end - begin > select.PIPE_BUF:
                end = lines.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1 or lines.find(b"\n", begin) + 1
            pieces.append(lines[begin:end])
            begin = end
        return pieces

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.error("the access log %s cannot be written, lines are lost: %s", self._path, error)
