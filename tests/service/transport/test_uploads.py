"""Uploads: how many bytes a worker holds, and who waits how long. Time is virtual: sleeping moves the clock."""

import asyncio
from pathlib import Path

import pytest

from service.api.handler import Responder
from service.settings import Settings
from service.transport.request import SMALL_BODY_BYTES, BodyBudget, BodyParts
from tests.support.clocks import run_virtual
from tests.support.connections.virtual import PATH, Peer, VirtualServer, served

MIB = 1 << 20
SETTINGS = Settings(store=Path(), max_held_bytes=8 * MIB, max_body_bytes=2 * MIB, deadline_s=20.0)
READ_BYTES = 1 << 18
"""The most bytes of one read of a connection."""
CODINGS = pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])


def head_of(size: int, is_chunked: bool = False) -> bytes:
    """The head of a request with a body of that size. A chunked body has one chunk."""
    coding = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" if is_chunked else b"Content-Length: %d\r\n\r\n"
    return b"POST %b HTTP/1.1\r\nHost: t\r\n" % PATH.encode() + coding % size


Uploading = tuple[Peer, "asyncio.Task[None]"]


async def upload(server: VirtualServer, size: int, sent: int, is_chunked: bool = False) -> Uploading:
    """Begin a body of ``size`` bytes, and send the first ``sent`` of them as fast as the server reads."""
    peer = await server.connect()
    content = head_of(size, is_chunked) + bytes(sent) + (b"\r\n0\r\n\r\n" if is_chunked and sent == size else b"")
    return peer, asyncio.create_task(peer.send(content))


def held(server: VirtualServer) -> int:
    return server.handler.body_budget.held_bytes


@CODINGS
@served(SETTINGS)
async def test_silent_uploads_hold_nothing(server: VirtualServer, /, is_chunked: bool):
    """Bodies that are declared and not sent take no room."""
    for _ in range(17):
        await upload(server, 2 * MIB, 0, is_chunked)
    await server.settle()
    assert held(server) == 0
    peer, _ = await upload(server, MIB, MIB, is_chunked)
    assert (await peer.read_head())[2] == b"%d" % MIB


@CODINGS
@served(SETTINGS)
async def test_half_of_many_uploads_leaves_room_for_small_requests(server: VirtualServer, /, is_chunked: bool):
    """When stopped uploads hold the room, small requests are answered, and a large one when its turn comes."""
    began = server.loop.time()
    stuck = [await upload(server, 2 * MIB, 2 * MIB - 1, is_chunked) for _ in range(12)]
    await server.settle()
    assert 6 * MIB < held(server) <= SETTINGS.max_held_bytes + 12 * READ_BYTES
    for size in (2, SMALL_BODY_BYTES):
        peer, _ = await upload(server, size, size, is_chunked)
        assert (await peer.read_head())[2] == b"%d" % size
    assert server.loop.time() < began + 2
    large, _ = await upload(server, MIB, MIB, is_chunked)
    assert (await large.read_head())[2] == b"%d" % MIB  # it goes first when those before it have had their time
    assert server.loop.time() <= began + 2 + SETTINGS.deadline_s + 1
    for peer, _ in stuck:
        said = await peer.read()
        assert said.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 408 ")), said
    assert server.loop.time() <= began + SETTINGS.deadline_s + SETTINGS.body_timeout_s + 1
    assert held(server) == 0
    peer, _ = await upload(server, 2 * MIB, 2 * MIB, is_chunked)
    assert (await peer.read_head())[2] == b"%d" % (2 * MIB)


@CODINGS
@served(SETTINGS)
async def test_uploads_of_more_than_there_is_room_for_are_all_answered(server: VirtualServer, /, is_chunked: bool):
    """Uploads that together exceed the room do not block each other: all are answered."""
    most = 0
    peers = [(await upload(server, 2 * MIB, 2 * MIB, is_chunked))[0] for _ in range(12)]

    def look(responder: Responder) -> None:
        nonlocal most
        most = max(most, held(server))
        at_once(responder)

    server.start, at_once = look, server.start
    for peer in peers:
        assert (await peer.read_head())[2] == b"%d" % (2 * MIB)
    assert most <= SETTINGS.max_held_bytes + 12 * READ_BYTES


@served(SETTINGS.replace(body_timeout_s=300.0, max_held_bytes=8 * MIB))
async def test_first_that_dawdles_gives_way(server: VirtualServer, /):
    """An upload that may go on beyond the room gets 503 if it takes too long while another one waits."""
    server.start = [].append  # answers nobody, so that the room is taken for good
    for _ in range(3):
        await upload(server, 2 * MIB, 2 * MIB)
    await server.settle()
    first = await server.connect()
    await first.send(head_of(2 * MIB) + bytes(MIB))
    slowly = asyncio.create_task(first.send_slowly(bytes(MIB), 8192))
    await asyncio.sleep(5)
    _, waiting = await upload(server, 2 * MIB, 2 * MIB)
    await asyncio.sleep(5)
    assert not waiting.done()
    began = server.loop.time()
    status, headers, _ = await first.read_head()
    assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
    assert server.loop.time() - began < SETTINGS.deadline_s
    slowly.cancel()
    await asyncio.wait_for(waiting, 5)


@CODINGS
@served(SETTINGS)
async def test_caller_that_goes_while_it_waits_leaves_nothing(server: VirtualServer, /, is_chunked: bool):
    """Uploads that break off, waiting or not, give their room back."""
    for peer, _ in [await upload(server, 2 * MIB, MIB, is_chunked) for _ in range(12)]:
        await server.settle()
        peer.end.close()
    await asyncio.sleep(SETTINGS.deadline_s + 1)
    assert held(server) == 0


@CODINGS
@pytest.mark.parametrize("size", [5, 20_000, MIB])
@served(SETTINGS.replace(deadline_s=1000.0))
async def test_uploads_behind_a_slow_request_are_read_later(server: VirtualServer, /, is_chunked: bool, size: int):
    """Bodies of any size behind a slow request are complete when their turn comes."""
    waiting: asyncio.Queue[Responder] = asyncio.Queue()
    server.start, at_once = waiting.put_nowait, server.start
    peer = await server.connect()
    end = b"\r\n0\r\n\r\n" if is_chunked else b""
    whole = head_of(size, is_chunked) + bytes(size) + end
    sending = asyncio.create_task(peer.send(whole * 3 + head_of(2) + b"{}"))
    for expected in (size, size, size, 2):
        responder = await waiting.get()
        await asyncio.sleep(100)
        at_once(responder)
        assert (await peer.read_head())[2] == b"%d" % expected
    await sending


def test_body_in_tiny_pieces_takes_no_more_than_its_bytes():
    """Tiny parts of a body are joined as they come, because each would take fifty bytes as an object."""
    parts = BodyParts()
    for i in range(50_000):
        parts.add(b"%02d" % (i % 100))
    assert len(parts._parts) <= 3
    parts.add(bytes(5000))
    parts.add(b"end")
    assert parts.take() == b"".join(b"%02d" % (i % 100) for i in range(50_000)) + bytes(5000) + b"end"


def test_budget_admits_one_body_whatever_its_size():
    """When nothing is held, a body of any size is admitted; the next one waits."""

    async def act() -> None:
        body_budget = BodyBudget(100)
        await body_budget.admit(1000)
        waiting = asyncio.create_task(body_budget.admit(1))
        assert await asyncio.wait([waiting], timeout=1) == (set(), {waiting})
        body_budget.release(1000)
        await waiting
        await body_budget.admit(1)

    run_virtual(act())


def test_room_that_is_released_while_it_is_given_out_goes_on():
    """Room that is released while room is given out goes to the next one that waits."""
    body_budget = BodyBudget(100)
    admitted: list[str] = []

    async def ask(name: str) -> None:
        await body_budget.admit(60)
        admitted.append(name)
        if name != "last":
            body_budget.release(60)

    async def act() -> None:
        await body_budget.admit(100)
        waiting = [asyncio.create_task(ask(name)) for name in ("a", "b", "c", "last")]
        await asyncio.wait(waiting, timeout=1)
        assert admitted == []
        body_budget.release(100)
        await asyncio.gather(*waiting)
        assert admitted == ["a", "b", "c", "last"]
        assert body_budget.held_bytes == 60

    run_virtual(act())


@pytest.mark.parametrize("end", ["complete", "gone", "too large"])
@pytest.mark.parametrize("header", [b"", b"Expect: 100-continue\r\n"], ids=["at once", "asked"])
@served(SETTINGS.replace(max_held_bytes=2048, max_body_bytes=8192))
async def test_chunks_under_way_are_held_and_given_back(server: VirtualServer, /, header: bytes, end: str):
    """The bytes of a body in chunks are held until it is answered, refused or given up."""
    peer = await server.connect()
    head = b"POST %b HTTP/1.1\r\nHost: t\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (PATH.encode(), header)
    await peer.send(head)
    if header:
        assert await peer.loop.sock_recv(peer.end, 100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    for sent in (3000, 6000):
        await peer.send(b"%x\r\n%b\r\n" % (3000, bytes(3000)))
        await server.settle()
        assert held(server) == sent
    if end == "complete":
        await peer.send(b"0\r\n\r\n")
        assert (await peer.read_head())[2] == b"6000"
    elif end == "gone":
        peer.end.close()
    else:
        await peer.send(b"%x\r\n%b\r\n" % (3000, bytes(3000)))
        assert (await peer.read_head())[0] == 413
    await server.settle()
    assert held(server) == 0
