"""One request on a connection of the fast path, and how its answer is written to the transport.

A whole reply has a length. A stream has chunks (RFC 9112, section 7.1), so that a caller can tell its end from a broken
connection; for HTTP/1.0, which knows no chunks, it ends with the connection, and one that is broken off is reset.

What a client has not read yet is kept by the transport: nothing is counted or copied here.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.engine.execution.write_coalescer import WriteCoalescer
from service.errors import ServiceError
from service.transport.request import MAX_UNREAD_BYTES, Call, Endpoint, Header, Reply

if TYPE_CHECKING:
    from service.transport.fast.connection import Line

_JOIN_BELOW_BYTES = 64 << 10
"""Answers up to this size are joined and written at once: a system call costs more than the copy."""

_KEPT = b"content-length: %d\r\n\r\n"
_CLOSING = b"content-length: %d\r\nconnection: close\r\n\r\n"
_RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds


class _NoEvent:
    """Stands where uvicorn's cycles have an event; nobody waits for it."""

    def set(self) -> None: ...


class FastRequest(Call):
    """One fast request of a connection.

    ``response_complete``, ``keep_alive``, ``disconnected`` and ``message_event`` are what uvicorn asks of its cycles.
    ``in_chunks`` says whether the caller understands a body in chunks. ``parts`` is the body as it comes.
    """

    message_event: ClassVar = _NoEvent()
    in_chunks = True
    parts: list[bytes]
    size = 0
    held_bytes = 0
    admitted = False
    body_is_there = False
    turn = False
    started = False
    refusal: ServiceError | None = None
    response_complete = False
    disconnected = False

    def __init__(
        self,
        line: "Line",
        endpoint: Endpoint,
        query: bytes,
        headers: dict[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        super().__init__(endpoint, query, headers)
        self.line = line
        self.keep_alive = keep_alive

    def reply(self, reply: Reply) -> None:
        line = self.line
        if self.disconnected or line.transport.is_closing():
            return
        if line.handler is not None and line.handler.cors is not None:
            reply.headers = (*reply.headers, *line.handler.cors.headers_for(self.headers))
        write_reply(line, reply, self.keep_alive, may_wait=line.stays_quiet_after(self))
        line.complete(self)

    def open(self, status: int, headers: Sequence[Header]) -> None:
        self.opened = True
        if self._is_lost():
            return
        handler = self.line.handler
        if handler is not None and handler.cors is not None:
            headers = (*headers, *handler.cors.headers_for(self.headers))
        parts = _head(self.line, status, headers)
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"transfer-encoding: chunked\r\n\r\n" if self.in_chunks else b"\r\n")
        self.line.transport.write(b"".join(parts))

    def send(self, chunk: bytes) -> None:
        if not chunk or self._is_lost():  # a chunk of no bytes would be the end
            return
        transport = self.line.transport
        if transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.abort()
        elif not self.in_chunks:
            transport.write(chunk)
        else:
            _write(transport, [b"%x\r\n" % len(chunk)], [chunk, b"\r\n"], len(chunk))

    def end(self) -> None:
        if self._is_lost():
            return
        if self.in_chunks:
            self.line.transport.write(b"0\r\n\r\n")
        self.line.complete(self)

    def abort(self) -> None:
        if self._is_lost():
            return
        transport = self.line.transport
        if not self.in_chunks:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
        transport.abort()  # in the next turn of the loop the connection is lost, which cancels the call

    @property
    def congested(self) -> bool:
        return self.line.flow.write_paused

    def _is_lost(self) -> bool:
        """Whether nothing can be written any more, because the connection or the answer has ended."""
        return self.response_complete or self.disconnected or self.line.transport.is_closing()


def write_reply(line: "Line", reply: Reply, keep_alive: bool, may_wait: bool = False) -> None:
    """Write a whole answer; one that ``may_wait``, together with others of its batch."""
    parts = _head(line, reply.status, reply.headers)
    size = reply.size_bytes
    parts.append((_KEPT if keep_alive else _CLOSING) % size)
    _write(line.transport, parts, reply.chunks, size, line.handler.writes if may_wait and line.handler else None)


_written: tuple[Sequence[Header], bytes] = ((), b"")
"""The headers of all answers, and how they are written: uvicorn makes new ones once a second, for the date."""


def _head(line: "Line", status: int, headers: Sequence[Header]) -> list[bytes | memoryview]:
    global _written
    common, written = _written
    if common is not line.server_state.default_headers:
        common = line.server_state.default_headers
        written = b"".join([b"%b: %b\r\n" % header for header in common])
        _written = common, written
    parts: list[bytes | memoryview] = [STATUS_LINE[status], written]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    return parts


def _write(
    transport: asyncio.Transport,
    head: list[bytes | memoryview],
    chunks: Iterable[bytes | memoryview],
    size_bytes: int,
    writes: WriteCoalescer | None = None,
) -> None:
    """Write ``chunks``, of ``size_bytes`` in all, after ``head``; by ``write coalescer``, if they are joined."""
    if size_bytes <= _JOIN_BELOW_BYTES:
        head += chunks
        if writes is None:
            transport.write(b"".join(head))
        else:
            writes.write(transport, b"".join(head))
        return
    transport.write(b"".join(head))
    for chunk in chunks:
        transport.write(chunk)
