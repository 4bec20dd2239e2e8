"""The handshake of a WebSocket: what opens a stream, and what is refused or ignored. Time is virtual."""

import json
from typing import Any

import pytest

from service import errors
from tests.support.connections.doubling import LIVE, SETTINGS, connect
from tests.support.connections.sockets import open_bytes
from tests.support.connections.virtual import PATH, VirtualServer, served


@served(SETTINGS)
async def test_message_behind_the_handshake_is_not_lost(server: VirtualServer, /) -> None:
    """The first message may come in the same read as the handshake, also after an HTTP request."""
    _, client = await connect(server)
    body = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}"
    await client.peer.send(body)
    assert (await client.peer.read_head())[0] == 200
    await client.open(client.message("a" * 3000) + client.message("b"))
    assert [len(await client.next()), await client.next()] == [6000, "bb"]


@served(SETTINGS)
async def test_handshake_waits_for_the_requests_before_it(server: VirtualServer, /) -> None:
    """A pipelined handshake is handled like an ordinary request: 404."""
    _, client = await connect(server)
    body = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}"
    started: list[Any] = []
    server.start = started.append
    await client.peer.send(body + open_bytes(LIVE))
    await server.settle()
    started[0].fail(errors.InvalidInput("no"))
    await server.settle()
    said = await client.peer.loop.sock_recv(client.peer.end, 1 << 16)
    assert [part[:3] for part in said.split(b"HTTP/1.1 ")] == [b"", b"400", b"404"]


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "another version": (open_bytes(LIVE, version="8"), 426, "Sec-WebSocket-Version: expected 13, got '8'"),
    "no key": (open_bytes(LIVE, key=""), 400, "Sec-WebSocket-Key: expected 16 bytes in base64"),
    "a short key": (open_bytes(LIVE, key="AAAA"), 400, "Sec-WebSocket-Key: expected 16 bytes"),
    "a foreign page": (open_bytes(LIVE, "Origin: https://evil.example"), 403, "expected this server's, or one that"),
}


@pytest.mark.parametrize(("handshake", "status", "complaint"), REFUSED.values(), ids=REFUSED)
@served(SETTINGS)
async def test_bad_handshake_is_refused(
    server: VirtualServer, /, handshake: bytes, status: int, complaint: str
) -> None:
    """The refusal is an HTTP answer, and no stream is opened. The answer to another version names ours."""
    streams, client = await connect(server)
    await client.peer.send(handshake)
    got, headers, body = await client.peer.read_head()
    assert (got, complaint in json.loads(body)["error"]) == (status, True)
    assert (headers.get("sec-websocket-version") == "13") == (status == 426)
    assert await client.peer.read() == b""
    assert streams.taken == []


@served(SETTINGS)
async def test_refusal_of_the_application_is_an_answer_of_http(server: VirtualServer, /) -> None:
    """The application's refusal is an HTTP answer with its status, such as 404 for an unknown model."""
    streams, client = await connect(server)
    streams.refusal = errors.UnknownModel("no model 'x'")
    await client.peer.send(open_bytes(LIVE))
    status, _, body = await client.peer.read_head()
    assert (status, json.loads(body)["error"]) == (404, "no model 'x'")


@pytest.mark.parametrize("origin", ["http://test", "https://app.example"])
@served(SETTINGS.replace(cors_origins=("https://app.example",)))
async def test_page_of_an_allowed_origin_may_open(server: VirtualServer, /, origin: str) -> None:
    """Allowed origins are the server's own and those of the settings."""
    _, client = await connect(server)
    await client.open(client.message("a"), f"Origin: {origin}")
    assert await client.next() == "aa"


@pytest.mark.parametrize(
    "request_bytes",
    [
        open_bytes("/other"),
        open_bytes(LIVE, method="POST").replace(b"Host", b"Content-Length: 0\r\nHost"),
        open_bytes(LIVE).replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        open_bytes(LIVE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["path", "POST", "h2c", "HTTP/1.0"],
)
@served(SETTINGS)
async def test_other_upgrades_are_ignored(server: VirtualServer, /, request_bytes: bytes) -> None:
    """The request is answered as if it had no Upgrade."""
    _, client = await connect(server)
    await client.peer.send(request_bytes)
    assert (await client.peer.read_head())[0] == 404
