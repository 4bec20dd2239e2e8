"""Clients that are slow or silent, over both paths. Time is virtual: sleeping moves the clock."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from service.api.handler import Responder
from service.settings import Settings
from service.transport.request import JSON, Reply
from tests.support.connections.certificates import Authority
from tests.support.connections.virtual import PATH, Peer, VirtualServer, served
from tests.support.servers import FAST, ServerPath, Serving, settings_for
from tests.support.wires import INFER, Wire, body_of, request_bytes

SETTINGS = Settings(store=Path())
HEADER_S, BODY_S, KEEP_S = SETTINGS.header_timeout_s, SETTINGS.body_timeout_s, SETTINGS.keep_alive_s
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: t\r\n".encode()
WHOLE = HEAD + b"Content-Length: 2\r\n\r\n{}"
QUESTION = b"GET /elsewhere HTTP/1.1\r\nHost: t\r\n\r\n"
ELSEWHERE = b"POST /elsewhere HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n"
KERNEL_BYTES = 4 << 20
"""More than the two sockets of a connection hold."""


async def answered(server: VirtualServer, content: bytes = WHOLE, status: int = 200) -> Peer:
    """A connection whose first request has its answer."""
    peer = await server.connect()
    await peer.send(content)
    assert (await peer.read_head())[0] == status
    return peer


async def time_to_end(server: VirtualServer, peer: Peer, sending: Any = None) -> tuple[float, bytes]:
    """Seconds until the server closes, while something is sent, and what it said."""
    began = server.loop.time()
    task = asyncio.ensure_future(sending) if sending is not None else None
    said = await peer.read()
    seconds = server.loop.time() - began
    if task is not None:
        task.cancel()
    return seconds, said


@served(SETTINGS)
async def test_connection_that_sends_nothing_is_closed(server: VirtualServer, /):
    """A connection that sends nothing, or only empty lines, is closed after the time of a header."""
    for content in (b"", b"\r\n" * 100):
        peer = await server.connect()
        seconds, said = await time_to_end(server, peer, peer.send_slowly(content))
        assert (HEADER_S <= seconds < HEADER_S + 1.5, said) == (True, b"")


@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
@served(SETTINGS)
async def test_header_that_does_not_end_is_a_408(server: VirtualServer, /, is_second: bool):
    """A header that does not end within its time from the first byte is 408, for the first request and later ones."""
    peer = await answered(server) if is_second else await server.connect()
    await asyncio.sleep(KEEP_S - 5 if is_second else 0)
    seconds, said = await time_to_end(server, peer, peer.send_slowly(HEAD + b"X: " + b"a" * 1000))
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"header: expected its end within 10 s of its first byte" in said
    assert server.metrics.sums()["sluice_rejected"]["", "too_slow"] == [1.0]
    assert b"connection: close" in said
    assert HEADER_S <= seconds < HEADER_S + 1.5


@pytest.mark.parametrize("size", [0, 1, 500], ids=["nothing", "a byte", "500 bytes"])
@pytest.mark.parametrize("coding", [b"Content-Length: 99999", b"Transfer-Encoding: chunked"], ids=["length", "chunks"])
@served(SETTINGS)
async def test_body_without_progress_is_a_408(server: VirtualServer, /, size: int, coding: bytes):
    """A body without bytes, or with too few a second, is 408 when its time is over."""
    peer = await server.connect()
    await peer.send(HEAD + coding + b"\r\n\r\n" + (b"ffff\r\n" if b"chunked" in coding else b""))
    sending = peer.send_slowly(bytes(1 << 15), size) if size else None
    seconds, said = await time_to_end(server, peer, sending)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"body: expected its end, or 30720 bytes, within 30 s, got less" in said
    assert BODY_S <= seconds < BODY_S + 1.5


@served(SETTINGS)
async def test_body_that_stops_has_its_time_from_then(server: VirtualServer, /):
    """The time of a body counts from its last progress, and a slow body that goes on is read."""
    size = 200_000
    for sent in (size - 1, size):
        peer = await server.connect()
        await peer.send(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        await peer.send_slowly(bytes(sent), 2048)  # for 98 s
        if sent == size:
            assert (await peer.read_head())[2] == b"%d" % size
        else:
            seconds, said = await time_to_end(server, peer)
            assert said.startswith(b"HTTP/1.1 408 ")
            assert BODY_S - 16 < seconds <= BODY_S  # progress is 15 s at this pace


@served(SETTINGS)
async def test_body_that_nobody_waits_for_is_not_read_for_ever(server: VirtualServer, /):
    """If the body of an answered request does not come, the connection ends."""
    peer = await answered(server, ELSEWHERE, 404)
    seconds, said = await time_to_end(server, peer, peer.send_slowly(bytes(1000)))
    assert (BODY_S - 1 <= seconds <= BODY_S + 1, said) == (True, b"")


@pytest.mark.parametrize(("sent", "status"), [(WHOLE, 200), (QUESTION, 404)], ids=["infer", "elsewhere"])
@served(SETTINGS)
async def test_idle_connection_is_closed_whatever_else_comes(server: VirtualServer, /, sent: bytes, status: int):
    """An idle connection is closed after its time, which empty lines do not extend, after answers of both paths."""
    peer = await answered(server, sent, status)
    seconds, said = await time_to_end(server, peer, peer.send_slowly(b"\r\n" * 100))
    assert (KEEP_S <= seconds < KEEP_S + 1, said) == (True, b"")


@pytest.mark.parametrize("server_path", [FAST], ids=["fast"])  # uvicorn reads on behind a request of the ASGI path
@served(SETTINGS)
async def test_time_stands_still_while_the_server_does_not_read(server: VirtualServer, /):
    """A request whose body waits behind a slow one has all its time when it is read again."""
    waiting: list[Responder] = []
    server.start, at_once = waiting.append, server.start
    peer = await server.connect()
    await peer.send(WHOLE + HEAD + b"Content-Length: 4\r\n\r\n12")
    await asyncio.sleep(200)
    server.start = at_once
    server.start(waiting[0])
    assert (await peer.read_head())[2] == b"2"
    await asyncio.sleep(BODY_S - 1)
    await peer.send(b"34")
    assert (await peer.read_head())[2] == b"4"


def answer_with(size: int) -> Any:
    return lambda responder: responder.finish(Reply(200, [bytes(size)], (JSON,)), None)


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"], ids=["kept", "closing"])
@pytest.mark.parametrize("taken", [0, 100], ids=["nothing", "100 bytes"])
@served(SETTINGS)
async def test_answer_that_nobody_reads_is_let_go_of(server: VirtualServer, /, closing: bytes, taken: int):
    """A client that takes nothing, or only bytes, of its answer is disconnected when its time is over."""
    server.start = answer_with(KERNEL_BYTES)
    peer = await server.connect()
    await peer.send(HEAD + closing + b"Content-Length: 2\r\n\r\n{}")
    for _ in range(50):
        await asyncio.sleep(1)
        if taken and server.server_state.connections:
            await peer.loop.sock_recv(peer.end, taken)
    assert not server.server_state.connections


@served(SETTINGS)
async def test_answer_that_is_read_slowly_is_read_to_its_end(server: VirtualServer, /):
    """A client that reads its answer over minutes gets all of it."""
    server.start = answer_with(KERNEL_BYTES)
    peer = await server.connect()
    await peer.send(WHOLE)
    size = 0
    while size < KERNEL_BYTES:
        await asyncio.sleep(5)
        part = await peer.loop.sock_recv(peer.end, 1 << 18)
        assert part, "broken off"
        size += len(part)


@served(SETTINGS.replace(max_connections=2))
async def test_connections_above_the_limit_are_told_so(server: VirtualServer, /):
    """A connection above the limit gets 503 with Retry-After and ends; when another one ends, the next is taken."""
    peers = [await server.connect() for _ in range(2)]
    refused = await server.connect()
    said = await refused.read()
    assert said.startswith(b"HTTP/1.1 503 ")
    assert (b"retry-after: 1" in said, b"connection: close" in said) == (True, True)
    assert b"this server takes at most 2 connections at once" in said
    assert server.metrics.sums()["sluice_rejected"]["", "try_later"] == [1.0]
    await refused.send(WHOLE)
    refused.end.close()
    for peer in peers:
        await peer.send(WHOLE)
        assert (await peer.read_head())[0] == 200
    peers[0].end.close()
    await server.settle()
    await answered(server)


@pytest.mark.long
def test_times_hold_behind_tls(store: Path, server_path: ServerPath, tmp_path: Path):
    """Requests are answered behind TLS, and the limits of time hold there too."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.certificate))
    settings = settings_for(store, models=("double",), header_timeout_s=1.0, body_timeout_s=0.5)
    rows = 500_000
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "parameters": {"binary_data_size": rows * 12}}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}).encode()
    large = request_bytes(head + bytes(rows * 12), INFER, f"Inference-Header-Content-Length: {len(head)}")
    half = f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n1".encode()
    with Serving(settings, server_path, tls=authority.issue("server")) as server:
        with Wire(server, context) as wire:
            wire.send(request_bytes(body_of(1)), request_bytes(body_of(2)))
            assert [wire.read_y(), wire.read_y()] == [2.0, 4.0]
        with Wire(server, context) as silent, Wire(server, context) as header, Wire(server, context) as body:
            body.send(half)
            header.send(b"POST / HT")
            assert [wire.read()[0] for wire in (header, body)] == [408, 408]
            assert all(wire.is_closed_by_server() for wire in (silent, header, body))
        with Wire(server, context) as wire:
            wire.socket.settimeout(30)
            with pytest.raises((ConnectionError, ssl.SSLEOFError)):
                wire.send(large * 8)  # more than the sockets hold
