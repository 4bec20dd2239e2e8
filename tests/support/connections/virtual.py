"""Connections in virtual time, so that a test does not wait for timeouts."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

from service.api.handler import RequestHandler, Responder
from service.metrics.meters import Metrics
from service.settings import Settings
from service.transport.asgi import AsgiApplication
from service.transport.fast.protocol import FastProtocol
from service.transport.request import INFER as INFER_ROUTE
from service.transport.request import JSON, Reply
from tests.support.clocks import Decorator, virtual_with
from tests.support.servers import ServerPath

PATH = "/v2/models/any/infer"


class Peer:
    """The client's end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.loop = asyncio.get_running_loop()

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self.loop.sock_sendall(self.end, piece)

    async def send_slowly(self, content: bytes, size: int = 1, every_s: float = 1.0) -> None:
        """So many bytes each time, until all is sent or the server has gone."""
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(content), size):
                await self.send(content[at : at + size])
                await asyncio.sleep(every_s)

    async def read(self) -> bytes:
        """What comes until the server closes; nothing where it breaks the connection off."""
        content = b""
        with contextlib.suppress(ConnectionError):
            while part := await self.loop.sock_recv(self.end, 1 << 20):
                content += part
        return content

    async def read_head(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer."""
        content = b""
        while b"\r\n\r\n" not in content:
            part = await self.loop.sock_recv(self.end, 1 << 16)
            assert part, content
            content += part
        head, _, body = content.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        while len(body) < int(headers["content-length"]):
            body += await self.loop.sock_recv(self.end, 1 << 16)
        return int(first.split()[1]), headers, body


class _Service:
    """What the application asks of a worker."""

    def __init__(self, server: "VirtualServer") -> None:
        self.server = server
        self.handler, self.metrics = server.handler, server.metrics

    async def information(self, scope: Any, receive: Any, send: Any) -> None:
        await self.server.inform(scope, receive, send)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class VirtualServer:
    """``start`` answers requests to ``PATH``, and ``inform`` all others.

    Unless a test replaces ``start``, it answers at once with the length of the body.
    """

    def __init__(self, settings: Settings, server_path: ServerPath) -> None:
        self.loop = asyncio.get_running_loop()
        self.metrics = Metrics()
        settings = settings.replace(fast_path=server_path.fast_path)
        self.handler = RequestHandler(settings, self.metrics, self.loop, clock=self.loop.time)
        self.start: Callable[[Responder], None] = answer
        self.inform: Callable[[Any, Any, Any], Awaitable[None]] = tell_nothing
        self.handler.starts[INFER_ROUTE] = lambda responder: self.start(responder)
        self.server_state = ServerState()
        self._app = AsgiApplication(lambda: _Service(self), Starlette())
        self._config = uvicorn.Config(self._app, log_config=None, access_log=False)
        self._peers: list[Peer] = []
        self._state: dict[str, Any] = {}

    async def start_up(self) -> None:
        """Start the application by the lifespan protocol. The lifespan does not end."""
        started = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if started.is_set():
                await asyncio.Event().wait()
            return {"type": "lifespan.startup"}

        async def send(_: object) -> None:
            started.set()

        scope = {"type": "lifespan", "state": self._state}
        self._living = asyncio.create_task(self._app(scope, receive, send))
        await started.wait()

    async def settle(self) -> None:
        """Wait until nothing is left to do, because only then the clock moves."""
        await asyncio.sleep(1)

    async def stop(self) -> None:
        for peer in self._peers:
            peer.end.close()
        await self.settle()
        self._living.cancel()
        self.handler.close()
        assert not self.server_state.connections
        assert self.handler.body_budget.held_bytes == 0

    async def connect(self) -> Peer:
        ours, theirs = socket.socketpair()
        for end in ours, theirs:
            end.setblocking(False)
        protocol = FastProtocol(self._config, self.server_state, self._state, self.loop)
        await self.loop.connect_accepted_socket(lambda: protocol, theirs)
        self._peers.append(Peer(ours))
        return self._peers[-1]


async def tell_nothing(scope: Any, receive: Any, send: Any) -> None:
    """No such route; the body is not read."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def answer(responder: Responder) -> None:
    """Answer with the number of bytes that arrived."""
    responder.finish(Reply(200, [b"%d" % len(responder.request.body)], (JSON,)), None)


@contextlib.asynccontextmanager
async def serving(settings: Settings, server_path: ServerPath) -> AsyncIterator[tuple[VirtualServer]]:
    """A server whose time is that of its loop."""
    server = VirtualServer(settings, server_path)
    await server.start_up()
    try:
        yield (server,)
    finally:
        await server.stop()


def served(settings: Settings) -> Decorator:
    """Make a test of a coroutine function: its positional argument is a server of the path of the test."""
    return virtual_with(functools.partial(serving, settings), "server_path")
