"""Requests and replies of all transports, and the memory that bodies may take.

A transport makes a ``Request`` and gives it to the ``Handler``, which answers by the methods of the request.
"""

import abc
import asyncio
import functools
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr

from service.access.grants import Grant, Guard, describe_limits
from service.errors import TryLater
from service.metrics.spans import Trace
from service.protocol.compression import COMPRESS_FROM_BYTES

HeaderField = tuple[bytes, bytes]

LINGER_S: Final = 2.0
"""How long a refused client may keep sending. Closing at once would reset the connection before the answer is read."""

LEAST_BYTES_PER_S: Final = 1024
"""How fast a client must at least send a body, and read. The slowest mobile networks are faster."""

MAX_UNREAD_BYTES: Final = 8 << 20
"""How much of a stream is buffered for a caller that does not read it."""

SMALL_BODY_BYTES: Final = 64 << 10
"""Bodies of up to this size never wait for room."""
_SMALL_PART_BYTES: Final = 4 << 10

JSON: Final[HeaderField] = (b"content-type", b"application/json")
BINARY: Final[HeaderField] = (b"content-type", b"application/octet-stream")

INFER: Final = "/v2/models/{model}/infer"
GRPC_INFER, GRPC_STREAM_INFER = "grpc ModelInfer", "grpc ModelStreamInfer"
"""The routes of inference over gRPC, which metrics count apart."""
FORWARDED_INFER: Final = "infer handed on"
"""The route of requests that another worker has forwarded. The label has stayed that of earlier releases."""

_V2_PATH: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/(infer|generate|generate_stream)")
_V1_PATH: Final = re.compile(r"/v1/models/([^/]+):(predict|explain)")
_MAX_KEPT_PATH: Final = 512
"""Longer paths, which are rare, are not cached."""
_ACCEPTABLE_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_id_prefix: Final = os.urandom(6).hex() + "-"
_id_numbers: Final = itertools.count(1)


@dataclass(frozen=True)
class Endpoint:
    """What a path means: the label of its route in metrics, and the model that it names.

    ``path`` is as the caller sent it, without the base path.
    """

    route: str
    model: str = ""
    version: str | None = None
    path: str = field(default="", compare=False)


def match_model(path: str) -> Endpoint | None:
    """The endpoint of a path that names a model; None for other paths."""
    return _match_known(path) if len(path) <= _MAX_KEPT_PATH else _match(path)


def _match(path: str) -> Endpoint | None:
    if found := _V2_PATH.fullmatch(path):
        return Endpoint(f"/v2/models/{{model}}/{found[3]}", found[1], found[2], path)
    found = _V1_PATH.fullmatch(path)
    return Endpoint(f"/v1/models/{{model}}:{found[2]}", found[1], path=path) if found else None


_match_known = functools.lru_cache(maxsize=4096)(_match)
"""The same, cached."""


class Reply:
    """A complete answer. ``chunks`` is its body, in pieces that may be views of arrays."""

    def __init__(self, status: int, chunks: Sequence[bytes | memoryview], headers: Sequence[HeaderField]) -> None:
        self.status = status
        self.chunks = chunks
        self.headers = headers

    @property
    def size_bytes(self) -> int:
        size = 0
        for chunk in self.chunks:  # compiled, this is faster than ``sum``
            size += len(chunk)
        return size

    @property
    def is_compressible(self) -> bool:
        """Whether a content coding makes it shorter: pictures are already compressed, and short replies would grow."""
        return self.size_bytes >= COMPRESS_FROM_BYTES and (JSON in self.headers or BINARY in self.headers)


@mypyc_attr(allow_interpreted_subclasses=True)
class Work(abc.ABC):
    """What the handler does for a request."""

    @abc.abstractmethod
    def cancel(self) -> None:
        """Stop: the caller has gone, and needs no answer."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Exposure(abc.ABC):
    """A request to one of two versions of a model that are being compared.

    ``is_hurried``: the caller allows less time than the server.
    """

    is_hurried: bool

    @abc.abstractmethod
    def note_run(self, graph: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """A graph has run for the request. The arrays may be kept but not changed."""

    @abc.abstractmethod
    def pin(self, version: object) -> None:
        """The request continues what was begun on ``version``, so its answer is not compared."""

    @abc.abstractmethod
    def end(self, status: int, seconds: float, reason: str) -> None:
        """The request has its answer, or its caller has gone. ``reason`` is that of the error, or "". Must be quick."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Request(abc.ABC):
    """A request, and the way to answer it. The handler gets it when its body is complete.

    ``reply`` is called on the event loop. It does not raise if the caller has gone. It may start the next request of
    the connection, so call it last.

    headers         names are in lower case
    began           on the handler's clock; 0 until the handler has the request
    patience_s      how long the caller waits; None if unknown
    work            set while the handler works on the request; the transport cancels it when the caller has gone
    caller, grant   the name of the caller's key and what it allows; "" and None where no key is needed
    received_bytes  the size of the body as received, before it was inflated; -1: the size of ``body``
    path            as the caller sent it; "" if the endpoint has it
    is_own          the server itself asks, not a caller
    exposure        set if the model's version was chosen for a comparison

    Rarely used fields have class defaults: setting them in ``__init__`` would take a tenth of a short request.
    """

    body: bytes | memoryview = b""
    began = 0.0
    grant: Grant | None = None
    patience_s: float | None = None
    work: Work | None = None
    caller: str = ""
    trace: Trace | None = None
    exposure: Exposure | None = None
    method: str = "POST"
    path: str = ""
    received_bytes = -1
    is_own = False

    def __init__(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> None:
        self.endpoint = endpoint
        self.query = query
        self.headers = headers
        self.request_id = request_id_of(headers)

    def count_received(self) -> int:
        """The bytes of the body as received."""
        return len(self.body) if self.received_bytes < 0 else self.received_bytes

    def find_client(self) -> str:
        """The address of the caller, as the transport knows it."""
        return ""

    @abc.abstractmethod
    def reply(self, reply: Reply) -> None:
        """Send the answer."""


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamedRequest(Request):
    """A request whose answer may also be a stream: ``open``, any number of ``send``, then ``end`` or ``abort``.

    What holds for ``reply`` holds for these. They do not cancel the work at once, but in a later turn of the loop.
    """

    @abc.abstractmethod
    def open(self, status: int, headers: Sequence[HeaderField]) -> None:
        """Begin a streamed answer."""

    @abc.abstractmethod
    def send(self, chunk: bytes) -> None:
        """Send a piece of the body, of any size. Aborts if more than ``MAX_UNREAD_BYTES`` before it are unread."""

    @abc.abstractmethod
    def end(self) -> None:
        """The body is complete."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End the connection so that the caller sees that the body is incomplete."""


def request_id_of(headers: dict[bytes, bytes]) -> str:
    """The caller's ``X-Request-Id`` if it is usable, else a new id that is unique across processes."""
    if b"x-request-id" in headers and _ACCEPTABLE_ID.fullmatch(headers[b"x-request-id"]):
        return headers[b"x-request-id"].decode("ascii")
    return _id_prefix + hex(next(_id_numbers))[2:]


def describe_request(request: Request, guard: Guard | None) -> list[HeaderField]:
    """The headers of every answer: the ids of the request and of its trace, and the limits of its key."""
    headers: list[HeaderField] = [(b"x-request-id", request.request_id.encode())]
    if request.grant is not None:
        headers += describe_limits(guard, request.grant)
    if request.trace is not None:
        headers.append((b"traceresponse", request.trace.header.encode()))
    return headers


class BodyBudget:
    """Limits the bytes of request bodies that a worker holds, over all its connections.

    Bytes are counted when they arrive and released when the answer is written.

    - A body never waits while it has at most ``SMALL_BODY_BYTES``, or if it came in one read.
    - Larger bodies pause reading while more bytes are held than the share allows.
    - One of these, the first, may always continue, so that half-read uploads cannot block each other. Room for one body
      is reserved for it outside the share.

    So the most that is held is ``max_bytes`` and one read of each connection. If ``max_bytes`` is less than two of the
    largest bodies, it is one body more.
    """

    def __init__(self, max_bytes: int, max_body_bytes: int = 0) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._share_bytes = max(max_bytes - max_body_bytes, max_bytes // 2)
        self._first: object = None
        self._waiting: dict[object, Callable[[], None]] = {}
        self._whole: deque[asyncio.Future[None]] = deque()

    async def admit(self, size_bytes: int) -> None:
        """Reserve room for a whole body, waiting for it if necessary."""
        while not self.try_admit(size_bytes):
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._whole.append(room)
            await room

    def try_admit(self, size_bytes: int) -> bool:
        """Reserve room if there is enough. When nothing is held, a body of any size fits."""
        if self.held_bytes and self.held_bytes + size_bytes > self.max_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def try_replace(self, held_bytes: int, size_bytes: int) -> bool:
        """Reserve room for what a body of ``held_bytes`` inflates to, if there is enough or no other body is held."""
        if self.held_bytes > held_bytes:
            return self.try_admit(size_bytes)
        self.held_bytes += size_bytes
        return True

    def grow(self, size_bytes: int) -> None:
        """Count bytes that have arrived."""
        self.held_bytes += size_bytes

    def may_read_on(self, body: object, size_bytes: int, go_on: Callable[[], None]) -> bool:
        """Whether to read more of a body that has ``size_bytes``. If not, ``go_on`` is called once, when it may."""
        if size_bytes <= SMALL_BODY_BYTES or self.held_bytes <= self._share_bytes or body is self._first:
            return True
        if self._first is None:
            self._first = body
            return True
        self._waiting[body] = go_on
        return False

    def stop_waiting(self, body: object) -> None:
        """The body needs no more room."""
        self._waiting.pop(body, None)

    def is_first(self, body: object) -> bool:
        """Whether the body is the first, which may always continue."""
        return body is self._first

    def keeps_others_waiting(self, body: object) -> bool:
        """Whether the body is the first and another one waits."""
        return body is self._first and bool(self._waiting)

    def release(self, size_bytes: int, body: object = None) -> None:
        """Release bytes. With ``body``, they are all that it held."""
        self.held_bytes -= size_bytes
        if body is not None:
            self.stop_waiting(body)
            if body is self._first:
                self._first = None
        if self._waiting or self._whole:
            self._give_out()

    def _give_out(self) -> None:
        """Wake waiting bodies while there is room."""
        while self._waiting and (self._first is None or self.held_bytes <= self._share_bytes):
            found = next(iter(self._waiting))
            if self._first is None:
                self._first = found
            self._waiting.pop(found)()
        while self._whole:
            room = self._whole.popleft()
            if not room.done():  # else its caller has gone
                room.set_result(None)


def no_room(timeout_s: float) -> TryLater:
    """The error for a body that has waited too long for room."""
    return TryLater(f"body: expected room for it within {timeout_s:g} s, but others hold it")


class BodyParts:
    """Collects a body. Small parts are joined as they come, so that they take no more memory than their bytes."""

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
        """The whole body. The parts are forgotten."""
        parts, self._parts = self._parts, []
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


_run_text: tuple[float, float, int, bytes] = -1.0, -1.0, 0, b""
"""The times of the last run and their text, which all requests of a batch share."""


def render_server_timing(total_s: float, stages_s: tuple[float, float, float] | None, batch_rows: int = 0) -> bytes:
    """The value of the header ``Server-Timing`` (W3C), in milliseconds.

    ``stages_s`` has the seconds of queue, batch and run. ``batch_rows`` appears as ``rows`` unless it is 0.
    """
    global _run_text
    if stages_s is None:
        return b"total;dur=" + _milliseconds(total_s)
    queue_s, batch_s, compute_s = stages_s
    known_batch_s, known_compute_s, known_rows, text = _run_text
    if batch_s != known_batch_s or compute_s != known_compute_s or batch_rows != known_rows:
        end = _ROWS_AND_TOTAL[batch_rows] if batch_rows <= _MOST_ROWS else b', rows;desc="%d", total;dur=' % batch_rows
        text = b"".join((b", batch;dur=", _milliseconds(batch_s), b", compute;dur=", _milliseconds(compute_s), end))
        _run_text = batch_s, compute_s, batch_rows, text
    return b"".join([b"queue;dur=", _milliseconds(queue_s), text, _milliseconds(total_s)])


_MOST_ROWS: Final = 256
_ROWS_AND_TOTAL: Final = [
    b", total;dur=",
    *(b', rows;desc="%d", total;dur=' % rows for rows in range(1, _MOST_ROWS + 1)),
]
_MILLISECONDS: Final = [b"%d.%03d" % divmod(us, 1000) for us in range(10_000)]
"""Texts by microseconds. To format four numbers took a thirtieth of a short request."""


def _milliseconds(seconds: float) -> bytes:
    us = int(seconds * 1e6 + 0.5)
    return _MILLISECONDS[us] if 0 <= us < len(_MILLISECONDS) else b"%.3f" % (seconds * 1e3)
