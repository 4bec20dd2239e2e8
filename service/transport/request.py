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
from typing import Final

from mypy_extensions import mypyc_attr

from service.errors import TryLater

HeaderField = tuple[bytes, bytes]

LINGER_S: Final = 2.0
"""How long a refused client may go on sending: closing at once would reset the connection under our answer."""

MAX_UNREAD_BYTES: Final = 8 << 20
"""How much of a stream is kept for a caller that does not read it."""

SMALL_BODY_BYTES: Final = 64 << 10
"""A body under way of up to this size does not wait for the room that large ones hold."""
_SMALL_PART_BYTES: Final = 4 << 10

JSON: Final[HeaderField] = (b"content-type", b"application/json")

INFER: Final = "/v2/models/{model}/infer"
GRPC_INFER, GRPC_STREAM_INFER = "grpc ModelInfer", "grpc ModelStreamInfer"
"""The same endpoint for requests that came over gRPC, so that metrics tell them apart."""
FORWARDED_INFER: Final = "infer handed on"
"""Again the same, of a sequence that another worker keeps. The label is that of earlier releases."""

_ACCEPTABLE_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_id_prefix: Final = os.urandom(6).hex() + "-"
_id_numbers: Final = itertools.count(1)


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
    """How many bytes of request bodies a worker holds at a time, over all its connections, and who may read on.

    Bytes are counted when they have come, and given back when their answer is written: who declares a body and sends
    none of it takes nothing. A body that came in one read, or has not outgrown ``SMALL_BODY_BYTES``, never waits. A
    larger one under way waits while others hold their share. One of them goes first: it may read on whatever is held,
    so that uploads which are all half there cannot block each other, until its room is given back. The room of one body
    is kept out of the share for it. So the bytes held are at most ``max_bytes`` and one read of each connection, where
    that is room for two of the largest bodies; else one body more.
    """

    def __init__(self, max_bytes: int, max_body_bytes: int = 0) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._share_bytes = max(max_bytes - max_body_bytes, max_bytes // 2)
        self._first: object = None
        self._waiting: dict[object, Callable[[], None]] = {}
        self._whole: deque[Callable[[], None]] = deque()

    def admit(self, size_bytes: int, retry: Callable[[], None]) -> bool:
        """Reserve room for what came whole; if there is none, ``retry`` is called once when it is worth asking again.

        When nothing is held it is let in whatever its size, so waiting cannot come to a standstill.
        """
        if self.try_admit(size_bytes):
            return True
        self._whole.append(retry)
        return False

    def try_admit(self, size_bytes: int) -> bool:
        """Reserve room if there is some."""
        if self.held_bytes and self.held_bytes + size_bytes > self.max_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def withdraw(self, retry: Callable[[], None]) -> None:
        """Do not call it: whoever waited has given up."""
        if retry in self._whole:
            self._whole.remove(retry)

    def grow(self, size_bytes: int) -> None:
        """So many bytes more have come."""
        self.held_bytes += size_bytes

    def may_read_on(self, body: object, size_bytes: int, go_on: Callable[[], None]) -> bool:
        """Whether more may be read of a body of which so many bytes are held. If not, ``go_on`` is called once when
        that has changed, unless the body is let go of before."""
        if size_bytes <= SMALL_BODY_BYTES or self.held_bytes <= self._share_bytes or body is self._first:
            return True
        if self._first is None:
            self._first = body
            return True
        self._waiting[body] = go_on
        return False

    def stop_waiting(self, body: object) -> None:
        """It needs no more room, or has given up."""
        self._waiting.pop(body, None)

    def is_first(self, body: object) -> bool:
        """Whether it may read on whatever is held."""
        return body is self._first

    def keeps_others_waiting(self, body: object) -> bool:
        """Whether it is the first, and another one waits."""
        return body is self._first and bool(self._waiting)

    def release(self, size_bytes: int, body: object = None) -> None:
        """Give back the room of so many bytes, all that ``body`` had."""
        self.held_bytes -= size_bytes
        if body is not None:
            self._let_go(body)
        if self._waiting or self._whole:
            self._give_out()

    def _let_go(self, body: object) -> None:
        self._waiting.pop(body, None)
        if body is self._first:
            self._first = None

    def _give_out(self) -> None:
        """Ask those who wait, as long as there is room."""
        while self._waiting and (self._first is None or self.held_bytes <= self._share_bytes):
            found = next(iter(self._waiting))
            if self._first is None:
                self._first = found
            self._waiting.pop(found)()
        for _ in range(len(self._whole)):  # each may line up again, so only those that wait now are asked
            if not self._whole:
                break  # one of them was answered at once: what it released has asked the others
            self._whole.popleft()()


def no_room(timeout_s: float) -> TryLater:
    """What a body is refused with that has waited so long."""
    return TryLater(f"body: expected room for it within {timeout_s:g} s, but others hold it")


class BodyParts:
    """A body as it comes. Small parts are joined, so that many of them take no more memory than their bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray] = []

    def add(self, part: bytes) -> None:
        if len(part) >= _SMALL_PART_BYTES or not self._parts:
            self._parts.append(part)
            return
        last = self._parts[-1]
        if isinstance(last, bytearray) and len(last) < SMALL_BODY_BYTES:
            last += part
        else:
            self._parts.append(bytearray(part))

    def take(self) -> bytes:
        """The whole; nothing is kept."""
        parts, self._parts = self._parts, []
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


_run_text: tuple[float, float, bytes] = -1.0, -1.0, b""
"""The stages of the last run, and how they are written: all requests of a batch have the same."""


def render_server_timing(total_s: float, stages_s: tuple[float, float, float] | None) -> bytes:
    """Milliseconds of a request, and of its wait, batch and run where it had any. W3C Server Timing."""
    global _run_text
    if stages_s is None:
        return b"total;dur=" + _milliseconds(total_s)
    queue_s, batch_s, compute_s = stages_s
    known_batch_s, known_compute_s, text = _run_text
    if batch_s != known_batch_s or compute_s != known_compute_s:
        parts = (b", batch;dur=", _milliseconds(batch_s), b", compute;dur=", _milliseconds(compute_s), b", total;dur=")
        text = b"".join(parts)
        _run_text = batch_s, compute_s, text
    return b"".join([b"queue;dur=", _milliseconds(queue_s), text, _milliseconds(total_s)])


_MILLISECONDS: Final = [b"%d.%03d" % divmod(us, 1000) for us in range(10_000)]
"""By microseconds. To format the four of an answer took a thirtieth of a tiny model's request."""


def _milliseconds(seconds: float) -> bytes:
    us = int(seconds * 1e6 + 0.5)
    return _MILLISECONDS[us] if 0 <= us < len(_MILLISECONDS) else b"%.3f" % (seconds * 1e3)
