"""A connection and its transport: clients that read slowly, and how many requests are in progress at once."""

import asyncio

import pytest

from service.transport.concurrency import MOST_ANSWER_BYTES, MOST_REQUESTS, ConnectionConcurrency, StreamConcurrency
from service.transport.grpc.protocol import GrpcProtocol
from tests.support.connections.http2 import Client
from tests.support.grpc_servers import GrpcServing


class Transport(asyncio.Transport):
    """Keeps what is written. ``unwritten_bytes``: how much the client has not read."""

    def __init__(self) -> None:
        super().__init__()
        self.unwritten_bytes = 0
        self.written = b""
        self.is_closed = self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unwritten_bytes

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def connect(server: GrpcServing) -> tuple[GrpcProtocol, Transport]:
    made, transport = GrpcProtocol(server.grpc_server._service), Transport()
    made.connection_made(transport)
    return made, transport


@pytest.mark.parametrize(("left_bytes", "is_aborted"), [(1 << 20, True), ((1 << 20) - 1, True), (1 << 19, False)])
def test_client_that_reads_slowly_is_not_dropped(server: GrpcServing, left_bytes: int, is_aborted: bool) -> None:
    """A client that takes long for what is written keeps its connection while it reads some of it."""

    async def look() -> bool:
        made, transport = connect(server)
        transport.unwritten_bytes = 1 << 20
        made.pause_writing()
        made._moved_at -= 3600
        transport.unwritten_bytes = left_bytes
        made._look()
        made.connection_lost(None)
        return transport.is_aborted

    assert server.run(look) is is_aborted


def test_answers_wait_in_their_streams_while_the_client_does_not_read(server: GrpcServing) -> None:
    """However large the windows are, answers wait in their streams. So a stream knows how much is unread."""

    async def answer() -> tuple[int, int]:
        made, _ = connect(server)
        made.data_received(Client().hello() + Client().call(1))
        stream = made._connection.open[1]
        made.pause_writing()
        made._sender.send(stream, bytes(100))
        unread = stream.unsent_bytes
        made.resume_writing()
        left = stream.unsent_bytes
        made.connection_lost(None)
        return unread, left

    assert server.run(answer) == (100, 0)


async def begin_all(stream: StreamConcurrency) -> int:
    """Begin requests of a stream until one has to wait. Returns how many."""
    number = 0
    while True:
        try:
            async with asyncio.timeout(0):
                await stream.begin()
        except TimeoutError:
            return number
        number += 1


@pytest.fixture
def streams() -> tuple[StreamConcurrency, StreamConcurrency]:
    """Two streams of one connection."""
    shared = ConnectionConcurrency()
    return StreamConcurrency(shared), StreamConcurrency(shared)


Two = tuple[StreamConcurrency, StreamConcurrency]


@pytest.mark.anyio
async def test_streams_of_a_connection_share_a_limit_and_each_has_one(streams: Two) -> None:
    """The streams of a connection share a limit. Beyond it each may still have one request under way."""
    first, second = streams
    assert await begin_all(first) == MOST_REQUESTS
    assert await begin_all(second) == 1


@pytest.mark.anyio
async def test_large_answers_let_fewer_requests_begin(streams: Two) -> None:
    """Only so many requests begin that all their answers together stay small."""
    stream, _ = streams
    await stream.begin()
    stream.note(MOST_ANSWER_BYTES // 4)
    assert await begin_all(stream) == 3


@pytest.mark.anyio
async def test_who_waits_goes_on_when_a_request_ends(streams: Two) -> None:
    """When a request ends, a stream that has no other one goes on first. A cancelled wait takes no place."""
    first, second = streams
    await first.begin()
    first.note(MOST_ANSWER_BYTES)
    await second.begin()
    waits = [asyncio.create_task(each.begin()) for each in (first, second)]
    await asyncio.sleep(0)
    second.end()
    await waits[1]
    assert not waits[0].done()
    waits[0].cancel()
    await asyncio.gather(waits[0], return_exceptions=True)
    first.end()
    second.end()
    assert (first.under_way, second.under_way) == (0, 0)
    assert await begin_all(first) == 1


@pytest.mark.anyio
async def test_stream_that_is_over_holds_nothing(streams: Two) -> None:
    """A closed stream releases its places, even those of requests that were never read."""
    first, second = streams
    await begin_all(first)
    first.close()
    assert await begin_all(second) == MOST_REQUESTS
