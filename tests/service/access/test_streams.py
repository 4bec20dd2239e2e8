"""Live streams: the key of a handshake, and of the messages behind it. Time is virtual."""

from collections.abc import Callable
from typing import Any

import pytest

from service.access.guard import AccessGuard, KeySource
from tests.service.access.asking import KEYS, render_keys
from tests.support.connections.doubling import LIVE, SETTINGS, Client, connect
from tests.support.connections.sockets import Closed, open_bytes
from tests.support.connections.virtual import VirtualServer, served

KEY = KEYS["infer"]
BEARER = f"Authorization: Bearer {KEY}"
OFFER = f"Sec-WebSocket-Protocol: sluice, sluice-key.{KEY}"


async def guarded(server: VirtualServer, text: str | None = None) -> tuple[AccessGuard, Any, Client]:
    """A server that asks for keys, by its own virtual clock."""
    source = KeySource(render_keys() if text is None else text, None, workers=1)
    guard = AccessGuard(source, None, clock=server.handler.loop.time, unix_clock=server.handler.loop.time)
    server.handler.guard = guard
    return guard, *(await connect(server))


REFUSED: dict[str, tuple[int, tuple[str, ...], str]] = {
    "no key": (401, (), ""),
    "key in the address": (401, (), f"?key={KEY}&access_token={KEY}"),
    "unknown key": (401, ("X-API-Key: wrong",), ""),
    "two keys": (401, (BEARER, OFFER), ""),
    "two subprotocols with keys": (401, (f"{OFFER}, sluice-key.wrong",), ""),
    "subprotocol without a key": (401, ("Sec-WebSocket-Protocol: sluice",), ""),
    "empty key": (401, ("Sec-WebSocket-Protocol: sluice, sluice-key.",), ""),
    "bare key as subprotocol": (401, (f"Sec-WebSocket-Protocol: sluice, {KEY}",), ""),
    "no scope": (403, (f"X-API-Key: {KEYS['metrics']}",), ""),
    "page of another site": (403, (OFFER, "Origin: https://evil.example"), ""),
}


@pytest.mark.parametrize(("status", "headers", "query"), REFUSED.values(), ids=REFUSED)
@served(SETTINGS)
async def test_handshake_without_a_good_key_is_refused(
    server: VirtualServer, /, status: int, headers: tuple[str, ...], query: str
) -> None:
    """It is answered as HTTP, and nothing is opened."""
    _, streams, client = await guarded(server)
    await client.peer.send(open_bytes(LIVE + query, *headers))
    got, _, body = await client.peer.read_head()
    assert (got, KEY[:12] in body.decode(), await client.peer.read()) == (status, False, b"")
    assert streams.taken == []


@pytest.mark.parametrize("header", [BEARER, f"X-API-Key: {KEY}", OFFER, OFFER.replace("sluice, ", "a,sluice ,")])
@served(SETTINGS)
async def test_handshake_with_a_key_opens_a_stream(server: VirtualServer, /, header: str) -> None:
    """Programs set a header. Browsers cannot, so they offer the key as a subprotocol, and get the one without it."""
    _, _, client = await guarded(server)
    await client.open(b"", header)
    assert client.head.get("sec-websocket-protocol") == ("sluice" if "Protocol" in header else None)
    await client.say("a")
    assert await client.next() == "aa"


@served(SETTINGS)
async def test_handshake_behind_an_accepted_request_needs_a_key(server: VirtualServer, /) -> None:
    """The key of a request on the same connection does not count for it."""
    _, streams, client = await guarded(server)
    head = f"POST /v2/models/any/infer HTTP/1.1\r\nHost: t\r\n{BEARER}\r\nContent-Length: 2\r\n\r\n{{}}"
    await client.peer.send(head.encode())
    assert (await client.peer.read_head())[0] == 200
    await client.peer.send(open_bytes(LIVE))
    assert (await client.peer.read_head())[0] == 401
    assert streams.taken == []


@served(SETTINGS)
async def test_key_that_is_removed_ends_an_open_stream(server: VirtualServer, /) -> None:
    """The next message is refused, and the stream ends with the code for a policy."""
    guard, streams, client = await guarded(server)
    await client.open(b"", BEARER)
    await client.say("a")
    assert await client.next() == "aa"
    guard._keys.ring.replace({})
    await client.say("b")
    error, closed = await client.end()
    assert (error, closed.code) == ("key 'infer' does not count any more", 1008)
    assert streams.taken == ["a"]


@served(SETTINGS)
async def test_key_that_expires_ends_an_open_stream(server: VirtualServer, /) -> None:
    """A stream does not outlive its key by a message."""
    text = render_keys("infer") + "\nexpires = 1970-01-02"
    guard, _, client = await guarded(server, text)
    await client.open(b"", BEARER)
    guard._unix_clock = lambda: 86_400.0
    await client.say("a")
    assert (await client.end())[1].code == 1008


@served(SETTINGS)
async def test_messages_count_as_requests(server: VirtualServer, /) -> None:
    """A stream is no way around the limit of its key: too many messages end it, to be tried again later."""
    _, _, client = await guarded(server)
    await client.open(b"", f"X-API-Key: {KEYS['limited']}")
    await client.say("a")
    assert await client.next() == "aa"
    await client.say("b")
    error, closed = await client.end()
    assert closed == Closed(1013, error)
    assert "expected at most 2 requests in 1 s" in error


def _charge(rows: int) -> Callable[[Any], Any]:
    async def converse(channel: Any) -> None:
        await channel.receive()
        channel.charge(rows)
        await channel.send(b"ran")

    return converse


@pytest.mark.parametrize(("rows", "ends"), [(5, False), (6, True)])
@served(SETTINGS)
async def test_rows_of_a_stream_count(server: VirtualServer, /, rows: int, ends: bool) -> None:
    """Rows that the day's quota does not have end the stream before they run."""
    guard, streams, client = await guarded(server)
    streams.converse = _charge(rows)
    if ends:
        guard.charge(guard.admit("infer", [(b"x-api-key", KEYS["limited"].encode())], ""), 1, may_refuse=True)
    await client.open(b"", f"X-API-Key: {KEYS['limited']}")
    await client.say("a")
    if ends:
        assert (await client.end())[1].code == 1013
    else:
        assert [await client.next(), await client.next()] == ["ran", Closed(1000, "")]
