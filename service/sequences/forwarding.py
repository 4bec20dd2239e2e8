"""Forwards requests of sequences to the worker that keeps the sequence, and returns the answers.

A client's connection may be with any worker of a server, but the state of a sequence is in one worker. The rank of that
worker follows from the name of the model and the id of the sequence. Any other worker that gets the request forwards it
unchanged, over a Unix socket. There it runs like any other request.

Rules
- There is one connection from a worker to another, so the requests of a sequence keep their order.
- A forwarded request is not forwarded again.
- A request keeps its deadline. When its caller disconnects, the other worker cancels it too.
- If the other worker is not there or ends, the answer is 503. If this one ends, its forwarded requests are cancelled.
- The number and the bytes of requests on their way to a worker are limited. A request over a limit, or for which the
  other worker has no room, is answered with 429. None waits for room, because two workers could wait for each other.

A frame is three numbers (the request, the bytes of the JSON and of the body), the JSON and the body. A frame without
JSON cancels a request. We do not use HTTP, because HTTP/1.1 needs a connection for each open request, which loses the
order.
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
from typing import Any

import orjson

from service.engine.batching.queue import Answer
from service.errors import DeadlinePassed, NotReady, QueueFull, ServiceError
from service.settings import Settings
from service.transport.awaited_request import AwaitedRequest
from service.transport.handler import Handler
from service.transport.request import FORWARDED_INFER, LINGER_S, Endpoint, Reply, Request
from service.workers import WorkerRank, is_own_user

logger = logging.getLogger("sluice.forwarding")

MAX_UNDER_WAY = 1024
"""Requests that one worker may have forwarded to another at a time."""
GRACE_S = 1.0
"""This long after its deadline a request is given up here. The other worker answers sooner, unless it is stuck."""

_READ_AHEAD_BYTES = 1 << 20
_HEAD = struct.Struct("<QIQ")
_LENGTH = b"inference-header-content-length"
_OWN_HEADERS = ("x-request-id", "server-timing", "traceresponse")
"""Headers that the worker of the caller writes itself."""
_STAGE = re.compile(r'(\w+);(?:dur=|desc=")([\d.]+)')

Outcome = tuple[Reply, Answer] | ServiceError
"""The outcome of a forwarded request: its reply and the times of its stages, or an error."""


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, Any, bytes]:
    """The number, the JSON and the body. Raises OSError, and IncompleteReadError when the connection has ended."""
    number, head_bytes, body_bytes = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    head = await reader.readexactly(head_bytes)
    return number, orjson.loads(head) if head else None, await reader.readexactly(body_bytes)


def _frame(number: int, head: Mapping[str, Any] | None = None, body: bytes | memoryview = b"") -> list[Any]:
    text = b"" if head is None else orjson.dumps(head)
    return [_HEAD.pack(number, len(text), len(body)), text, body]


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Forwarder:
    """The forwarding of one worker. On the event loop's thread only."""

    def __init__(
        self,
        handler: Handler,
        folder: Path,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        index: int | None = None,
    ) -> None:
        self._handler = handler
        self._folder = folder
        self._index = index
        self._rank = WorkerRank(folder, settings.workers, index)
        self._waiting: asyncio.Task[None] | None = None
        self._connections = [
            _WorkerConnection(loop, settings.max_held_bytes, self._path(number)) for number in range(settings.workers)
        ]
        self._server: asyncio.Server | None = None
        self._incoming: dict[asyncio.Task[None], _ForwardedRequests] = {}

    async def open(self) -> None:
        """Take a rank and listen for the other workers.

        A worker that replaces another one waits for its rank. Until then it forwards to the old worker.
        """
        number = self._rank.take()
        if number is None and self._index is not None:
            self._waiting = asyncio.create_task(self._wait_for_rank(), name="wait for a rank")
        elif number is None:
            most = len(self._connections)
            logger.error("there are more workers than SLUICE_WORKERS=%d: this one keeps no sequences", most)
        else:
            await self._listen_as(number)

    async def _wait_for_rank(self) -> None:
        await self._listen_as(await self._rank.wait())

    async def _listen_as(self, number: int) -> None:
        path = self._path(number)
        path.unlink(missing_ok=True)  # left by a worker that has died
        try:
            self._server = await asyncio.start_unix_server(self._listen, path, limit=_READ_AHEAD_BYTES)
        except OSError as error:  # such as a path that is too long for a socket
            logger.error("the other workers cannot forward sequences to this one by %s: %s", path, error)

    async def close(self) -> None:
        """Give back the rank and close all connections."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._server is not None and self._rank.number is not None:
            self._server.close()
            self._path(self._rank.number).unlink(missing_ok=True)
            self._server = None
        for incoming in self._incoming.values():
            incoming.leave()
        if self._incoming:  # let the other workers read the answers that are on their way
            await asyncio.wait(self._incoming, timeout=LINGER_S)
        for task in (*self._incoming, *filter(None, (each.task for each in self._connections))):
            task.cancel()
            await asyncio.wait([task])
        self._rank.give_back()

    def find_owner(self, model: str, sequence: int | str) -> "_WorkerConnection | None":
        """The connection to the worker that keeps a sequence; None if it is this one."""
        owner = zlib.crc32(f"{model}/{sequence!a}".encode()) % len(self._connections)
        return None if owner == self._rank.number else self._connections[owner]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.forward"

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not is_own_user(writer):
            logger.error("a process of another user has connected to forward requests and was refused")
            await _abort(writer)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # asyncio runs this in one
        incoming = self._incoming[task] = _ForwardedRequests(self._handler, writer)
        try:
            while True:
                incoming.take(*await _read_frame(reader))
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the other worker has ended, or this one
        finally:
            incoming.leave()
            await _abort(writer)
            del self._incoming[task]


class _WorkerConnection:
    """A connection to another worker. It is opened when there is something to send."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int, path: Path) -> None:
        self.task: asyncio.Task[None] | None = None
        self._loop = loop
        self._max_bytes = max_bytes
        self._path = path
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[Callable[[Outcome], None], asyncio.TimerHandle]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._unsent: list[Any] = []

    def forward(
        self, request: Request, version: str | None, left_s: float, done: Callable[[Outcome], None]
    ) -> Callable[[], None]:
        """Send a request for a version. It has ``left_s`` seconds left. ``done`` gets its outcome later.

        Returns a function that cancels the request. Raises QueueFull, DeadlinePassed.
        """
        if left_s <= 0:
            raise DeadlinePassed("the deadline passed before the worker that keeps the sequence was asked")
        writer = self._writer
        unsent_bytes = sum(map(len, self._unsent)) if writer is None else writer.transport.get_write_buffer_size()
        if len(self._waiting) >= MAX_UNDER_WAY or unsent_bytes + len(request.body) > self._max_bytes:
            raise QueueFull(
                f"sequence_id: expected at most {MAX_UNDER_WAY} requests of {self._max_bytes} bytes on their way to "
                "the worker that keeps this sequence"
            )
        number = next(self._numbers)
        head = {
            "model": request.endpoint.model,
            "version": version,
            "length": request.headers.get(_LENGTH, b"").decode(),
            "request_id": request.request_id,
            "caller": request.caller,
            "patience_s": left_s,
            "trace": "" if request.trace is None else request.trace.header,
        }
        self._waiting[number] = done, self._loop.call_later(left_s + GRACE_S, self._expire, number)
        self._send(_frame(number, head, request.body))
        return functools.partial(self._cancel, number)

    def _send(self, parts: list[Any]) -> None:
        if self._writer is not None:
            self._writer.writelines(parts)
            return
        self._unsent += parts
        if self.task is None:
            self.task = self._loop.create_task(self._run(), name=f"forward to {self._path.name}")

    async def _run(self) -> None:
        """Connect, send what waits, and pass on the answers until the connection ends."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_READ_AHEAD_BYTES)
            unsent, self._unsent = self._unsent, []
            self._writer.writelines(unsent)
            while True:
                self._answer(*await _read_frame(reader))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer, waiting = self._writer, self._waiting
            self._writer, self.task, self._unsent, self._waiting = None, None, [], {}
            for done, timer in waiting.values():
                timer.cancel()
                done(NotReady("sequence_id: the worker that keeps this sequence is not available at present"))
            if writer is not None:
                await _abort(writer)

    def _answer(self, number: int, head: Any, body: bytes) -> None:
        found = self._waiting.pop(number, None)
        if found is None:  # it was cancelled meanwhile
            return
        done, timer = found
        timer.cancel()
        headers = [(name.encode(), value.encode()) for name, value in head["headers"] if name not in _OWN_HEADERS]
        times = dict(_STAGE.findall(dict(head["headers"]).get("server-timing", "")))
        queue_s, batch_s, compute_s = (float(times.get(stage, 0)) / 1e3 for stage in ("queue", "batch", "compute"))
        answer = Answer({}, queue_s, batch_s, compute_s, int(times.get("rows", 0)))
        done((Reply(head["status"], [body], headers), answer))

    def _cancel(self, number: int) -> None:
        found = self._waiting.pop(number, None)
        if found is not None:
            found[1].cancel()
            self._send(_frame(number))

    def _expire(self, number: int) -> None:
        done, _ = self._waiting[number]
        self._cancel(number)
        done(DeadlinePassed("the worker that keeps this sequence has not answered in time"))


class _ForwardedRequests:
    """The requests that another worker has forwarded over one connection."""

    def __init__(self, handler: Handler, writer: asyncio.StreamWriter) -> None:
        self._handler = handler
        self._writer = writer
        self._requests: dict[int, AwaitedRequest] = {}

    def take(self, number: int, head: Any, body: bytes) -> None:
        """Begin a request, or cancel it if there is no ``head``."""
        if head is None:
            if number in self._requests:
                self._requests.pop(number).give_up()
            return
        headers = {b"x-request-id": head["request_id"].encode()}
        if head["trace"]:
            headers[b"traceparent"] = head["trace"].encode()
        if head["length"]:
            headers[_LENGTH] = head["length"].encode()
        request = AwaitedRequest(Endpoint(FORWARDED_INFER, head["model"], head["version"]), b"", headers)
        request.patience_s, request.caller = head["patience_s"], head.get("caller", "")
        is_admitted = self._handler.body_budget.try_admit(len(body))
        self._requests[number] = request
        request.answer.add_done_callback(functools.partial(self._done, number, len(body) if is_admitted else 0))
        if is_admitted:
            request.body = body
            self._handler.start(request)
        else:
            full = QueueFull("sequence_id: the worker that keeps this sequence holds as many bytes as it may")
            self._handler.refuse(request, full)

    def leave(self) -> None:
        """Cancel all requests, and close the connection once all that was written has been sent."""
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.give_up()
        self._writer.close()

    def _done(self, number: int, size: int, answer: asyncio.Future[Reply]) -> None:
        self._handler.body_budget.release(size)
        if self._requests.pop(number, None) is None:
            return
        reply = answer.result()
        headers = [(name.decode(), value.decode()) for name, value in reply.headers]
        self._writer.writelines(_frame(number, {"status": reply.status, "headers": headers}, b"".join(reply.chunks)))
