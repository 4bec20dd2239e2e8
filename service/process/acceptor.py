"""Accepts the connections of a worker, and spreads them evenly over all workers of the server.

The workers share one listening socket. Left alone, the worker that wakes up first accepts all waiting connections, and
keep-alive holds them there: one of two workers had up to 78 % of 64 connections. So a worker that has more connections
than another one waits for a moment before it accepts. If the other one is busy, it then accepts after all.
"""

import asyncio
import contextlib
import errno
import logging
import mmap
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger("sluice")

DEFER_S = 0.005
"""How long a worker with more connections waits for the others."""
_AT_ONCE = 8
"""Connections that are accepted in one turn of the event loop after such a wait."""
_FULL_S = 1.0
"""The pause before the next try when there are no more files or memory."""
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ABSENT = (1 << 64) - 1
_NUMBER_BYTES = 8


class ConnectionCounts:
    """The number of connections of each worker, by index, in a file of ``folder`` that all workers map into memory.

    Each number has one writer. A reader may see an old one: it only decides who accepts first.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "open.connections", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, workers * _NUMBER_BYTES)
            self._counts = memoryview(mmap.mmap(descriptor, workers * _NUMBER_BYTES)).cast("Q")
        finally:
            os.close(descriptor)

    def write(self, index: int, count: int | None) -> None:
        """``count`` None: this worker accepts no connections now."""
        self._counts[index] = _ABSENT if count is None else count

    def add(self, index: int) -> None:
        if self._counts[index] != _ABSENT:
            self._counts[index] += 1

    def has_more(self, index: int) -> bool:
        """Whether a worker has more connections than another one that accepts."""
        own = self._counts[index]
        return any(count < own for count in self._counts)


class Acceptor:
    """Accepts from ``listener``, which it owns. uvicorn calls ``close`` and ``wait_closed``."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        counts: ConnectionCounts,
        index: int,
        *,
        handshake_s: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._tls: dict[str, Any] = {} if context is None else {"ssl": context, "ssl_handshake_timeout": handshake_s}
        self._counts, self._index = counts, index
        self._has_waited = False
        self._timer: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        counts.write(index, 0)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Accept no more. Connections that wait in the socket are left to the other workers."""
        if self._listener.fileno() < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._counts.write(self._index, None)

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def _accept(self) -> None:
        if self._counts.has_more(self._index) and not self._has_waited:
            self._wait(DEFER_S)
            return
        at_once, self._has_waited = (_AT_ONCE if self._has_waited else 1), False
        for _ in range(at_once):
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno in _FULL:
                    logger.error("no connection can be accepted: %s", error)
                    self._wait(_FULL_S)
                return  # another worker has accepted it, or the client has closed it
            connection.setblocking(False)
            self._counts.add(self._index)
            task = self._loop.create_task(self._open(connection), name="open a connection")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._timer, self._has_waited = None, True
        self._loop.add_reader(self._listener, self._accept)

    async def _open(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the handshake has failed, or the client has closed the connection
            await self._loop.connect_accepted_socket(self._make_protocol, connection, **self._tls)
