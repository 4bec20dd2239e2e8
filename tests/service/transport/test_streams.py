"""Answers that come in pieces, on both paths: order, back-pressure, disconnects, broken bodies, shutdown."""

import asyncio
import queue
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.handler import Responder
from service.transport import sse
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER as INFER_ROUTE
from service.transport.request import MAX_UNREAD_BYTES, Endpoint
from tests.support.connections.turns import Turn
from tests.support.servers import PATHS, ServerPath, Serving, settings_for
from tests.support.wires import INFER, Wire, body_of, request_bytes

PLAIN = body_of(4)
STREAM = "X-Stream: 1"
ASK, OPEN = request_bytes(PLAIN), request_bytes(PLAIN, INFER, STREAM)
"""A request for the model, and one for a stream."""
KERNEL_BYTES = 16 << 20
"""More than the two sockets of a connection hold."""


class Stage:
    """Requests with the header `X-Stream` are answered by the test, piece by piece, on the loop of the server."""

    def __init__(self, server: Serving) -> None:
        self.loop, self.handler = server.worker.tasks.loop, server.worker.handler
        self.begun: queue.SimpleQueue[Responder] = queue.SimpleQueue()
        self.cancelled: queue.SimpleQueue[Responder] = queue.SimpleQueue()
        self._infer = self.handler.starts[INFER_ROUTE]
        self.handler.starts[INFER_ROUTE] = self._start

    def _start(self, responder: Responder) -> None:
        if b"x-stream" in responder.request.headers:
            responder.cancel_work = lambda: self.cancelled.put(responder)
            self.begun.put(responder)
        else:
            self._infer(responder)

    def do(self, action: Callable[[], Any]) -> Any:
        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self.loop).result(20)

    def open(self, responder: Responder) -> None:
        request = responder.request
        self.do(lambda: request.open(200, [*sse.HEADERS, (b"x-request-id", request.request_id.encode())]))

    def begin(self) -> Responder:
        """The next request, its stream opened."""
        responder = self.begun.get(timeout=20)
        self.open(responder)
        return responder

    def send(self, responder: Responder, *pieces: bytes) -> None:
        self.do(lambda: [responder.request.send(piece) for piece in pieces])

    def end(self, responder: Responder, *, abort: bool = False) -> None:
        def act() -> None:
            responder._let_go()  # as a responder does before it ends a request
            responder.request.abort() if abort else responder.request.end()

        self.do(act)


class ChunkedWire(Wire):
    """A raw connection that can read a body chunk by chunk."""

    def read_chunk(self) -> bytes:
        """The next chunk of the body; empty at its end."""
        size = int(self.file.readline(), 16)
        chunk = self.file.read(size)
        assert self.file.readline() == b"\r\n"
        return chunk

    def read_stream(self) -> list[bytes]:
        """A whole stream, in its chunks."""
        status, headers = self.read_head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        return list(iter(self.read_chunk, b""))

    def read_rest(self) -> bytes:
        """What comes until the server ends the connection, in whichever way."""
        parts = []
        try:
            while part := self.file.read1(1 << 20):
                parts.append(part)
        except ConnectionResetError:
            parts.append(b"<reset>")
        return b"".join(parts)


@pytest.fixture(scope="module")
def server(store: Path, server_path: ServerPath) -> Iterator[Serving]:
    with Serving(settings_for(store, models=("double",)), server_path) as serving:
        yield serving


@pytest.fixture
def stage(server: Serving) -> Stage:
    return Stage(server)


@pytest.fixture
def wire(server: Serving) -> Iterator[ChunkedWire]:
    with ChunkedWire(server) as wire:
        yield wire


@pytest.mark.parametrize("pieces", [[], [b"one"]], ids=["nothing", "a piece"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_abort_is_not_taken_for_the_end(stage: Stage, wire: ChunkedWire, version: str, pieces: list[bytes]):
    """An aborted body lacks its last chunk; without chunks the connection is reset, or the answer is 500."""
    wire.send(request_bytes(PLAIN, INFER, STREAM, version=version))
    call = stage.begin()
    stage.send(call, *pieces)
    stage.end(call, abort=True)
    rest = wire.read_rest()
    assert not rest.endswith(b"0\r\n\r\n")
    assert version == "1.1" or rest.endswith(b"<reset>") or rest.startswith(b"HTTP/1.1 500")


def test_caller_that_does_not_read_is_cut_off(stage: Stage, server: Serving):
    """A caller that does not read is cut off when its unread pieces reach the bound."""
    piece = bytes(1 << 20)
    sent_bytes = 0
    with ChunkedWire(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.send(OPEN)
        call = stage.begin()
        while stage.cancelled.empty():
            stage.send(call, piece)
            sent_bytes += len(piece)
            assert sent_bytes <= MAX_UNREAD_BYTES + KERNEL_BYTES, "pieces pile up"
        assert stage.cancelled.get() is call
        assert sent_bytes > MAX_UNREAD_BYTES
        assert not wire.read_rest().endswith(b"0\r\n\r\n")


def test_long_stream_to_a_caller_that_reads_is_not_cut_off(stage: Stage, wire: ChunkedWire):
    """A long stream to a caller that reads is not cut off."""
    wire.send(OPEN)
    call = stage.begin()
    wire.read_head()
    piece = bytes(1 << 20)
    for _ in range(MAX_UNREAD_BYTES // len(piece) * 2):
        stage.send(call, piece)
        assert wire.read_chunk() == piece
    stage.end(call)
    assert wire.read_chunk() == b""


def test_next_request_is_not_begun_while_the_client_does_not_read(stage: Stage, wire: ChunkedWire, turn: Turn):
    """The next request begins when the client has read the stream before it."""
    wire.send(OPEN, OPEN)
    first = stage.begin()
    stage.send(first, bytes(KERNEL_BYTES))
    stage.end(first)
    for _ in range(3):
        turn()
    assert stage.begun.empty()
    assert wire.read_stream() == [bytes(KERNEL_BYTES)]
    stage.end(stage.begin())
    assert wire.read_stream() == []


@pytest.mark.parametrize("pieces", [None, [], [b"one"]], ids=["before it", "nothing", "a piece"])
def test_caller_that_goes_cancels_its_stream(stage: Stage, server: Serving, turn: Turn, pieces: list[bytes] | None):
    """A caller that leaves cancels its stream without another piece being sent; later calls do nothing."""
    tasks = stage.do(lambda: len(asyncio.all_tasks()))
    with ChunkedWire(server) as wire:
        wire.send(OPEN)
        call = stage.begun.get(timeout=20)
        if pieces is not None:
            stage.open(call)
            wire.read_head()
            stage.send(call, *pieces)
            assert [wire.read_chunk() for _ in pieces] == pieces
    assert stage.cancelled.get(timeout=20) is call
    if pieces is None:
        stage.open(call)
    stage.send(call, b"more")
    turn()
    assert stage.do(lambda: len(asyncio.all_tasks())) <= tasks
    stage.end(call, abort=True)
    stage.end(call)
    assert stage.do(lambda: stage.handler.body_budget.held_bytes) == 0


@pytest.mark.parametrize("path", [INFER, "/v2/models/doubl%65/infer"])
def test_pieces_arrive_as_they_are_sent_and_the_connection_is_kept(stage: Stage, wire: ChunkedWire, path: str):
    """Each piece arrives before the next one is sent, and after the end the connection takes requests again."""
    for _ in range(2):
        wire.send(request_bytes(PLAIN, path, STREAM))
        call = stage.begin()
        status, headers = wire.read_head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        for piece in (b"one", b"t" * 100_000, b"\r\n0\r\n\r\n"):
            stage.send(call, b"", piece)  # a piece of no bytes is not the end
            assert wire.read_chunk() == piece
        stage.send(call, b"a", b"b")
        stage.end(call)
        assert [wire.read_chunk(), wire.read_chunk(), wire.read_chunk()] == [b"a", b"b", b""]
        wire.send(ASK)
        assert wire.read_y() == 8.0


def test_pipelined_requests_wait_for_the_end_of_a_stream(stage: Stage, wire: ChunkedWire, turn: Turn):
    """Pipelined requests behind a stream begin after its end, in order."""
    wire.send(OPEN, ASK, OPEN, ASK)
    call = stage.begin()
    wire.read_head()
    stage.send(call, b"one")
    assert wire.read_chunk() == b"one"
    turn()
    stage.send(call, b"two")
    assert wire.read_chunk() == b"two"
    assert stage.begun.empty()
    stage.end(call)
    assert wire.read_chunk() == b""
    assert wire.read_y() == 8.0
    call = stage.begin()
    stage.send(call, b"three")
    stage.end(call)
    assert wire.read_stream() == [b"three"]
    assert wire.read_y() == 8.0


@pytest.mark.parametrize(
    ("version", "headers", "body"),
    [("1.0", (), b"onetwo"), ("1.1", ("Connection: close",), b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")],
    ids=["HTTP/1.0", "close"],
)
def test_stream_ends_with_the_connection_where_it_has_to(
    stage: Stage, wire: ChunkedWire, version: str, headers: tuple[str, ...], body: bytes
):
    """HTTP/1.0 gets pieces without chunks; `Connection: close` gets a complete end and then the connection closes."""
    wire.send(request_bytes(PLAIN, INFER, STREAM, *headers, version=version))
    call = stage.begin()
    stage.send(call, b"one", b"two")
    stage.end(call)
    status, found = wire.read_head()
    assert (status, found["connection"], "transfer-encoding" in found) == (200, "close", version == "1.1")
    assert wire.read_rest() == body


def test_stopping_server_lets_a_stream_finish(store: Path, server_path: ServerPath):
    """A stream that runs when the server stops goes on to its end; then its connection is closed."""
    with Serving(settings_for(store, models=("double",)), server_path) as server:
        stage = Stage(server)
        with ChunkedWire(server) as idle, ChunkedWire(server) as wire:
            idle.send(ASK)
            assert idle.read_y() == 8.0
            wire.send(OPEN)
            call = stage.begin()
            server.stop()
            assert idle.read_rest() == b""
            stage.send(call, b"one")
            wire.read_head()
            assert wire.read_chunk() == b"one"
            stage.end(call)
            assert wire.read_rest() == b"0\r\n\r\n"


def test_both_paths_send_the_same_bytes(store: Path):
    """A stream by the fast path has the bytes of one by the ASGI path, apart from its date."""
    one = request_bytes(PLAIN, INFER, STREAM, "X-Request-Id: mine")
    last = request_bytes(PLAIN, INFER, STREAM, "X-Request-Id: mine", "Connection: close")
    settings = settings_for(store, models=("double",))

    def answer(server_path: ServerPath) -> list[bytes]:
        with Serving(settings, server_path) as server, ChunkedWire(server) as wire:
            stage = Stage(server)
            wire.send(one, last)
            for _ in range(2):
                call = stage.begin()
                stage.send(call, sse.render_event(b"{}"), sse.render_event(b"{}", "done"))
                stage.end(call)
            lines = wire.read_rest().splitlines(keepends=True)
            return [line for line in lines if not line.startswith(b"date:")]

    asgi, fast = map(answer, PATHS)
    assert fast == asgi
    assert fast[0] == b"HTTP/1.1 200 OK\r\n"


def test_stream_of_a_call_in_process_is_collected():
    """A call without a connection gets the pieces of a stream as one reply."""

    async def collect() -> tuple[int, bytes]:
        call = AwaitedRequest(Endpoint("/classify"), b"", {})
        call.open(201, sse.HEADERS)
        call.send(b"one")
        call.send(b"two")
        assert not call.answer.done()
        call.end()
        reply = await call.answer
        return reply.status, b"".join(reply.chunks)

    assert asyncio.run(collect()) == (201, b"onetwo")


@pytest.mark.parametrize(
    ("data", "name", "rendered"),
    [
        (b'{"step":1}', None, b'data: {"step":1}\n\n'),
        (b"{}", "done", b"event: done\ndata: {}\n\n"),
        (b"", None, b"data: \n\n"),
        ("ü".encode(), "ü", "event: ü\ndata: ü\n\n".encode()),
    ],
)
def test_event_is_rendered_as_the_standard_reads_it(data: bytes, name: str | None, rendered: bytes):
    """A name and the data are fields, and an empty line ends the event."""
    assert sse.render_event(data, name) == rendered
