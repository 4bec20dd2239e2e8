"""As many idle connections of gRPC as a worker may have."""

import selectors
import socket
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from service.transport.grpc import protocol
from service.transport.http2 import frames
from tests.support.connections.http2 import Client, read_frames
from tests.support.grpc_servers import GrpcServing, ones, settings_of
from tests.support.models import graphs

MOST = 4096
MAX_BYTES_EACH = 24 << 10
"""Of a connection, on the side of the server and in this process."""


def read_greeting(connection: socket.socket) -> list[int]:
    """The kinds of the frames that come first, until the acknowledgement of our settings or the end."""
    received, kinds = b"", list[int]()
    while kinds.count(frames.SETTINGS) < 2 and (data := connection.recv(1 << 16)):
        received += data
        kinds = [frame.kind for frame in read_frames(received)]
    return kinds


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_idle_connections_cost_little_and_hinder_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 4,096 connections, all but one idle, that one is answered; one more is refused; none is closed."""
    monkeypatch.setattr(protocol, "_LOOK_S", 0.5)  # so that all are looked at several times
    store = graphs.write_plain(tmp_path, "double", graphs.double())
    process = psutil.Process()
    with GrpcServing(settings_of(store, max_connections=MOST)) as server, ExitStack() as stack:
        host, _, port = server.grpc_url.rpartition(":")
        client = stack.enter_context(server.grpc_client())
        assert client.infer("double", ones(2)).as_numpy("y").sum() == 12
        before_bytes, waiting = process.memory_info().rss, stack.enter_context(selectors.DefaultSelector())
        for _ in range(MOST - 1):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            connection.sendall(Client().hello())
            assert read_greeting(connection)[:1] == [frames.SETTINGS]
            waiting.register(connection, selectors.EVENT_READ)
        grown_bytes = process.memory_info().rss - before_bytes
        print(f"{grown_bytes / MOST / 1024:.1f} KiB for each connection")
        assert grown_bytes < MOST * MAX_BYTES_EACH
        with socket.create_connection((host, int(port)), timeout=60) as one_more:
            received = b""
            while data := one_more.recv(1 << 16):
                received += data
            assert frames.GOAWAY in [frame.kind for frame in read_frames(received)]
        for _ in range(200):
            assert client.infer("double", ones(2)).as_numpy("y").sum() == 12
        assert not waiting.select(timeout=0)
        assert len(server.grpc_server._connections) == MOST
