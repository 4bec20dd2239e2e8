"""Answers that come in pieces: order, back-pressure, disconnects, broken bodies, shutdown, through both paths."""

import asyncio
import queue
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from service.api.handler import RequestHandler, Responder
from service.settings import Settings
from service.transport import sse
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER as INFER_ROUTE
from service.transport.request import MAX_UNREAD_BYTES, Endpoint
from tests.support.servers import PATHS, ReadyWorker, ServerPath, Serving, settings_for
from tests.support.wires import Wire

INFER = "/v2/models/double/infer"
PLAIN = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[4,4,4]}]}'
KERNEL_BYTES = 16 << 20
"""More than the two sockets of a connection hold."""
STREAM = "X-Stream: 1"

T = TypeVar("T")


class Puppets:
    """Stands before a request handler: requests with the header `X-Stream` are answered by the test, piece by piece."""

    def __init__(self, handler: RequestHandler) -> None:
        self.handler = handler
        self._infer = handler.starts[INFER_ROUTE]
        handler.starts[INFER_ROUTE] = self.start
        self.begun: queue.SimpleQueue[Responder] = queue.SimpleQueue()
        self.cancelled: queue.SimpleQueue[Responder] = queue.SimpleQueue()

    def start(self, responder: Responder) -> None:
        if b"x-stream" in responder.request.headers:
            responder.cancel_work = lambda: self.cancelled.put(responder)
            self.begun.put(responder)
        else:
            self._infer(responder)


class PuppetWorker(ReadyWorker):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.loop = asyncio.get_running_loop()
        self.puppets = Puppets(self.handler)


class Stage:
    """A server whose streams the test drives: what it does to a call is done on the server's loop, and waited for."""

    def __init__(self, server: Serving) -> None:
        worker = server.worker
        assert isinstance(worker, PuppetWorker)
        self.puppets, self.loop = worker.puppets, worker.loop

    def do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self.loop).result(20)

    def begin(self) -> Responder:
        """The next request, its stream opened."""
        responder = self.puppets.begun.get(timeout=20)
        request = responder.request
        self.do(lambda: request.open(200, [*sse.HEADERS, (b"x-request-id", request.request_id.encode())]))
        return responder

    def send(self, responder: Responder, *pieces: bytes) -> None:
        self.do(lambda: [responder.request.send(piece) for piece in pieces])

    def end(self, responder: Responder) -> None:
        self._finish(responder, responder.request.end)

    def abort(self, responder: Responder) -> None:
        self._finish(responder, responder.request.abort)

    def _finish(self, responder: Responder, how: Callable[[], None]) -> None:
        def act() -> None:
            responder._let_go()  # as a responder does before it ends a request
            how()

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

    def read_plain(self) -> bool:
        """A whole reply; whether it is the answer to `PLAIN`."""
        status, headers = self.read_head()
        body = self.file.read(int(headers["content-length"]))
        return status == 200 and b"8.0,8.0,8.0" in body

    def read_rest(self) -> bytes:
        """What comes until the server ends the connection, in whichever way."""
        parts = []
        try:
            while part := self.file.read1(1 << 20):
                parts.append(part)
        except ConnectionResetError:
            parts.append(b"<reset>")
        return b"".join(parts)


def request(*headers: str, version: str = "1.1", path: str = INFER) -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: test", f"Content-Length: {len(PLAIN)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + PLAIN


@pytest.fixture(scope="module")
def server(store: Path, server_path: ServerPath) -> Iterator[Serving]:
    with Serving(settings_for(store, models=("double",)), server_path, PuppetWorker) as serving:
        yield serving


@pytest.fixture
def stage(server: Serving) -> Stage:
    return Stage(server)


@pytest.fixture
def wire(server: Serving) -> Iterator[ChunkedWire]:
    with ChunkedWire(server) as wire:
        yield wire


def test_abort_gives_a_broken_body(stage: Stage, client: httpx.Client):
    """A stream that is broken off is an error for an ordinary client, who has what was sent before."""
    with ThreadPoolExecutor(1) as aside:
        opening = aside.submit(stage.begin)
        with client.stream("POST", INFER, content=PLAIN, headers={"X-Stream": "1"}) as response:
            call = opening.result(20)
            stage.send(call, b"one")
            parts = response.iter_raw()
            assert next(parts) == b"one"
            stage.abort(call)
            with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
                next(parts)


@pytest.mark.parametrize("pieces", [[], [b"one"]])
def test_abort_is_not_taken_for_the_end_by_http_1_0(stage: Stage, wire: ChunkedWire, pieces: list[bytes]):
    """Where the body ends with the connection, a broken one is a reset, or a 500 if nothing was sent yet."""
    wire.send(request(STREAM, version="1.0"))
    call = stage.begin()
    stage.send(call, *pieces)
    stage.abort(call)
    rest = wire.read_rest()
    assert rest.endswith(b"<reset>") or rest.startswith(b"HTTP/1.1 500")


def test_caller_that_does_not_read_is_cut_off(stage: Stage, server: Serving):
    """Pieces for a caller that does not read are kept up to the bound; then the call is cancelled, its body broken."""
    piece = bytes(1 << 20)
    sent_bytes = 0
    with ChunkedWire(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.send(request(STREAM))
        call = stage.begin()
        while stage.puppets.cancelled.empty():
            stage.send(call, piece)
            sent_bytes += len(piece)
            assert sent_bytes <= MAX_UNREAD_BYTES + KERNEL_BYTES, "pieces pile up"
        assert stage.puppets.cancelled.get() is call
        assert sent_bytes > MAX_UNREAD_BYTES
        assert not wire.read_rest().endswith(b"0\r\n\r\n")


def test_producer_that_heeds_congestion_is_not_cut_off(stage: Stage, wire: ChunkedWire):
    """Who leaves out pieces while the caller does not read reaches him with the last, and with the others in order."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    wire.send(request(STREAM))
    call = stage.begin()
    assert not stage.do(lambda: call.request.congested)
    total = 200  # 50 MB
    for number in range(total):
        stage.do(lambda n=number: None if call.request.congested else call.request.send(b"%08d" % n + bytes(1 << 18)))
    assert stage.do(lambda: call.request.congested)
    stage.send(call, b"last")
    stage.end(call)
    *chunks, last = wire.read_stream()
    numbers = [int(chunk[:8]) for chunk in chunks]
    assert last == b"last"
    assert numbers == sorted(numbers)
    assert 0 < len(numbers) < total
    assert stage.puppets.cancelled.empty()


def test_long_stream_to_a_caller_that_reads_is_not_cut_off(stage: Stage, wire: ChunkedWire):
    """The bound is on what lies unread, not on the length of a stream."""
    wire.send(request(STREAM))
    call = stage.begin()
    wire.read_head()
    piece = bytes(1 << 20)
    for _ in range(MAX_UNREAD_BYTES // len(piece) * 2):
        stage.send(call, piece)
        assert wire.read_chunk() == piece
    stage.end(call)
    assert wire.read_chunk() == b""


def test_next_request_is_not_begun_while_the_client_does_not_read(stage: Stage, server: Serving, wire: ChunkedWire):
    """A stream that is over but not read holds up the requests behind it."""
    wire.send(request(STREAM), request(STREAM))
    first = stage.begin()
    stage.send(first, bytes(KERNEL_BYTES))
    stage.end(first)
    with ChunkedWire(server) as probe:
        for _ in range(3):  # each answer is a turn of the server's loop
            probe.send(request())
            assert probe.read_plain()
    assert stage.puppets.begun.empty()
    assert wire.read_stream() == [bytes(KERNEL_BYTES)]
    stage.end(stage.begin())
    assert wire.read_stream() == []


@pytest.mark.parametrize("pieces", [[], [b"one"]])
def test_caller_that_goes_cancels_its_stream(stage: Stage, server: Serving, pieces: list[bytes]):
    """A caller that closes in the middle is noticed without another piece; more of them do no harm, no task is left."""
    tasks = stage.do(lambda: len(asyncio.all_tasks()))
    with ChunkedWire(server) as wire:
        wire.send(request(STREAM))
        call = stage.begin()
        wire.read_head()
        stage.send(call, *pieces)
        assert [wire.read_chunk() for _ in pieces] == pieces
    assert stage.puppets.cancelled.get(timeout=20) is call
    stage.send(call, b"more")
    with ChunkedWire(server) as probe:  # its answer is a turn of the server's loop
        probe.send(request())
        assert probe.read_plain()
    assert stage.do(lambda: len(asyncio.all_tasks())) <= tasks
    stage.abort(call)
    stage.end(call)


def test_caller_that_goes_before_the_stream_cancels_it(stage: Stage, server: Serving):
    """A stream for a caller that has already gone may be opened, filled and ended: nothing happens."""
    with ChunkedWire(server) as wire:
        wire.send(request(STREAM))
        call = stage.puppets.begun.get(timeout=20)
    assert stage.puppets.cancelled.get(timeout=20) is call
    stage.do(lambda: call.request.open(200, sse.HEADERS))
    stage.send(call, b"one")
    stage.end(call)
    with ChunkedWire(server) as wire:
        wire.send(request())
        assert wire.read_plain()
    assert stage.do(lambda: stage.puppets.handler.body_budget.held_bytes) == 0


@pytest.mark.parametrize("path", [INFER, "/v2/models/doubl%65/infer"])
def test_pieces_arrive_as_they_are_sent_and_the_connection_is_kept(stage: Stage, wire: ChunkedWire, path: str):
    """Each piece is read before the next one is made; after the end the connection takes requests again."""
    for _ in range(2):
        wire.send(request(STREAM, path=path))
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
        wire.send(request())
        assert wire.read_plain()


def test_pipelined_requests_wait_for_the_end_of_a_stream(stage: Stage, server: Serving, wire: ChunkedWire):
    """What was sent behind a stream begins after its end, in order."""
    wire.send(request(STREAM), request(), request(STREAM), request())
    call = stage.begin()
    wire.read_head()
    stage.send(call, b"one")
    assert wire.read_chunk() == b"one"
    with ChunkedWire(server) as probe:
        probe.send(request())
        assert probe.read_plain()
    stage.send(call, b"two")
    assert wire.read_chunk() == b"two"
    assert stage.puppets.begun.empty()
    stage.end(call)
    assert wire.read_chunk() == b""
    assert wire.read_plain()
    call = stage.begin()
    stage.send(call, b"three")
    stage.end(call)
    assert wire.read_stream() == [b"three"]
    assert wire.read_plain()


def test_stream_without_pieces_is_an_empty_body(stage: Stage, wire: ChunkedWire):
    """A stream that ends at once is complete, and the connection goes on."""
    wire.send(request(STREAM))
    stage.end(stage.begin())
    assert wire.read_stream() == []
    wire.send(request())
    assert wire.read_plain()


def test_stream_to_http_1_0_ends_with_the_connection(stage: Stage, wire: ChunkedWire):
    """An HTTP/1.0 caller gets the pieces without chunks."""
    wire.send(request(STREAM, version="1.0"))
    call = stage.begin()
    stage.send(call, b"one", b"two")
    stage.end(call)
    status, headers = wire.read_head()
    assert (status, headers["connection"]) == (200, "close")
    assert "transfer-encoding" not in headers
    assert wire.read_rest() == b"onetwo"


def test_stream_closes_the_connection_when_asked(stage: Stage, wire: ChunkedWire):
    """After `Connection: close` a stream has chunks and a complete end, and then the connection ends."""
    wire.send(request(STREAM, "Connection: close"))
    call = stage.begin()
    stage.send(call, b"one")
    stage.end(call)
    status, headers = wire.read_head()
    assert (status, headers["connection"]) == (200, "close")
    assert wire.read_rest() == b"3\r\none\r\n0\r\n\r\n"


def test_stopping_server_lets_a_stream_finish(store: Path, server_path: ServerPath):
    """A stream that runs when the server stops goes on to its end; then its connection is closed."""
    with Serving(settings_for(store, models=("double",)), server_path, PuppetWorker) as server:
        stage = Stage(server)
        with ChunkedWire(server) as idle, ChunkedWire(server) as wire:
            idle.send(request())
            assert idle.read_plain()
            wire.send(request(STREAM))
            call = stage.begin()
            server.stop()
            assert idle.read_rest() == b""
            stage.send(call, b"one")
            wire.read_head()
            assert wire.read_chunk() == b"one"
            stage.end(call)
            assert wire.read_rest() == b"0\r\n\r\n"


def test_every_door_sends_the_same_bytes(store: Path):
    """A stream by the fast path has the bytes of one by the ASGI path, apart from its date."""

    def answer(server_path: ServerPath) -> list[bytes]:
        with (
            Serving(settings_for(store, models=("double",)), server_path, PuppetWorker) as server,
            ChunkedWire(server) as wire,
        ):
            stage = Stage(server)
            wire.send(request(STREAM, "X-Request-Id: mine"), request(STREAM, "X-Request-Id: mine", "Connection: close"))
            for _ in range(2):
                call = stage.begin()
                stage.send(call, sse.event(b"{}"), sse.event(b"{}", "done"))
                stage.end(call)
            lines = wire.read_rest().splitlines(keepends=True)
            return [line for line in lines if not line.startswith(b"date:")]

    asgi, protocol = map(answer, PATHS)
    assert protocol == asgi
    assert protocol[0] == b"HTTP/1.1 200 OK\r\n"


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


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines"])
def test_name_of_an_event_is_one_line(name: str):
    """A name that could be taken for another field is refused."""
    with pytest.raises(ValueError, match="expected one line"):
        sse.event(b"{}", name)


@pytest.mark.parametrize(
    ("data", "name", "rendered"),
    [
        (b'{"step":1}', None, b'data: {"step":1}\n\n'),
        (b"{}", "done", b"event: done\ndata: {}\n\n"),
        (b"", None, b"data: \n\n"),
        (b" a\nb\r\nc\rd", None, b"data:  a\ndata: b\ndata: c\ndata: d\n\n"),
        (b"a\n", None, b"data: a\ndata: \n\n"),
        ("ü".encode(), "ü", "event: ü\ndata: ü\n\n".encode()),
    ],
)
def test_event_is_rendered_as_the_standard_reads_it(data: bytes, name: str | None, rendered: bytes):
    """Each line of the data is a field of its own, and an empty line ends the event."""
    assert sse.event(data, name) == rendered
