"""Messages of a WebSocket: they are answered in order, in bounded memory. Time is virtual."""

import asyncio

import pytest
from wsproto.events import Event

from service.transport.websocket.connection import WebSocket
from tests.support.connections.doubling import SETTINGS, connect
from tests.support.connections.sockets import ACCEPTED, Closed
from tests.support.connections.virtual import VirtualServer, served

KERNEL_BYTES = 4 << 20
"""More than the two sockets of a connection hold."""


@served(SETTINGS)
async def test_messages_are_answered_in_order(server: VirtualServer, /) -> None:
    """Texts and bytes, also in fragments, are answered in order. The handshake is that of RFC 6455."""
    _, client = await connect(server)
    await client.open(b"", "X-Request-Id: mine")
    assert client.head["sec-websocket-accept"] == ACCEPTED.lower()
    assert client.head["x-request-id"] == "mine"
    await client.say("a", b"b")
    await client.peer.send(client.part("c"), client.part(""), client.message("d"))
    assert [await client.next() for _ in range(3)] == ["aa", "bb", "cdcd"]
    await client.say("end")
    assert await client.next() == Closed(1000, "")


@served(SETTINGS)
async def test_flood_of_messages_waits_in_the_client(server: VirtualServer, /) -> None:
    """One message is worked on and one is kept. The others are read when there is room, and none is lost."""
    streams, client = await connect(server)
    await client.open()
    streams.gate.clear()
    count = KERNEL_BYTES // 4000
    flood = asyncio.ensure_future(client.say(*[b"x" * 4000] * count))
    await server.settle()
    assert not flood.done()
    assert len(streams.taken) == 1
    assert server.handler.body_budget.held_bytes <= 2 * 4096
    streams.gate.set()
    answers = [await client.next() for _ in range(count)]
    assert [len(answer) for answer in answers] == [8000] * count
    await flood
    await client.say("end")
    assert await client.next() == Closed(1000, "")


@served(SETTINGS)
async def test_many_small_messages_in_one_read_are_not_all_kept(server: VirtualServer, /) -> None:
    """Small messages stay bytes until their turn comes."""
    streams, client = await connect(server)
    await client.open()
    streams.gate.clear()
    await client.peer.send(b"".join(client.message(str(i)) for i in range(2000)))
    await server.settle()
    assert server.handler.body_budget.held_bytes == 2
    streams.gate.set()
    assert [await client.next() for _ in range(2000)] == [f"{i}{i}" for i in range(2000)]


@served(SETTINGS)
async def test_answers_wait_for_the_client(server: VirtualServer, /) -> None:
    """A client that reads later gets all of them; meanwhile no further message is taken."""
    streams, client = await connect(server)
    await client.open()
    streams.size = 100_000
    flood = asyncio.ensure_future(client.say(*["abcdefgh"] * 50))
    await server.settle()
    before = len(streams.taken)
    assert before < 10
    await asyncio.sleep(SETTINGS.body_timeout_s / 2)
    assert len(streams.taken) == before
    assert [len(await client.next()) for _ in range(50)] == [1_600_000] * 50
    await flood


@served(SETTINGS)
async def test_flood_of_pings_is_bounded(server: VirtualServer, /) -> None:
    """Pongs that the client does not read stop the server from reading on, so they do not pile up."""
    _, client = await connect(server)
    await client.open()
    pings = asyncio.ensure_future(client.peer.send(*[client.ping(b"p" * 125) * 800] * 100))
    await server.settle()
    [connection] = server.server_state.connections
    assert not pings.done()
    assert connection.transport.get_write_buffer_size() < 1 << 20
    pings.cancel()


@served(SETTINGS)
async def test_others_have_their_turn_between_the_frames_of_a_burst(
    server: VirtualServer, /, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of tiny frames fit into one read: they are taken a few at a time, in order, and none is lost."""
    taken: list[int] = []
    pump, take = WebSocket._pump, WebSocket._take

    def count_turns(self: WebSocket) -> None:
        taken.append(0)
        pump(self)

    def count_frames(self: WebSocket, event: Event) -> None:
        taken[-1] += 1
        take(self, event)

    monkeypatch.setattr(WebSocket, "_pump", count_turns)
    monkeypatch.setattr(WebSocket, "_take", count_frames)
    _, client = await connect(server)
    await client.open()
    await client.peer.send(client.ping(b"") * 1000 + client.message("a"))
    for _ in range(1000):
        assert await client.next() != "aa"
    assert await client.next() == "aa"
    assert max(taken) <= 64


@served(SETTINGS)
async def test_ping_is_answered(server: VirtualServer, /) -> None:
    """A ping gets a pong with the same payload, also while a message is being answered."""
    streams, client = await connect(server)
    await client.open()
    streams.gate.clear()
    await client.say("a")
    await client.peer.send(client.ping(b"here"))
    assert (await client.next()).payload == b"here"
