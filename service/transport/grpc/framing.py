"""gRPC over HTTP/2: the head of a call, the messages in its data, and the status at its end.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote

from service.access.grants import Grant
from service.access.routes import find_rpc_scope
from service.errors import BodyTooLarge, InvalidInput, QueueFull, ServiceError, TooSlow
from service.protocol.compression import inflate
from service.transport.concurrency import ConnectionConcurrency
from service.transport.grpc.codes import METADATA, refusal_of
from service.transport.handler import Handler
from service.transport.http2.fields import Fields, write_field
from service.transport.http2.sender import Sender
from service.transport.http2.streams import Stream
from service.transport.request import LEAST_BYTES_PER_S, BodyParts, Reply

PREFIX_BYTES: Final = 5
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_CODINGS: Final = {b"gzip": "gzip", b"deflate": "deflate"}
_TAKEN: Final = (b"x-request-id", b"traceparent", b"tracestate")
"""Metadata that become headers of the request, besides names that begin with ``x-``, which may choose a canary."""
_RESERVED: Final = (b"te", b"content-type", b"user-agent")
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_GRANT_BYTES: Final = 1 << 20
"""How much more of a large message is asked for at a time."""

ANSWER_HEAD: Final = (
    b"\x88"  # :status 200, by its index
    + write_field(b"content-type", b"application/grpc")
    + write_field(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
GOOD_END: Final = write_field(b"grpc-status", b"0")
WRONG_MEDIA: Final = write_field(b":status", b"415")


class Link:
    """What the calls of a connection share.

    ``max_bytes`` limits a message. Within the time of a body, a message must end or bring ``least_bytes``. ``client``
    is the caller's address. ``wake`` has output written at the end of this turn of the event loop. ``concurrency``
    limits the requests of streams.
    """

    def __init__(self, sender: Sender, handler: Handler, max_bytes: int, client: str, wake: Callable[[], None]) -> None:
        self.sender = sender
        self.handler = handler
        self.max_bytes = max_bytes
        self.least_bytes = LEAST_BYTES_PER_S * handler.settings.body_timeout_s
        self.client = client
        self.wake = wake
        self.concurrency = ConnectionConcurrency()

    def ask_for(
        self, call: object, stream: Stream, missing_bytes: int, held_bytes: int, go_on: Callable[[], None]
    ) -> None:
        """Let the client send more of a message than its window allows. ``go_on`` is called if there is room later."""
        more = min(missing_bytes - stream.receive_window, _GRANT_BYTES)
        if more > 0 and self.handler.body_budget.may_read_on(call, held_bytes + more, go_on):
            self.sender.grant(stream, more)
            self.wake()


class CallHead:
    """The header fields of a call. ``fault`` is the reason to refuse it."""

    def __init__(self, fields: Fields) -> None:
        found = dict(fields)
        self.path = found.get(b":path", b"")
        self.is_grpc = found.get(b":method") == b"POST" and found.get(b"content-type", b"").startswith(
            b"application/grpc"
        )
        self.metadata = tuple(
            (name, value)
            for name, value in fields
            if name[:1] != b":" and name[:5] != b"grpc-" and name not in _RESERVED
        )
        self.headers = {name: value for name, value in self.metadata if name in _TAKEN or name[:2] == b"x-"}
        self.fault: ServiceError | None = None
        self.scope = find_rpc_scope(self.path.decode("latin-1"))
        self.grant: Grant | None = None  # what the caller's credential allows, once it was checked
        self.timeout_s: float | None = None
        timeout = found.get(b"grpc-timeout")
        if timeout is not None:
            match = _TIMEOUT.fullmatch(timeout)
            if match is None:
                self.fault = InvalidInput(f"grpc-timeout: expected digits and a unit, got {timeout!r:.40}")
            else:
                self.timeout_s = int(match[1]) * _UNITS_S[match[2]]
        coding = found.get(b"grpc-encoding", b"identity")
        self.coding = _CODINGS.get(coding)
        self.knows_coding = self.coding is not None or coding == b"identity"


class MessageReader:
    """Collects the messages in the data of a call. ``max_bytes`` limits each, before and after it is inflated."""

    def __init__(self, coding: str | None, max_bytes: int) -> None:
        self._coding = coding
        self._max_bytes = max_bytes
        self._parts = BodyParts()  # received after ``_data``
        self._data, self._at = b"", 0  # the next message begins here
        self.held_bytes = 0
        self.is_compressed = False
        self._wanted = PREFIX_BYTES  # the size of the next message with its prefix, once the prefix is read

    @property
    def missing_bytes(self) -> int:
        """How much is known to be missing of the current message; 0 or less: nothing."""
        return self._wanted - self.held_bytes

    def add(self, data: bytes) -> None:
        """Raises BodyTooLarge as soon as the prefix of a message announces too much."""
        self._parts.add(data)
        self.held_bytes += len(data)
        self._read_prefix()

    def _read_prefix(self) -> None:
        if self._wanted > PREFIX_BYTES or self.held_bytes < PREFIX_BYTES:
            return
        self._join()
        size = int.from_bytes(self._data[self._at + 1 : self._at + PREFIX_BYTES], "big")
        if size > self._max_bytes:
            raise BodyTooLarge(f"message: expected at most {self._max_bytes} bytes, got {size}")
        self._wanted = PREFIX_BYTES + size
        if self._wanted > self.held_bytes:  # so that the message is joined only once
            self._parts.add(self._data[self._at :])
            self._data, self._at = b"", 0

    def _join(self) -> None:
        rest_bytes = len(self._data) - self._at
        if rest_bytes < self.held_bytes:
            parts = self._parts.take()
            self._data, self._at = self._data[self._at :] + parts if rest_bytes else parts, 0

    def take(self) -> bytes | None:
        """The next message, not inflated; None until it is complete. Sets ``is_compressed``. Raises BodyTooLarge."""
        self._read_prefix()
        if self.held_bytes < self._wanted:
            return None
        self._join()
        begin = self._at
        self._at += self._wanted
        content = self._data[begin + PREFIX_BYTES : self._at]
        self.is_compressed = self._data[begin] != 0
        self.held_bytes -= self._wanted
        self._wanted = PREFIX_BYTES
        if not self.held_bytes:
            self._data, self._at = b"", 0
        return content

    def inflate(self, content: bytes) -> bytes:
        """Inflate a compressed message, in any thread. Raises InvalidInput, BodyTooLarge."""
        if self._coding is None:
            raise InvalidInput("message: expected one that is not compressed, because grpc-encoding names no coding")
        return bytes(inflate(content, self._coding, self._max_bytes))


def find_stall(stream: Stream) -> ServiceError:
    """Why too little of a message has arrived: there was no room for it, or its client is too slow."""
    if stream.receive_window == 0:
        return QueueFull("message: others hold the room for it")
    return TooSlow("message: expected more of it")


def no_room() -> QueueFull:
    return QueueFull("the server holds as many bytes of requests as it may")


def write_message(content: bytes) -> bytes:
    """A message with its prefix, not compressed."""
    return b"\0%b%b" % (len(content).to_bytes(4, "big"), content)


def write_good_end(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The header block that ends a call without an error, with the headers of the answer that become metadata."""
    block = GOOD_END
    for name, value in headers:
        if name in METADATA:
            block += write_field(name, value)
    return block


def write_refusal(reply: Reply) -> bytes:
    """The header block of an answer that has nothing but an error."""
    code, text, metadata = refusal_of(reply)
    return ANSWER_HEAD + write_end(code.value[0], text, metadata)


def write_end(code: int, text: str, metadata: Any = ()) -> bytes:
    """The header block that ends a call. ``metadata``: names and values in ASCII."""
    parts = [write_field(b"grpc-status", b"%d" % code)] if code else [GOOD_END]
    if text:
        parts.append(write_field(b"grpc-message", quote(text, safe=_PRINTABLE).encode()))
    parts += [write_field(name.encode(), value.encode("latin-1")) for name, value in metadata]
    return b"".join(parts)
