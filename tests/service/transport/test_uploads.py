"""Bodies under way: how many bytes a worker holds of them, who waits, for how long, and who does not."""

import asyncio
import json
from pathlib import Path

import pytest

from service.api.handler import Responder
from service.settings import Settings
from service.transport.request import SMALL_BODY_BYTES, BodyBudget, BodyParts
from tests.support.connections.virtual import PATH, Peer, VirtualServer, run_served
from tests.support.servers import ServerPath, Serving, settings_for
from tests.support.wires import INFER, Wire, body_of, request_bytes

MIB = 1 << 20
SETTINGS = Settings(store=Path(), max_held_bytes=8 * MIB, max_body_bytes=2 * MIB, deadline_s=20.0)
READ_BYTES = 1 << 18
"""At most, of one read of a connection."""
CODINGS = pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])


def head_of(size: int, is_chunked: bool = False) -> bytes:
    """Of a body of that size; one in chunks is one chunk."""
    coding = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" if is_chunked else b"Content-Length: %d\r\n\r\n"
    return b"POST %b HTTP/1.1\r\nHost: t\r\n" % PATH.encode() + coding % size


async def upload(
    server: VirtualServer, size: int, sent: int, is_chunked: bool = False
) -> tuple[Peer, "asyncio.Task[None]"]:
    """Begin a body of ``size`` bytes, and send so many as the server reads."""
    peer = await server.connect()
    content = head_of(size, is_chunked) + bytes(sent) + (b"\r\n0\r\n\r\n" if is_chunked and sent == size else b"")
    return peer, asyncio.create_task(peer.send(content))


def held(server: VirtualServer) -> int:
    return server.handler.body_budget.held_bytes


@CODINGS
def test_silent_uploads_hold_nothing(server_path: ServerPath, is_chunked: bool):
    """Bodies that are declared and not sent take no room: those of others are taken."""

    async def act(server: VirtualServer) -> None:
        for _ in range(17):
            await upload(server, 2 * MIB, 0, is_chunked)
        await asyncio.sleep(1)
        assert held(server) == 0
        peer, _ = await upload(server, MIB, MIB, is_chunked)
        assert (await peer.read_head())[2] == b"%d" % MIB

    run_served(SETTINGS, server_path, act)


@CODINGS
def test_half_of_many_uploads_leaves_room_for_small_requests(server_path: ServerPath, is_chunked: bool):
    """When the room is taken by bodies that stop half way, small requests are answered, and a large one goes first."""

    async def act(server: VirtualServer) -> None:
        began = server.loop.time()
        stuck = [await upload(server, 2 * MIB, 2 * MIB - 1, is_chunked) for _ in range(12)]
        await asyncio.sleep(1)
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

    run_served(SETTINGS, server_path, act)


@CODINGS
def test_uploads_of_more_than_there_is_room_for_are_all_answered(server_path: ServerPath, is_chunked: bool):
    """Bodies that are all half there cannot block each other: each is read to its end when it is first."""

    async def act(server: VirtualServer) -> None:
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

    run_served(SETTINGS, server_path, act)


def test_first_that_dawdles_gives_way(server_path: ServerPath):
    """Who may read on although the room is taken has a deadline for that while another waits, however it goes on."""

    async def act(server: VirtualServer) -> None:
        server.start = [].append  # answers nobody, so that the room is taken for good
        for _ in range(3):
            await upload(server, 2 * MIB, 2 * MIB)
        await asyncio.sleep(1)
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

    run_served(SETTINGS.replace(body_timeout_s=300.0, max_held_bytes=8 * MIB), server_path, act)


@CODINGS
def test_caller_that_goes_while_it_waits_leaves_nothing(server_path: ServerPath, is_chunked: bool):
    """Connections that break off in the middle of their bodies, waiting or not, give all their room back."""

    async def act(server: VirtualServer) -> None:
        for peer, _ in [await upload(server, 2 * MIB, MIB, is_chunked) for _ in range(12)]:
            await asyncio.sleep(0.1)
            peer.end.close()
        await asyncio.sleep(SETTINGS.deadline_s + 1)
        assert held(server) == 0

    run_served(SETTINGS, server_path, act)


@CODINGS
@pytest.mark.parametrize("size", [5, 20_000, MIB])
def test_uploads_behind_a_slow_request_are_read_when_it_is_answered(
    server_path: ServerPath, is_chunked: bool, size: int
):
    """Bodies of any size that came with the request before them, or after, are complete when their turn comes."""

    async def act(server: VirtualServer) -> None:
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

    run_served(SETTINGS.replace(deadline_s=1000.0), server_path, act)


def test_body_in_tiny_pieces_takes_no_more_than_its_bytes():
    """Parts of a few bytes, each of which would be an object of fifty, are joined as they come."""
    parts = BodyParts()
    for i in range(50_000):
        parts.add(b"%02d" % (i % 100))
    assert len(parts._parts) <= 3
    parts.add(bytes(5000))
    parts.add(b"end")
    assert parts.take() == b"".join(b"%02d" % (i % 100) for i in range(50_000)) + bytes(5000) + b"end"


def test_budget_admits_one_body_whatever_its_size():
    """When nothing is held even a body above the limit is let in, so uploads cannot block each other for ever."""
    body_budget = BodyBudget(100)
    retried: list[str] = []
    assert body_budget.admit(1000, lambda: retried.append("a"))
    assert not body_budget.admit(1, lambda: retried.append("b"))
    assert retried == []
    body_budget.release(1000)
    assert retried == ["b"]
    assert body_budget.admit(1, lambda: None)


def test_room_that_is_released_while_it_is_given_out_goes_on():
    """Who gets room may be answered at once and release it: the next gets it, and nobody is asked who does not wait."""
    body_budget = BodyBudget(100)
    asked: list[str] = []

    def ask(name: str, size_bytes: int) -> None:
        if body_budget.admit(size_bytes, lambda: ask(name, size_bytes)):
            asked.append(name)
            if name != "last":
                body_budget.release(size_bytes)

    assert body_budget.admit(100, lambda: None)
    for name in ("a", "b", "c", "last"):
        ask(name, 60)
    assert asked == []
    body_budget.release(100)
    assert asked == ["a", "b", "c", "last"]
    assert body_budget.held_bytes == 60


@pytest.mark.parametrize("end", ["complete", "gone", "too large"])
@pytest.mark.parametrize("headers", [(), ("Expect: 100-continue",)], ids=["at once", "asked"])
def test_chunks_under_way_are_held_and_given_back(
    store: Path, server_path: ServerPath, headers: tuple[str, ...], end: str
):
    """What has come of a body without a length is held until it is answered, refused or given up; others pass."""
    settings = settings_for(store, models=("double",), max_held_bytes=2048, max_body_bytes=8192)
    head = "\r\n".join([f"POST {INFER} HTTP/1.1", "Host: t", "Transfer-Encoding: chunked", *headers])
    content = body_of(3).ljust(6000)
    with Serving(settings, server_path) as server, Wire(server) as probe, Wire(server) as wire, Wire(server) as other:
        assert server.worker is not None
        body_budget = server.worker.handler.body_budget

        def turn_until(held_bytes: int) -> None:
            for _ in range(1000):  # each answer is a turn of the server's loop
                if body_budget.held_bytes == held_bytes:
                    return
                probe.send(request_bytes(b"", "/livez", method="GET"))
                assert probe.read()[0] == 200
            pytest.fail(f"expected {held_bytes} bytes held, got {body_budget.held_bytes}")

        wire.send(head.encode() + b"\r\n\r\n")
        if headers:
            assert wire.file.readline() + wire.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"%x\r\n%b\r\n" % (3000, content[:3000]))
        turn_until(3000)
        wire.send(b"%x\r\n%b\r\n" % (3000, content[3000:]))
        turn_until(6000)
        other.send(request_bytes(body_of(1)))
        assert other.read_y() == 2.0
        if end == "complete":
            wire.send(b"0\r\n\r\n")
            assert wire.read_y() == 6.0
        elif end == "gone":
            wire.__exit__()
        else:
            wire.send(b"%x\r\n%b\r\n" % (3000, bytes(3000)))
            assert wire.read()[0] == 413
        turn_until(0)


def test_uploads_beyond_the_held_bytes_are_answered_by_a_real_server(store: Path, server_path: ServerPath):
    """With room for one body at a time, ten large uploads at once are all answered."""
    settings = settings_for(store, models=("double",), max_held_bytes=2048)
    rows = 20_000
    x = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "data": [1.0] * rows * 3}
    content = json.dumps({"inputs": [x]}).encode()
    with Serving(settings, server_path) as server:
        wires = [Wire(server) for _ in range(10)]
        for wire in wires:
            wire.send(request_bytes(content)[:100_000])
        for wire in wires:
            wire.send(request_bytes(content)[100_000:])
        for wire in wires:
            assert wire.read_y() == 2.0
            wire.__exit__()
        assert server.worker is not None
        with server.client() as client:
            assert client.get("/livez").status_code == 200
        assert server.worker.handler.body_budget.held_bytes == 0
