"""A socket with SO_REUSEPORT that takes no more connections, so that it can be closed."""

import contextlib
import selectors
import socket
import sys

import pytest

from service.transport.listening import drop_new_connections, find_listening

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="filters of sockets are Linux's")
CLIENTS = 32


def listen(port: int = 0) -> socket.socket:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind(("127.0.0.1", port))
    opened.listen(CLIENTS)
    return opened


def test_sockets_are_found_by_their_port() -> None:
    """Only those that listen on that port, and the copies are closed again."""
    with listen() as one, listen(one.getsockname()[1]) as two, socket.socket() as other:
        other.connect(one.getsockname())
        port = one.getsockname()[1]
        found = list(find_listening(port))
        assert len(found) == 2
        assert all(each.fileno() == -1 for each in found)
        two.close()
        assert len(list(find_listening(port))) == 1


def test_closed_socket_loses_no_connection() -> None:
    """Connections that come while it ignores them are made with the other socket of the port, once it is closed."""
    with contextlib.ExitStack() as opened:
        old = opened.enter_context(listen())
        address = old.getsockname()
        drop_new_connections(address[1])
        new = opened.enter_context(listen(address[1]))
        waiting = selectors.DefaultSelector()
        for _ in range(CLIENTS):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
            waiting.register(client, selectors.EVENT_WRITE)
        assert len(waiting.select(0)) < CLIENTS
        old.close()
        while waiting.get_map():
            for key, _ in waiting.select():
                assert isinstance(key.fileobj, socket.socket)
                assert key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                waiting.unregister(key.fileobj)
        for _ in range(CLIENTS):
            new.accept()[0].close()
