"""The client's side of a WebSocket, without I/O: wsproto makes and reads the frames."""

from typing import NamedTuple

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPTED = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The key and its answer of RFC 6455, section 1.3."""


class Closed(NamedTuple):
    code: int
    reason: str


def open_bytes(path: str, *headers: str, version: str = "13", key: str = KEY, method: str = "GET") -> bytes:
    """The handshake."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: test",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Frames:
    """``read`` takes what came and gives whole messages, pongs and the end."""

    def __init__(self) -> None:
        self._frames = Connection(ConnectionType.CLIENT)
        self._part: str | bytes | None = None

    def message(self, content: str | bytes) -> bytes:
        return bytes(self._frames.send(Message(data=content)))

    def part(self, content: str | bytes) -> bytes:
        """A fragment of a message that does not end."""
        return bytes(self._frames.send(Message(data=content, message_finished=False)))

    def ping(self, payload: bytes = b"") -> bytes:
        return bytes(self._frames.send(Ping(payload=payload)))

    def close(self, code: int = 1000) -> bytes:
        return bytes(self._frames.send(CloseConnection(code=code)))

    def read(self, data: bytes) -> list[str | bytes | Closed | Pong]:
        self._frames.receive_data(data)
        return [found for event in self._frames.events() if (found := self._take(event)) is not None]

    def _take(self, event: Event) -> str | bytes | Closed | Pong | None:
        if isinstance(event, CloseConnection):
            return Closed(int(event.code), event.reason or "")
        if isinstance(event, Pong):
            return event
        assert isinstance(event, TextMessage | BytesMessage)
        self._part = event.data if self._part is None else self._part + event.data
        if not event.message_finished:
            return None
        whole, self._part = self._part, None
        return whole
