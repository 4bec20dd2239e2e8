"""Requests and replies, whichever way they travel, and the room that their bodies may take.

A transport makes a ``Request`` and gives it to the ``Handler``; the answer comes back by the methods of the request.
"""

import abc
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mypy_extensions import mypyc_attr

HeaderField = tuple[bytes, bytes]

LINGER_S = 2.0
"""How long a refused client may go on sending: closing at once would reset the connection under our answer."""

MAX_UNREAD_BYTES = 8 << 20
"""How much of a stream is kept for a caller that does not read it."""

JSON: HeaderField = (b"content-type", b"application/json")

INFER = "/v2/models/{model}/infer"
GRPC_INFER, GRPC_STREAM_INFER = "grpc ModelInfer", "grpc ModelStreamInfer"
"""The same endpoint for requests that came over gRPC, so that metrics tell them apart."""
FORWARDED_INFER = "infer handed on"
"""Again the same, of a sequence that another worker keeps. The label is that of earlier releases."""

_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_id_prefix = os.urandom(6).hex() + "-"
_id_numbers = itertools.count(1)


@dataclass(frozen=True)
class Endpoint:
    """A path that the handler answers: the label of its route in metrics, and whom it names."""

    route: str
    model: str = ""
    version: str | None = None


class Reply:
    """A complete answer. ``chunks`` are its body in order; they may be views of arrays."""

    def __init__(self, status: int, chunks: Sequence[bytes | memoryview], headers: Sequence[HeaderField]) -> None:
        self.status = status
        self.chunks = chunks
        self.headers = headers

    @property
    def size_bytes(self) -> int:
        size = 0
        for chunk in self.chunks:  # compiled, faster than a sum over a map
            size += len(chunk)
        return size


@mypyc_attr(allow_interpreted_subclasses=True)
class Work(abc.ABC):
    """What is done for a request."""

    @abc.abstractmethod
    def cancel(self) -> None:
        """The caller has gone: no answer is wanted any more."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Request(abc.ABC):
    """A request whose body is complete when the handler gets it, and the way back to its caller.

    An answer is either ``reply``, or a stream: ``open``, any number of ``send``, and ``end`` or ``abort``. All are
    called on the event loop, never raise for a caller that has gone, and never cancel the work themselves: that comes
    in a later turn of the loop. ``reply`` and ``end`` may start the connection's next request, so whatever belongs to
    this one is to be in order before.

    ``headers`` has lower-case names. ``began`` is seconds on the clock of the handler, 0 until it has the request.
    ``patience_s`` is how long the caller waits, in seconds, None where its transport does not say. ``work`` is the
    handler's while it works on the request: the transport cancels it when the caller has gone.

    What a request rarely needs has its first value in the class: to set it in each would take a tenth of a short one.
    """

    body: bytes | memoryview = b""
    began = 0.0
    patience_s: float | None = None
    work: Work | None = None

    def __init__(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> None:
        self.endpoint = endpoint
        self.query = query
        self.headers = headers
        self.request_id = request_id_of(headers)

    @abc.abstractmethod
    def reply(self, reply: Reply) -> None:
        """Send the answer."""

    @abc.abstractmethod
    def open(self, status: int, headers: Sequence[HeaderField]) -> None:
        """Begin an answer whose body comes in pieces."""

    @abc.abstractmethod
    def send(self, chunk: bytes) -> None:
        """Send a piece of the body, of any size. If more than ``MAX_UNREAD_BYTES`` lie unread before it: abort."""

    @abc.abstractmethod
    def end(self) -> None:
        """The body is complete."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End the connection so that the caller sees a broken body, not a complete one."""

    @property
    @abc.abstractmethod
    def congested(self) -> bool:
        """Whether the caller reads slower than pieces come: what it can do without need not be sent."""


def request_id_of(headers: dict[bytes, bytes]) -> str:
    """The caller's ``X-Request-Id`` if it is usable, else a new one that no other process makes."""
    if b"x-request-id" in headers and _ACCEPTABLE_ID.fullmatch(headers[b"x-request-id"]):
        return headers[b"x-request-id"].decode("ascii")
    return _id_prefix + hex(next(_id_numbers))[2:]


class BodyBudget:
    """How many bytes of request bodies a worker holds at a time, over all its connections.

    Room is reserved by the declared length before a body is read, and given back when its answer is written. When
    nothing is held, a body is let in whatever its size, so waiting cannot come to a standstill.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def admit(self, size_bytes: int, retry: Callable[[], None]) -> bool:
        """Reserve room; if there is none, ``retry`` is called once when it is worth asking again."""
        if self.try_admit(size_bytes):
            return True
        self._waiting.append(retry)
        return False

    def try_admit(self, size_bytes: int) -> bool:
        """Reserve room if there is some."""
        if self.held_bytes and self.held_bytes + size_bytes > self.max_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def grow(self, size_bytes: int) -> None:
        """A body without a declared length got larger; it is bounded by the limit of one body."""
        self.held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes
        for _ in range(len(self._waiting)):  # each may line up again, so only those that wait now are asked
            if not self._waiting:
                break  # one of them was answered at once: what it released has asked the others
            self._waiting.popleft()()
