"""The HTTP server of a worker: uvicorn's, but it listens when the supervisor says so, and it always ends.

A replaced worker accepts no more connections, but stays ready and answers: each connection closes after its next
answer. When none is left, or after `drain_s`, it stops.

Other stops have two steps. For `lame_duck_s` the worker says that it is not ready but still answers, also on new
connections, and each connection closes after its next answer. Then it accepts no more, and the requests that it has
accepted have `drain_s` to finish. After that the process ends, whatever its threads do.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import uvicorn

from service.process.acceptor import Acceptor, ConnectionCounts
from service.process.channel import (
    BETWEEN_NAMES,
    LEAVE,
    LISTEN,
    LOADED,
    PAUSE,
    READY,
    REFUSED,
    SERVE,
    STARTED,
    WorkerEnd,
)
from service.settings import Settings, SettingsError
from service.transport.tls import RenewedIdentity, use_identity
from service.worker import Worker

logger = logging.getLogger("sluice")

_GRACE_S = 0.5
"""The stop may take this much longer than `drain_s`, so that the last clients still get an error."""


def end_process(code: int) -> NoReturn:
    """End now. Python would wait for its threads, and one may be in a native call that never returns."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def refuse(channel: WorkerEnd, error: SettingsError) -> NoReturn:
    """Tell the supervisor that this worker cannot serve, and end."""
    channel.tell(REFUSED, str(error))
    end_process(2)


class WorkerServer(uvicorn.Server):
    """``worker`` returns the worker once the application has started. ``index`` is its place, from 0.

    ``replaces``: it replaces another worker, and serves when the supervisor says so.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        listener: socket.socket,
        channel: WorkerEnd,
        worker: Callable[[], Worker],
        index: int,
        *,
        replaces: bool = False,
    ) -> None:
        super().__init__(config)
        assert settings.metrics_dir is not None  # noqa: S101  # `sluice serve` has set it
        self._settings = settings
        self._listener = listener
        self._channel = channel
        self._worker = worker
        self._tls = RenewedIdentity(settings)
        self._replaces = replaces
        self._index = index
        self._counts = ConnectionCounts(settings.metrics_dir, settings.workers)
        self._leave_by: float | None = None
        self._protocols: weakref.WeakSet[Any] = weakref.WeakSet()
        """Of all connections, also of those in their TLS handshake."""
        self._telling: asyncio.Task[None] | None = None
        self._is_leaving = False
        self._is_ready = False
        self._has_listened = False
        self._listening: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets)
        end_process(0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application. It listens when the supervisor says so, or when the models are loaded."""
        await super().startup(sockets=[])
        loop = asyncio.get_running_loop()
        self._channel.follow(lambda word: loop.call_soon_threadsafe(self._on_command, word), self._end_alone)
        self._channel.tell(STARTED)
        if not self._replaces:
            self._worker().when_loaded(self._become_ready)
        self._telling = asyncio.create_task(self._tell_loaded(), name="tell what has loaded")

    async def _tell_loaded(self) -> None:
        lacking = await self._worker().wait_for_loads()
        self._channel.tell(LOADED, BETWEEN_NAMES.join(lacking))

    def _end_alone(self) -> None:
        """Stop, because the supervisor has ended. Nobody is left to kill a worker whose event loop is blocked."""
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(self._settings.lame_duck_s + self._settings.drain_s + 2 * _GRACE_S)
        end_process(1)

    def _become_ready(self) -> None:
        self._is_ready = True
        if not self.should_exit:
            self._listen().add_done_callback(lambda _: self._channel.tell(READY))

    def _on_command(self, word: str) -> None:
        if self.should_exit:
            return
        if word == LEAVE:
            self._leave()
        elif self._is_ready:
            pass  # the other words are for workers that still load
        elif word == SERVE:
            self._become_ready()
        elif word == LISTEN:
            self._listen()
        elif word == PAUSE and self._listening is not None:
            self._listening.add_done_callback(lambda _: self._pause())

    def _leave(self) -> None:
        """Accept no more, because another worker has taken this one's place. `on_tick` ends the process."""
        worker = self._worker()
        self._leave_by = asyncio.get_running_loop().time() + worker.drain_s
        self._is_leaving = True
        while self.servers:
            self.servers.pop().close()
        for protocol in self._protocols:  # live streams are not among them: they go on
            if protocol.transport is None:
                protocol.is_leaving = True
            else:
                protocol.leave()
        worker.hand_over()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second. Returns whether to stop."""
        should_exit = await super().on_tick(counter)
        if self.servers:
            self._counts.write(self._index, len(self.server_state.connections))
        if self._leave_by is None or should_exit:
            return should_exit
        is_late = asyncio.get_running_loop().time() >= self._leave_by
        has_handshakes = any(protocol.transport is None for protocol in self._protocols)
        return is_late or not (has_handshakes or self.server_state.connections or self._worker().is_in_use)

    def _listen(self) -> "asyncio.Task[None]":
        if self._listening is None:
            self._listening = asyncio.create_task(self._accept(), name="listen")
        return self._listening

    def _pause(self) -> None:
        """Accept no more connections, because another worker is ready. Open ones stay open."""
        if not self._is_ready:
            while self.servers:
                self.servers.pop().close()
            self._listening = None

    async def _accept(self) -> None:
        if self.should_exit:
            return
        try:
            if not self._has_listened:
                await self._worker().listen()
                self._has_listened = True
            acceptor = Acceptor(
                self._listener.dup(),  # a pause closes it
                self._make_protocol,
                self.config.ssl,
                self._counts,
                self._index,
                handshake_s=self._settings.header_timeout_s,
            )
        except SettingsError as error:
            refuse(self._channel, error)
        except Exception:  # the supervisor starts another worker, which may succeed
            logger.exception("this worker cannot listen")
            end_process(1)
        self.servers.append(acceptor)  # type: ignore[arg-type]  # it has what uvicorn calls
        if self.should_exit or self._leave_by is not None:  # since it began to listen
            acceptor.close()

    def _renew_certificate(self) -> None:
        """Use a changed certificate from the next handshake on."""
        renewed = self._tls.renew(time.monotonic())
        if renewed is not None and self.config.ssl is not None:
            use_identity(self.config.ssl, renewed)

    def _make_protocol(self) -> asyncio.Protocol:
        self._renew_certificate()
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        if self._is_leaving:
            protocol.is_leaving = True  # type: ignore[attr-defined]  # our protocols have it
        self._protocols.add(protocol)
        return protocol

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        worker = self._worker()
        worker.announce_stop()
        self._is_leaving = True
        if self._settings.lame_duck_s and not worker.is_replaced and self._leave_by is None:
            for connection in list(self.server_state.connections):
                connection.leave()  # type: ignore[union-attr]  # our protocols have it
            await asyncio.sleep(self._settings.lame_duck_s)
        drain_s = worker.drain_s
        worker.begin_stop()
        # uvicorn would cancel the tasks that are left, and log an error for each. Closed connections end them quietly.
        asyncio.get_running_loop().call_later(drain_s, self._drop_connections)
        self.config.timeout_graceful_shutdown = drain_s + _GRACE_S / 2  # type: ignore[assignment]  # any number does
        try:
            async with asyncio.timeout(drain_s + _GRACE_S):
                await super().shutdown([self._listener])
        except TimeoutError:
            logger.error("the worker ends with work that is not done after %.1f s", drain_s)

    def _drop_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
