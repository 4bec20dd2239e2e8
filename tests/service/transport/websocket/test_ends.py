"""Every way in which a WebSocket ends, and the code of the end. Time is virtual."""

import asyncio
from collections.abc import Callable

import pytest

from service import errors
from service.errors import ServiceError
from service.transport.channel import Channel
from service.transport.request import LINGER_S
from service.transport.websocket.connection import CLOSE_CODES, close_code_of
from tests.service.test_errors import EVERY
from tests.support.connections.doubling import SETTINGS, Client, connect
from tests.support.connections.sockets import Closed
from tests.support.connections.virtual import VirtualServer, served


@pytest.mark.parametrize("cls", EVERY)
@served(SETTINGS)
async def test_error_ends_the_stream_with_its_code(server: VirtualServer, /, cls: type[ServiceError]) -> None:
    """Before the end comes a message with the error in JSON, as in an HTTP answer. The text of a failure is hidden."""
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
    """A fault is only in the log. The code is 1011."""
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
    """The stream ends with the code of RFC 6455, after a message that says why. Nothing is run."""
    streams, client = await connect(server)
    await client.open()
    await client.peer.send(content(client))
    text, closed = await client.end()
    assert (closed.code, complaint in text) == (code, True)
    assert streams.taken == []


@served(SETTINGS)
async def test_client_that_does_not_read_is_cut(server: VirtualServer, /) -> None:
    """After the timeout of a body the connection is aborted, and the work is cancelled."""
    streams, client = await connect(server)
    await client.open()
    streams.size = 100_000
    flood = asyncio.ensure_future(client.say(*["abcdefgh"] * 50))
    await asyncio.sleep(3 * SETTINGS.body_timeout_s)
    assert not server.server_state.connections
    assert streams.cancelled == 1
    flood.cancel()


@served(SETTINGS)
async def test_idle_stream_ends(server: VirtualServer, /) -> None:
    """A stream without messages ends. Pings and unfinished messages do not count, and neither do HTTP's timeouts."""
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
    """A stream whose answer takes long is not idle."""
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
    """The work is cancelled whether the client closes the stream or the connection."""
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
    """Messages that were read are answered, then the stream ends with 1001. Later ones are not answered."""
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
    """An unfinished message does not delay the stop."""
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
    """The server waits only briefly for the client's close frame, whatever it sends instead."""
    _, client = await connect(server)
    await client.open()
    await client.say("end", "more", "more")
    assert await client.next() == Closed(1000, "")
    began = server.loop.time()
    assert await client.next() is None
    assert LINGER_S - 0.1 <= server.loop.time() - began <= LINGER_S + 1
