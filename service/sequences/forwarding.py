"""Requests of sequences, forwarded to the worker that keeps the sequence, and their answers on the way back.

The kernel gives a connection to any worker of a server, but what a sequence carries lies in one of them: the one whose
rank the name of the model and the id give. Whoever gets the request sends it there over that worker's Unix socket,
whole and as it came; it runs there like any other, and the answer comes back.

Rules
- There is one connection from a worker to another, so the requests of a sequence keep the order in which they came.
- A request that was forwarded is not forwarded again, whatever the rank of who gets it.
- Deadlines go with the request. When its caller goes, the other worker is told, and takes it out of wherever it is.
- A worker that is not there, or that ends, is 503 for whoever waits for it; one whose connection ends is a caller gone.
- What is under way to a worker is bounded in number and bytes, and there by what it may hold in all: then 429. Nobody
  waits for room, for two workers could wait for each other.

A frame is three numbers (of the request, bytes of the JSON, bytes of the body), the JSON, and the body. Without either
it takes a request back.
"""

import asyncio
import contextlib
import functools
import itertools
import logging
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from service.engine.batching.queue import Answer
from service.errors import DeadlinePassed, NotReady, QueueFull, ServiceError
from service.settings import Settings
from service.transport.awaited_request import AwaitedRequest
from service.transport.handler import Handler
from service.transport.request import FORWARDED_INFER, LINGER_S, Endpoint, Reply, Request
from service.workers import WorkerRank

logger = logging.getLogger("sluice.forwarding")

MAX_UNDER_WAY = 1024
"""Requests that one worker has forwarded to another and that are not answered."""
GRACE_S = 1.0
"""How much longer than its deadline a request is waited for: the other worker tells of it, unless it is stuck."""

_READ_AHEAD_BYTES = 1 << 20
_HEAD = struct.Struct("<QIQ")
_LENGTH = b"inference-header-content-length"
_OF_THE_FIRST = ("x-request-id", "server-timing")
"""Headers that the worker which has the caller writes itself."""
_STAGE = re.compile(r"(\w+);dur=([\d.]+)")


Outcome = tuple[Reply, Answer] | ServiceError
"""What came of a forwarded request: its reply and where its time went, or an error."""


class _Frame(NamedTuple):
    number: int
    head: bytes
    body: bytes

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> "_Frame":
        """Raises IncompleteReadError at the end, OSError."""
        number, head_bytes, body_bytes = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        return cls(number, await reader.readexactly(head_bytes), await reader.readexactly(body_bytes))


def _frame(number: int, head: Mapping[str, Any] | None = None, body: bytes | memoryview = b"") -> list[Any]:
    text = b"" if head is None else orjson.dumps(head)
    return [_HEAD.pack(number, len(text), len(body)), text, body]


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Forwarder:
    """``open`` finds the rank of this worker. On the event loop's thread only."""

    def __init__(self, handler: Handler, folder: Path, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._folder = folder
        self._rank = WorkerRank(folder, settings.workers)
        self._workers = settings.workers
        self._loop = loop
        make = functools.partial(_WorkerConnection, loop, settings.max_held_bytes)
        self._connections = [make(self._path(number)) for number in range(settings.workers)]
        self._server: asyncio.Server | None = None
        self._incoming: dict[asyncio.Task[None], _ForwardedRequests] = {}

    async def open(self) -> None:
        """Take a rank and listen for the others."""
        number = self._rank.take()
        if number is None:
            logger.error("there are more workers than SLUICE_WORKERS=%d: this one keeps no sequences", self._workers)
            return
        path = self._path(number)
        path.unlink(missing_ok=True)  # of a worker that has died
        try:
            self._server = await asyncio.start_unix_server(self._listen, path, limit=_READ_AHEAD_BYTES)
        except OSError as error:  # such as a path that is too long for a socket
            logger.error("the other workers cannot forward sequences to this one by %s: %s", path, error)

    async def close(self) -> None:
        """Let go of the rank and of all connections."""
        if self._server is not None and self._rank.number is not None:
            self._server.close()
            self._path(self._rank.number).unlink(missing_ok=True)
            self._server = None
        for incoming in self._incoming.values():
            incoming.leave()
        if self._incoming:  # what is written goes out, if it is read
            await asyncio.wait(self._incoming, timeout=LINGER_S)
        for task in (*self._incoming, *filter(None, (each.task for each in self._connections))):
            task.cancel()
            await asyncio.wait([task])
        self._rank.give_back()

    def find_owner(self, model: str, sequence: int | str) -> "_WorkerConnection | None":
        """The way to the worker that keeps a sequence; None where it is this one."""
        owner = zlib.crc32(f"{model}/{sequence!a}".encode()) % self._workers
        return None if owner == self._rank.number else self._connections[owner]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.forward"

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # asyncio runs this in one
        incoming = self._incoming[task] = _ForwardedRequests(self._handler, writer)
        try:
            while True:
                incoming.take(await _Frame.read(reader))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # it has ended, or this worker has
        finally:
            incoming.leave()
            await _abort(writer)
            del self._incoming[task]


class _WorkerConnection:
    """The way to another worker: requests go out, answers come back. It is opened when there is something to send."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int, path: Path) -> None:
        self.task: asyncio.Task[None] | None = None
        self._loop = loop
        self._max_bytes = max_bytes
        self._path = path
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[Callable[[Outcome], None], asyncio.TimerHandle]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._unsent: list[Any] = []

    def forward(self, request: Request, left_s: float, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Send a request that has so many seconds left; ``done`` gets its outcome later.

        Returns what takes it back when its caller has gone. Raises QueueFull, DeadlinePassed.
        """
        if left_s <= 0:
            raise DeadlinePassed("the deadline passed before the worker that keeps the sequence was asked")
        if len(self._waiting) >= MAX_UNDER_WAY or self._unsent_bytes() + len(request.body) > self._max_bytes:
            raise QueueFull(
                f"sequence_id: expected at most {MAX_UNDER_WAY} requests of {self._max_bytes} bytes on their way to "
                "the worker that keeps this sequence"
            )
        number = next(self._numbers)
        endpoint, length = request.endpoint, request.headers.get(_LENGTH)
        head = {
            "model": endpoint.model,
            "version": endpoint.version,
            "length": None if length is None else length.decode(),
            "request_id": request.request_id,
            "patience_s": left_s,
        }
        timer = self._loop.call_later(left_s + GRACE_S, self._expire, number)
        self._waiting[number] = done, timer
        self._send(_frame(number, head, request.body))
        return functools.partial(self._take_back, number)

    def _unsent_bytes(self) -> int:
        if self._writer is not None:
            return self._writer.transport.get_write_buffer_size()
        return sum(map(len, self._unsent))

    def _send(self, parts: list[Any]) -> None:
        if self._writer is not None:
            self._writer.writelines(parts)
            return
        self._unsent += parts
        if self.task is None:
            self.task = self._loop.create_task(self._live(), name=f"forward to {self._path.name}")

    async def _live(self) -> None:
        """Connect, send what has come meanwhile, and bring the answers back until the connection ends."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_READ_AHEAD_BYTES)
            unsent, self._unsent = self._unsent, []
            self._writer.writelines(unsent)
            while True:
                self._answer(await _Frame.read(reader))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer = self._writer
            self._end()
            if writer is not None:
                await _abort(writer)

    def _end(self) -> None:
        """The other worker is not there, or not any more."""
        self._writer, self.task = None, None
        self._unsent = []
        waiting, self._waiting = self._waiting, {}
        for done, timer in waiting.values():
            timer.cancel()
            done(NotReady("sequence_id: the worker that keeps this sequence is not there at present"))

    def _answer(self, frame: _Frame) -> None:
        found = self._waiting.pop(frame.number, None)
        if found is None:  # it came when nobody waited for it any more
            return
        done, timer = found
        timer.cancel()
        head = orjson.loads(frame.head)
        headers = [(name.encode(), value.encode()) for name, value in head["headers"] if name not in _OF_THE_FIRST]
        times = dict(_STAGE.findall(dict(head["headers"]).get("server-timing", "")))
        seconds = [float(times.get(stage, 0)) / 1e3 for stage in ("queue", "batch", "compute")]
        done((Reply(head["status"], [frame.body], headers), Answer({}, *seconds)))

    def _take_back(self, number: int) -> None:
        """The caller has gone."""
        found = self._waiting.pop(number, None)
        if found is not None:
            found[1].cancel()
            self._send(_frame(number))

    def _expire(self, number: int) -> None:
        done, _ = self._waiting[number]
        self._take_back(number)
        done(DeadlinePassed("the worker that keeps this sequence has not answered in time"))


class _ForwardedRequests:
    """What another worker has forwarded to this one over one connection."""

    def __init__(self, handler: Handler, writer: asyncio.StreamWriter) -> None:
        self._handler = handler
        self._writer = writer
        self._requests: dict[int, AwaitedRequest] = {}

    def take(self, frame: _Frame) -> None:
        """Begin a request, or take it back."""
        if not frame.head:
            request = self._requests.pop(frame.number, None)
            if request is not None:
                request.give_up()
            return
        head = orjson.loads(frame.head)
        headers = {b"x-request-id": head["request_id"].encode()}
        if head["length"] is not None:
            headers[_LENGTH] = head["length"].encode()
        request = AwaitedRequest(Endpoint(FORWARDED_INFER, head["model"], head["version"]), b"", headers)
        request.patience_s = head["patience_s"]
        size = len(frame.body)
        if not self._handler.body_budget.try_admit(size):
            self._handler.refuse(
                request, QueueFull("sequence_id: the worker that keeps this sequence holds all it may")
            )
            self._reply(frame.number, request.answer.result())
            return
        request.body = frame.body
        self._requests[frame.number] = request
        request.answer.add_done_callback(functools.partial(self._done, frame.number, size))
        self._handler.start(request)

    def leave(self) -> None:
        """The other worker has ended, and its callers with it; or this one ends, and what it has written goes out."""
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.give_up()
        self._writer.close()

    def _done(self, number: int, size: int, answer: asyncio.Future[Reply]) -> None:
        self._handler.body_budget.release(size)
        if self._requests.pop(number, None) is not None:
            self._reply(number, answer.result())

    def _reply(self, number: int, reply: Reply) -> None:
        headers = [(name.decode(), value.decode()) for name, value in reply.headers]
        self._writer.writelines(_frame(number, {"status": reply.status, "headers": headers}, b"".join(reply.chunks)))
