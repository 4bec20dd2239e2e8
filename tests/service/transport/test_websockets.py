"""WebSockets: the handshake, messages in order and in bounded memory, and every way to end. Time is virtual."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wsproto.events import Event

from service import errors
from service.errors import ServiceError
from service.settings import Settings
from service.transport.channel import Channel, Converse, Streams
from service.transport.request import LINGER_S, Endpoint
from service.transport.websocket.connection import CLOSE_CODES, WebSocket, close_code_of
from tests.service.test_errors import EVERY
from tests.support.connections.sockets import ACCEPTED, Closed, Frames, open_bytes
from tests.support.connections.virtual import PATH, Peer, VirtualServer, served

SETTINGS = Settings(store=Path(), max_message_bytes=4096, sequence_idle_s=60)
LIVE = "/live"
KERNEL_BYTES = 4 << 20
"""More than the two sockets of a connection hold."""


class Doubling(Streams):
    """Answers a message with it twice. ``gate`` holds the answers; ``refusal`` is the answer to a handshake."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: ServiceError | None = None
        self.taken: list[str | bytes] = []
        self.cancelled = 0
        self.size = 1

    def match(self, path: str) -> Endpoint | None:
        return Endpoint(LIVE, path) if path.startswith(LIVE) else None

    def open(self, endpoint: Endpoint, query: bytes, headers: dict[bytes, bytes]) -> Converse:
        if self.refusal is not None:
            raise self.refusal
        return self.converse

    async def converse(self, channel: Channel) -> None:
        try:
            while (message := await channel.receive()) != "end":
                self.taken.append(message)
                await self.gate.wait()
                text = message if isinstance(message, str) else message.decode()
                await channel.send(self.size * (text + text).encode())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Client(Frames):
    def __init__(self, server: VirtualServer, peer: Peer) -> None:
        super().__init__()
        self.server, self.peer = server, peer
        self.head: dict[str, str] = {}
        self._found: list[Any] = []

    async def open(self, behind: bytes = b"", *headers: str) -> "Client":
        await self.peer.send(open_bytes(LIVE, *headers) + behind)
        content = b""
        while b"\r\n\r\n" not in content:
            content += await self.peer.loop.sock_recv(self.peer.end, 1 << 16)
        head, _, rest = content.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == "HTTP/1.1 101 Switching Protocols", content
        self.head = dict(line.lower().split(": ", 1) for line in lines)
        self._found += self.read(rest)
        return self

    async def say(self, *contents: str | bytes) -> None:
        await self.peer.send(b"".join(map(self.message, contents)))

    async def next(self) -> Any:
        """The next message, pong, or the end; None where the connection breaks off."""
        while not self._found:
            try:
                data = await self.peer.loop.sock_recv(self.peer.end, 1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._found += self.read(data)
        return self._found.pop(0)

    async def end(self) -> tuple[Any, Closed]:
        """The text of the error, and how the stream ends."""
        error = json.loads(await self.next())
        assert error["request_id"] == self.head["x-request-id"] or len(self.head["x-request-id"]) > 0
        closed = await self.next()
        return error["error"], closed


async def connect(server: VirtualServer) -> tuple[Doubling, Client]:
    streams = Doubling()
    server.handler.streams = streams
    return streams, Client(server, await server.connect())


@served(SETTINGS)
async def test_messages_are_answered_in_order(server: VirtualServer, /) -> None:
    """Texts and bytes, in fragments too; the handshake is that of RFC 6455."""
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
async def test_message_behind_the_handshake_is_not_lost(server: VirtualServer, /) -> None:
    """It may come in the same read, also behind a request of HTTP on the same connection."""
    _, client = await connect(server)
    body = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}"
    await client.peer.send(body)
    assert (await client.peer.read_head())[0] == 200
    await client.open(client.message("a" * 3000) + client.message("b"))
    assert [len(await client.next()), await client.next()] == [6000, "bb"]


@served(SETTINGS)
async def test_handshake_waits_for_the_requests_before_it(server: VirtualServer, /) -> None:
    """In the pipeline of a connection it is an ordinary request, which a stream cannot be."""
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
    """As HTTP, and nothing is opened. The answer to another version names ours."""
    streams, client = await connect(server)
    await client.peer.send(handshake)
    got, headers, body = await client.peer.read_head()
    assert (got, complaint in json.loads(body)["error"]) == (status, True)
    assert (headers.get("sec-websocket-version") == "13") == (status == 426)
    assert await client.peer.read() == b""
    assert streams.taken == []


@served(SETTINGS)
async def test_refusal_of_the_application_is_an_answer_of_http(server: VirtualServer, /) -> None:
    """With its status, such as of a model that is not there."""
    streams, client = await connect(server)
    streams.refusal = errors.UnknownModel("no model 'x'")
    await client.peer.send(open_bytes(LIVE))
    status, _, body = await client.peer.read_head()
    assert (status, json.loads(body)["error"]) == (404, "no model 'x'")


@pytest.mark.parametrize("origin", ["http://test", "https://app.example"])
@served(SETTINGS.replace(cors_origins=("https://app.example",)))
async def test_page_of_an_allowed_origin_may_open(server: VirtualServer, /, origin: str) -> None:
    """That is the server's own, and those of the settings."""
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
    """The request is answered as one without Upgrade."""
    _, client = await connect(server)
    await client.peer.send(request_bytes)
    assert (await client.peer.read_head())[0] == 404


@pytest.mark.parametrize("cls", EVERY)
@served(SETTINGS)
async def test_error_ends_the_stream_with_its_code(server: VirtualServer, /, cls: type[ServiceError]) -> None:
    """A message says it in JSON before, as an answer of HTTP would. The text of a failure is not told."""
    streams, client = await connect(server)
    takes_choices = issubclass(cls, errors.WrongMethod | errors.UnsupportedCoding)
    error = cls("it broke", ("x",)) if takes_choices else cls("it broke")

    async def fail(channel: Channel) -> None:
        await channel.receive()
        raise error

    streams.converse = fail  # type: ignore[method-assign]
    await client.open()
    await client.say("a")
    text, closed = await client.end()
    assert closed.code == close_code_of(error) == CLOSE_CODES[next(c for c in cls.__mro__ if c in CLOSE_CODES)]
    is_told = not issubclass(cls, errors.ModelFailure) and cls is not ServiceError
    assert (text == "it broke", closed.reason == "it broke") == (is_told, is_told)


@served(SETTINGS)
async def test_fault_of_the_server_is_not_told(server: VirtualServer, /) -> None:
    """The log has it, and the code is 1011."""
    streams, client = await connect(server)
    streams.converse = lambda channel: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    await client.open()
    text, closed = await client.end()
    assert (closed, "division" in text) == (Closed(1011, "the model failed"), False)


BROKEN: dict[str, tuple[Callable[[Client], bytes], int, str]] = {
    "too large": (lambda c: c.message(b"x" * 4097), 1009, "message: expected at most 4096 bytes, got more"),
    "too large in parts": (lambda c: c.part(b"x" * 4096) + c.part(b"y"), 1009, "message: expected at most 4096"),
    "too large before its end": (lambda c: c.message(b"x" * 9000)[:5000], 1009, "message: expected at most"),
    "no UTF-8": (lambda c: b"\x81\x82\0\0\0\0\xc3\x28", 1007, "expected frames"),
    "unmasked": (lambda c: b"\x81\x01a", 1002, "unmasked"),
    "an unknown kind": (lambda c: b"\x83\x80aaaa", 1002, "opcode"),
}


@pytest.mark.parametrize(("content", "code", "complaint"), BROKEN.values(), ids=BROKEN)
@served(SETTINGS)
async def test_broken_message_ends_the_stream(
    server: VirtualServer, /, content: Callable[[Client], bytes], code: int, complaint: str
) -> None:
    """With the code of RFC 6455, after a message that says why; what runs is cancelled."""
    streams, client = await connect(server)
    await client.open()
    await client.peer.send(content(client))
    text, closed = await client.end()
    assert (closed.code, complaint in text) == (code, True)
    assert streams.taken == []


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
    """They stay bytes until their turn comes."""
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
async def test_client_that_does_not_read_is_cut(server: VirtualServer, /) -> None:
    """After the time of a body the connection is broken off, and the work is cancelled."""
    streams, client = await connect(server)
    await client.open()
    streams.size = 100_000
    flood = asyncio.ensure_future(client.say(*["abcdefgh"] * 50))
    await asyncio.sleep(3 * SETTINGS.body_timeout_s)
    assert not server.server_state.connections
    assert streams.cancelled == 1
    flood.cancel()


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
    """By a pong with the same payload, also while a message is worked on."""
    streams, client = await connect(server)
    await client.open()
    streams.gate.clear()
    await client.say("a")
    await client.peer.send(client.ping(b"here"))
    assert (await client.next()).payload == b"here"


@served(SETTINGS)
async def test_idle_stream_ends(server: VirtualServer, /) -> None:
    """Pings and a message that does not end are no messages. The timeouts of HTTP do not count."""
    _, client = await connect(server)
    await client.open()
    began = server.loop.time()
    for _ in range(3):
        await asyncio.sleep(SETTINGS.sequence_idle_s - 1)
        await client.say("a")
        assert await client.next() == "aa"
    await client.peer.send(client.part("b"), client.ping())
    await client.next()
    text, closed = await client.end()
    assert (text, closed.code) == ("expected a message within 60 s", 1008)
    assert 4 * SETTINGS.sequence_idle_s - 4 <= server.loop.time() - began <= 4 * SETTINGS.sequence_idle_s + 1


@served(SETTINGS)
async def test_stream_that_works_is_not_idle(server: VirtualServer, /) -> None:
    """However long an answer takes; its deadline is another matter."""
    streams, client = await connect(server)
    await client.open()
    streams.gate.clear()
    await client.say("a")
    await asyncio.sleep(5 * SETTINGS.sequence_idle_s)
    streams.gate.set()
    assert await client.next() == "aa"


@pytest.mark.parametrize("politely", [False, True])
@served(SETTINGS)
async def test_work_is_cancelled_when_the_client_goes(server: VirtualServer, /, politely: bool) -> None:
    """Whether it closes the stream or the connection."""
    streams, client = await connect(server)
    await client.open()
    streams.gate.clear()
    await client.say("a")
    await server.settle()
    if politely:
        await client.peer.send(client.close(1001))
        assert await client.next() == Closed(1001, "")
    else:
        client.peer.end.close()
    await server.settle()
    assert streams.cancelled == 1
    assert not server.server_state.connections
    assert server.handler.body_budget.held_bytes == 0


@served(SETTINGS)
async def test_stop_answers_what_has_come(server: VirtualServer, /) -> None:
    """Then the stream ends with 1001. What is not yet read is not answered."""
    streams, client = await connect(server)
    await client.open()
    streams.gate.clear()
    await client.say("a", "b", "c")
    await server.settle()
    for connection in list(server.server_state.connections):
        connection.leave()
        connection.shutdown()
    streams.gate.set()
    assert [await client.next() for _ in range(2)] == ["aa", "bb"]
    text, closed = await client.end()
    assert (text, closed.code) == ("the server is stopping: connect again", 1001)


@served(SETTINGS)
async def test_stop_ends_a_stream_that_waits_at_once(server: VirtualServer, /) -> None:
    """A part of a message does not hold it up."""
    _, client = await connect(server)
    await client.open()
    await client.peer.send(client.part("a"))
    await server.settle()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    assert (await client.end())[1].code == 1001
    await client.peer.send(client.close())
    assert await client.next() is None


@served(SETTINGS)
async def test_client_that_does_not_close_is_cut(server: VirtualServer, /) -> None:
    """The server waits for its end for a short time only, whatever it sends instead."""
    _, client = await connect(server)
    await client.open()
    await client.say("end", "more", "more")
    assert await client.next() == Closed(1000, "")
    began = server.loop.time()
    assert await client.next() is None
    assert LINGER_S - 0.1 <= server.loop.time() - began <= LINGER_S + 1
