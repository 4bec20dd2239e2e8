"""A stream that answers each message with it twice, and its client, in virtual time."""

import asyncio
import json
from pathlib import Path
from typing import Any

from service.errors import ServiceError
from service.settings import Settings
from service.transport.channel import Channel, Converse, Streams
from service.transport.request import Endpoint
from tests.support.connections.sockets import Closed, Frames, open_bytes
from tests.support.connections.virtual import Peer, VirtualServer

SETTINGS = Settings(store=Path(), max_message_bytes=4096, sequence_idle_s=60)
LIVE = "/live"


class Doubling(Streams):
    """Answers each message with it twice. ``gate`` holds the answers back; ``refusal`` refuses handshakes."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: ServiceError | None = None
        self.taken: list[str | bytes] = []
        self.cancelled = 0
        self.size = 1

    def match(self, path: str) -> Endpoint | None:
        return Endpoint(LIVE, path) if path.startswith(LIVE) else None

    def open(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> Converse:
        if self.refusal is not None:
            raise self.refusal
        return self.converse

    async def converse(self, channel: Channel) -> None:
        try:
            while (message := await channel.receive()) != "end":
                self.taken.append(message)
                await self.gate.wait()
                text = message if isinstance(message, str) else message.decode()
                await channel.send(self.size * (text + text).encode())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Client(Frames):
    def __init__(self, server: VirtualServer, peer: Peer) -> None:
        super().__init__()
        self.server, self.peer = server, peer
        self.head: dict[str, str] = {}
        self._found: list[Any] = []

    async def open(self, behind: bytes = b"", *headers: str) -> "Client":
        await self.peer.send(open_bytes(LIVE, *headers) + behind)
        content = b""
        while b"\r\n\r\n" not in content:
            content += await self.peer.loop.sock_recv(self.peer.end, 1 << 16)
        head, _, rest = content.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == "HTTP/1.1 101 Switching Protocols", content
        self.head = dict(line.lower().split(": ", 1) for line in lines)
        self._found += self.read(rest)
        return self

    async def say(self, *contents: str | bytes) -> None:
        await self.peer.send(b"".join(map(self.message, contents)))

    async def next(self) -> Any:
        """The next message, pong, or the end; None where the connection breaks off."""
        while not self._found:
            try:
                data = await self.peer.loop.sock_recv(self.peer.end, 1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._found += self.read(data)
        return self._found.pop(0)

    async def end(self) -> tuple[Any, Closed]:
        """The text of the error, and how the stream ends."""
        error = json.loads(await self.next())
        assert error["request_id"] == self.head["x-request-id"]
        closed = await self.next()
        return error["error"], closed


async def connect(server: VirtualServer) -> tuple[Doubling, Client]:
    streams = Doubling()
    server.handler.streams = streams
    return streams, Client(server, await server.connect())
