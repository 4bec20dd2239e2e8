"""A real server for tests: uvicorn in a thread, on a port of its own, with the runtime of one worker behind it."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import uvicorn
from starlette.applications import Starlette

from service.settings import Settings
from service.transport.asgi import AsgiApplication
from service.transport.fast.protocol import FastProtocol
from service.worker import Worker

logger = logging.getLogger(__name__)


class ClosingWorker(Worker):
    """Ends its threads when it stops, so that a test leaves none."""

    async def stop(self) -> None:
        await super().stop()
        self.registry.close()
        self.handler.close()
        self.device.close()

    def replace(self, reason: str) -> None:
        """Only log it, because the worker runs in the process of the tests."""
        logger.error("the worker would be replaced: %s", reason)


class ReadyWorker(ClosingWorker):
    """Has loaded its models when it has started, so that a test need not wait for them."""

    async def start(self) -> None:
        await super().start()
        assert self._loading is not None
        await self._loading


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: threading.Event) -> None:
        super().__init__(config)
        self._started_event = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started_event.set()


@dataclass(frozen=True)
class ServerPath:
    """A way into the server: the name of a test's parameter, and the setting for it."""

    name: str
    fast_path: bool


ASGI = ServerPath("asgi", False)
FAST = ServerPath("fast", True)
PATHS = (ASGI, FAST)


class Serving:
    """``with Serving(settings) as server``: ``server.url`` answers until the block ends."""

    def __init__(
        self,
        settings: Settings,
        server_path: ServerPath = ASGI,
        make: Callable[[Settings], Worker] = ReadyWorker,
        *,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.worker: Worker

        def open_service() -> Worker:
            self.worker = make(settings.replace(fast_path=server_path.fast_path))
            return self.worker

        config = uvicorn.Config(
            AsgiApplication(open_service, Starlette()),
            http=FastProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
            timeout_keep_alive=3600,  # the settings have another
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
        )
        self._started = threading.Event()
        self._server = _Server(config, self._started)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(120), "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(30)
        self._socket.close()
        assert not self._thread.is_alive(), "the server did not stop"

    def stop(self) -> None:
        """What SIGTERM does."""
        self._server.should_exit = True

    def connections(self) -> list[Any]:
        """uvicorn's protocol of each."""
        return list(self._server.server_state.connections)

    def client(self) -> httpx.Client:
        # A client that would verify reads all root certificates first, which takes longer than most tests.
        return httpx.Client(base_url=self.url, timeout=30, verify=False)  # noqa: S501  # the tests are plain HTTP


def turn_until(loop: asyncio.AbstractEventLoop, holds: Callable[[], bool]) -> None:
    """Let a loop of another thread turn until something holds there."""

    async def look() -> bool:
        return holds()

    until = time.monotonic() + 60
    while not asyncio.run_coroutine_threadsafe(look(), loop).result(30):
        assert time.monotonic() < until, "it did not hold within a minute"


def settings_for(store: Path, **changes: object) -> Settings:
    """Settings for a store that the server reads once, unless a test sets ``follow``."""
    return Settings(store=store, follow=False).replace(**changes)
