"""A connection of the fast path: its requests, their answers, and a shortcut for repeated heads.

Programs send the same head before each body. ``Connection.take`` recognises it without parsing. Everything else goes
through ``protocol.py``.

A stream is sent in chunks (RFC 9112, section 7.1), so that a caller can tell its end from a broken connection. HTTP/1.0
has no chunks: the end of the connection ends the stream, and a stream that fails is reset. The transport buffers what a
client has not read; nothing is copied here.
"""

import asyncio
import functools
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, ClassVar, Final, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from service.access.grants import INFER, Grant
from service.errors import BodyTooLarge, ServiceError
from service.transport.handler import Handler
from service.transport.request import (
    MAX_UNREAD_BYTES,
    SMALL_BODY_BYTES,
    BodyParts,
    Endpoint,
    HeaderField,
    Reply,
    StreamedRequest,
)

_VIEW_FROM_BYTES: Final = 16 << 10
"""Bodies of at least this size are views of the received bytes. Smaller ones are copied, which is faster."""
_JOIN_BELOW_BYTES: Final = 64 << 10
"""Answers of up to this size are joined: the copy costs less than another system call."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_MAX_KEPT_HEAD_BYTES: Final = 4 << 10
"""A connection remembers one head, unless it is longer."""

_KEPT: Final = b"content-length: %d\r\n\r\n"
_CLOSING: Final = b"content-length: %d\r\nconnection: close\r\n\r\n"
_RESET_WHEN_CLOSED: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds


class FastRequest(StreamedRequest):
    """One request of a connection.

    uvicorn reads ``response_complete``, ``keep_alive``, ``disconnected`` and ``message_event``. ``in_chunks``: the
    caller understands chunks. ``parts`` is the body so far, of ``size`` bytes. ``room_until`` is when its wait for
    room ends, on the loop's clock; 0 if it has not waited. ``has_turn``: the requests before it are answered.
    """

    message_event: ClassVar = asyncio.Event()  # nobody waits for it
    in_chunks = True
    parts: BodyParts
    size = 0
    held_bytes = 0
    room_until = 0.0
    waits_for_room = False
    has_body = False
    has_turn = False
    started = False
    refusal: ServiceError | None = None
    response_complete = False
    disconnected = False

    def __init__(
        self,
        connection: "Connection",
        endpoint: Endpoint,
        query: bytes,
        headers: dict[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        super().__init__(endpoint, query, headers)
        self.connection = connection
        self.keep_alive = keep_alive

    def find_client(self) -> str:
        return self.connection.client

    def reply(self, reply: Reply) -> None:
        connection = self.connection
        if self.disconnected or connection.transport.is_closing():
            return
        handler = connection.handler
        if handler is not None and handler.cors is not None:
            reply.headers = (*reply.headers, *handler.cors.headers_for(self.headers))
        write_reply(connection, reply, self.keep_alive)
        connection.complete(self)

    def open(self, status: int, headers: Sequence[HeaderField]) -> None:
        if self._is_lost():
            return
        handler = self.connection.handler
        if handler is not None and handler.cors is not None:
            headers = (*headers, *handler.cors.headers_for(self.headers))
        parts = _render_head(self.connection, status, headers)
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"transfer-encoding: chunked\r\n\r\n" if self.in_chunks else b"\r\n")
        self.connection.transport.write(b"".join(parts))

    def send(self, chunk: bytes) -> None:
        if not chunk or self._is_lost():  # an empty chunk would end the body
            return
        transport = self.connection.transport
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
            self.connection.transport.write(b"0\r\n\r\n")
        self.connection.complete(self)

    def abort(self) -> None:
        if self._is_lost():
            return
        transport = self.connection.transport
        if not self.in_chunks:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
        transport.abort()  # the next turn of the loop calls ``connection_lost``, which cancels the request

    def _is_lost(self) -> bool:
        """Whether nothing can be written any more: the connection or the answer has ended."""
        return self.response_complete or self.disconnected or self.connection.transport.is_closing()


@dataclass(eq=False)
class Head:
    """A parsed head of a request of the fast path whose body has a declared length."""

    text: bytes
    size: int
    endpoint: Endpoint
    query: bytes
    headers: dict[bytes, bytes]
    keep_alive: bool
    grant: Grant | None


def learn_head(request: FastRequest, data: bytes) -> Head | None:
    """The head to remember of ``data``, the read that began ``request``. None unless it is exactly that request."""
    if not request.has_body or request.refusal is not None:
        return None
    if request.size == 0 or request.headers.get(b"content-length") != b"%d" % request.size:
        return None  # chunks, or a length that is written differently
    if request.size >= len(data) or len(data) - request.size > _MAX_KEPT_HEAD_BYTES:
        return None
    text, headers = data[: -request.size], dict(request.headers)
    if text.find(_END_OF_HEAD) + len(_END_OF_HEAD) != len(text):
        return None  # an empty line follows the body
    return Head(text, request.size, request.endpoint, request.query, headers, request.keep_alive, request.grant)


class ConnectionProtocol(Protocol):
    """What a connection needs of ``FastProtocol``. ``cycle`` is the last request, of either path."""

    cycle: Any

    def complete(self, request: FastRequest) -> None:
        """The answer to a request is written."""


class Connection:
    """The state that the requests of a connection share.

    ``running`` is the request whose turn it is, ``head`` the head of the last request, ``idle_since`` a time on the
    loop's clock. ``client`` is the client's address. ``is_plain``: the last request came through ``take``, nothing has
    arrived since, and the client reads its answers. Then nothing has to be done after its answer.
    """

    def __init__(
        self,
        protocol: ConnectionProtocol,
        handler: Handler | None,
        transport: asyncio.Transport,
        flow: FlowControl,
        server_state: ServerState,
        loop: asyncio.AbstractEventLoop,
        client: str = "",
    ) -> None:
        self.client = intern(client)  # the access log compares it by identity with that of the line before
        self.protocol: ConnectionProtocol | None = protocol  # None once the connection is lost: it breaks a cycle
        self.handler = handler
        self.transport = transport
        self.flow = flow
        self.server_state = server_state
        self.running: FastRequest | None = None
        self.head: Head | None = None
        self.idle_since = 0.0
        self.is_plain = False
        self._loop = loop

    def take(self, data: bytes) -> bool:
        """Begin a request if ``data`` is one with the remembered head. False if it is not, or has to wait."""
        head = self.head
        if head is None or len(data) != len(head.text) + head.size or not data.startswith(head.text):
            return False
        handler, protocol = self.handler, self.protocol
        if handler is None or protocol is None:
            return False
        grant = head.grant
        previous = protocol.cycle
        if (previous is not None and not previous.response_complete) or self.flow.write_paused:
            return False
        if handler.guard is not None:  # the key may have been withdrawn, or have used up its share
            grant = None if grant is None else handler.guard.renew(grant)
            if grant is None:
                return False
        handler.body_budget.grow(head.size)  # it came in one read, so it need not wait for room
        request = FastRequest(self, head.endpoint, head.query, head.headers, head.keep_alive)
        if grant is not None:
            request.grant, request.caller = grant, grant.name
        request.held_bytes = head.size
        request.has_body = request.has_turn = request.started = True
        request.body = data[-head.size :] if head.size < _VIEW_FROM_BYTES else memoryview(data)[-head.size :]
        protocol.cycle = self.running = request
        self.is_plain = True
        handler.start(request)
        return True

    def admit(self, request: FastRequest, fields: Sequence[HeaderField]) -> None:
        """Check the key of a request whose head is complete. A refusal is answered before the body is read."""
        handler = self.handler
        if handler is None or handler.guard is None:
            return
        try:
            grant = handler.guard.admit(INFER, fields, self.client)
        except ServiceError as error:
            self.refuse(request, error)
        else:
            request.grant, request.caller = grant, grant.name

    def receive(self, request: FastRequest, body: bytes) -> None:
        """Take the next part of a body. Sets ``waits_for_room`` if reading has to pause."""
        handler = self.handler
        if handler is None or request.refusal is not None or request.response_complete:
            return
        request.size += len(body)
        max_bytes = handler.settings.max_body_bytes
        if request.size > max_bytes:
            self.refuse(request, BodyTooLarge(f"body: expected at most {max_bytes} bytes, got more"))
            return
        request.parts.add(body)
        request.held_bytes = request.size
        handler.body_budget.grow(len(body))
        if request.size > SMALL_BODY_BYTES:
            go_on = functools.partial(self._read_on, request)
            request.waits_for_room = not handler.body_budget.may_read_on(request, request.size, go_on)

    def receive_end(self, request: FastRequest) -> None:
        """The body is complete."""
        request.has_body = True
        if request.waits_for_room and self.handler is not None:
            request.waits_for_room = False
            self.handler.body_budget.stop_waiting(request)
        self.begin(request)

    def _read_on(self, request: FastRequest) -> None:
        handler = self.handler
        request.waits_for_room = False
        if handler is not None and handler.body_budget.is_first(request):
            request.room_until = self._loop.time() + handler.settings.deadline_s
        if request.has_turn:
            self.flow.resume_reading()

    def refuse(self, request: FastRequest, error: ServiceError) -> None:
        """Answer with an error before the body is complete. The connection closes after the answer."""
        request.refusal = error
        request.received_bytes = request.size
        request.keep_alive = request.waits_for_room = False
        request.parts.take()
        self.forget(request)
        self.begin(request)

    def begin(self, request: FastRequest) -> None:
        """Pass the request to the handler, if it is complete and its turn has come."""
        handler = self.handler
        if handler is None or not request.has_turn or request.started or request.response_complete:
            return
        if not request.has_body and request.refusal is None:
            return
        self.running = request
        request.started = True
        request.body = request.parts.take()
        if request.refusal is not None:
            handler.refuse(request, request.refusal)
        else:
            handler.start(request)

    def complete(self, request: FastRequest) -> None:
        """The answer to a request is written, or is the next thing to be written."""
        request.response_complete = True
        self.forget(request)
        if self.is_plain and request.keep_alive and request.refusal is None:
            self.running = None
            self.server_state.total_requests += 1
            self.idle_since = self._loop.time()
        elif self.protocol is not None:  # another answer, or the end of the connection, may follow
            self.protocol.complete(request)

    def lose(self, request: FastRequest) -> None:
        """The caller has gone before the answer was complete."""
        request.disconnected = True
        if request.work is not None:
            request.work.cancel()
        elif self.handler is not None:
            request.received_bytes = request.size
            self.handler.lose(request)
        self.forget(request)

    def forget(self, request: FastRequest) -> None:
        """Release the bytes of the request's body, once."""
        if request.held_bytes and self.handler is not None:
            size, request.held_bytes = request.held_bytes, 0
            self.handler.body_budget.release(size, None if size <= SMALL_BODY_BYTES else request)


def write_reply(connection: Connection, reply: Reply, keep_alive: bool) -> None:
    """Write a whole answer."""
    parts = _render_head(connection, reply.status, reply.headers)
    size = reply.size_bytes
    parts.append((_KEPT if keep_alive else _CLOSING) % size)
    _write(connection.transport, parts, reply.chunks, size)


_written: tuple[Sequence[HeaderField], bytes] = ((), b"")
"""uvicorn's headers for all answers, and their text. uvicorn renews them every second, for the date."""


def _render_head(connection: Connection, status: int, headers: Sequence[HeaderField]) -> list[bytes | memoryview]:
    global _written
    common, written = _written
    if common is not connection.server_state.default_headers:
        common = connection.server_state.default_headers
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
) -> None:
    if size_bytes <= _JOIN_BELOW_BYTES:
        head += chunks
        transport.write(b"".join(head))
        return
    transport.write(b"".join(head))
    for chunk in chunks:
        transport.write(chunk)
