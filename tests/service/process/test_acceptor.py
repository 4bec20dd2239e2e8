"""How workers share the connections of one socket: several acceptors on one event loop."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.process import acceptor as module
from service.process.acceptor import Acceptor, ConnectionCounts

pytestmark = pytest.mark.anyio


class Opened(asyncio.Protocol):
    """Notes its connection."""

    def __init__(self, connections: list[asyncio.BaseTransport], all_came: asyncio.Event, expected: int) -> None:
        self.connections, self.all_came, self.expected = connections, all_came, expected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.append(transport)
        if len(self.connections) == self.expected:
            self.all_came.set()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def counts(tmp_path: Path) -> ConnectionCounts:
    counts = ConnectionCounts(tmp_path, 2)
    for index in (0, 1):
        counts.write(index, None)
    return counts


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener


@contextlib.contextmanager
def connecting(listener: socket.socket, number: int) -> Iterator[None]:
    with contextlib.ExitStack() as clients:
        for _ in range(number):
            clients.enter_context(socket.create_connection(listener.getsockname()))
        yield


def test_counts_are_the_same_in_every_process(tmp_path: Path) -> None:
    """One process reads what another has written. Nobody waits for a worker that does not accept."""
    one, two = ConnectionCounts(tmp_path, 3), ConnectionCounts(tmp_path, 3)
    for index, count in enumerate((5, 4, None)):
        one.write(index, count)
    assert [two.has_more(index) for index in range(3)] == [True, False, True]
    one.write(1, None)
    two.add(1)  # it does not accept, so nothing is counted
    assert not two.has_more(0)


async def test_workers_get_equal_shares(listener: socket.socket, counts: ConnectionCounts) -> None:
    """Of 64 connections that come at once, each of two free workers gets half, give or take one turn."""
    all_came, everything = asyncio.Event(), list[asyncio.BaseTransport]()
    made: list[int] = [0, 0]

    def make(index: int) -> Opened:
        made[index] += 1
        return Opened(everything, all_came, 64)

    acceptors = [
        Acceptor(listener.dup(), lambda index=index: make(index), None, counts, index, handshake_s=1.0)
        for index in (0, 1)
    ]
    with connecting(listener, 64):
        await all_came.wait()
    assert sum(made) == 64
    assert abs(made[0] - made[1]) <= 2 * module._AT_ONCE
    for each in acceptors:
        each.close()


async def test_worker_does_not_wait_for_one_that_is_stuck(listener: socket.socket, counts: ConnectionCounts) -> None:
    """A stuck worker with fewer connections only delays the others for a moment."""
    counts.write(1, 0)
    all_came, opened = asyncio.Event(), list[asyncio.BaseTransport]()
    acceptor = Acceptor(listener.dup(), lambda: Opened(opened, all_came, 20), None, counts, 0, handshake_s=1.0)
    with connecting(listener, 20):
        await all_came.wait()
    acceptor.close()


async def test_connections_that_wait_stay_in_the_socket(listener: socket.socket, counts: ConnectionCounts) -> None:
    """A worker that closes leaves waiting connections to the others, even if it closes while it waits for another."""
    counts.write(1, 0)
    all_came, opened = asyncio.Event(), list[asyncio.BaseTransport]()
    first = Acceptor(listener.dup(), lambda: Opened([], asyncio.Event(), 0), None, counts, 0, handshake_s=1.0)
    counts.write(0, 9)
    with connecting(listener, 3):
        first._accept()
        first.close()
        first.close()
        second = Acceptor(listener.dup(), lambda: Opened(opened, all_came, 3), None, counts, 1, handshake_s=1.0)
        await all_came.wait()
    second.close()


async def test_worker_without_free_files_tries_again(
    listener: socket.socket, counts: ConnectionCounts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker logs it, waits, and accepts when there are free files again."""
    monkeypatch.setattr(module, "_FULL_S", 0.01)

    class Full(socket.socket):
        tries = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.tries += 1
            if self.tries == 1:
                raise OSError(errno.EMFILE, "too many open files")
            return super().accept()

    all_came = asyncio.Event()
    full = Full(fileno=listener.dup().detach())
    acceptor = Acceptor(full, lambda: Opened([], all_came, 1), None, counts, 0, handshake_s=1.0)
    with connecting(listener, 1):
        await all_came.wait()
    assert "no connection can be accepted" in caplog.text
    acceptor.close()
