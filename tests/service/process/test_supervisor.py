"""`sluice serve` when its workers die and when it is told to stop: real processes."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.process.restarts import LISTEN_ANYWAY_S
from tests.service.models.asking import X
from tests.support.models import graphs
from tests.support.processes import Served

INFER = "/v2/models/double/infer"
Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    store = graphs.write_plain(tmp_path / "store", "double", graphs.double())

    def serve(workers: int = 1, **environment: str) -> Served:
        return Served("--store", str(store), workers=workers, environment=environment)

    return serve


@contextlib.contextmanager
def begun_request(server: Served) -> Iterator[tuple[socket.socket, bytes]]:
    """A request whose body has not come, and that body. The server has read its head: it asks for the body."""
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}'
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(head.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        yield client, body


@pytest.mark.slow
def test_dead_workers_come_back_in_a_container(serve: Serve) -> None:
    """No request meets a dead worker or one that is not ready; where none lives it waits in the socket for one."""
    with serve(workers=2, BENTOML_CONTAINERIZED="true") as server:
        dead, other = server.worker_pids()
        os.kill(dead, signal.SIGKILL)
        server.read_until("another one starts in 0.0 s", 1)
        assert {server.infer() for _ in range(50)} == {200}
        server.read_until("models serve", 1)
        assert {server.infer() for _ in range(20)} == {200}
        now = server.worker_pids()
        assert len(now) == 2
        assert dead not in now
        assert other in now
        assert 'sluice_worker_restarts_total{cause="killed"} 1.0' in server.get("/metrics").text
        for pid in now:
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        # A busy machine may take so long to start a worker that one answers before it is ready.
        assert server.infer() == 200 or time.monotonic() - began > LISTEN_ANYWAY_S
        assert server.stop() == 0


@pytest.mark.long
def test_neither_a_held_worker_nor_a_silent_client_keeps_the_server(serve: Serve) -> None:
    """A worker that hears no signal is killed; after the drain the other ends, whoever is still connected: code 0."""
    with serve(workers=2, SLUICE_DRAIN_S="0.5") as server:
        held, _ = server.worker_pids()
        os.kill(held, signal.SIGSTOP)
        with begun_request(server):
            assert server.stop() == 0
        log = "".join(server.log)
        assert "requests were still open after 0.5 s and were dropped" in log
        assert "are killed" in log
        assert "Traceback" not in log


@pytest.mark.long
def test_accepted_request_is_finished_while_new_connections_are_refused(serve: Serve) -> None:
    """In the drain accepted requests are answered, and no connection is left waiting in the socket."""
    with serve(workers=2) as server, begun_request(server) as (client, body):
        server.process.send_signal(signal.SIGTERM)
        while accepts(server.port):  # until all have closed the socket
            pass
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(10_000), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"[2.0,4.0,6.0]" in answer
        assert server.wait() == 0


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.long
def test_lame_duck_answers_and_says_that_it_is_not_ready(serve: Serve) -> None:
    """Old and new connections are answered and told to close; another SIGTERM changes nothing, Ctrl-C twice ends it."""
    with serve(SLUICE_LAME_DUCK_S="3600") as server, httpx.Client(base_url=server.url, verify=False) as client:  # noqa: S501
        kept = [client.get("/readyz"), client.post(INFER, json={"inputs": [X]})]
        assert [(each.status_code, each.headers.get("connection")) for each in kept] == [(200, None), (200, None)]
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            server.process.send_signal(number)
        while server.get("/readyz").status_code == 200:
            pass
        old = client.post(INFER, json={"inputs": [X]})
        assert (old.status_code, old.headers["connection"]) == (200, "close")
        new, slow = server.post(INFER, {"inputs": [X]}), server.get("/livez")
        assert (new.status_code, new.headers["connection"]) == (200, "close")
        assert (slow.status_code, slow.headers["connection"]) == (200, "close")
        assert server.stop(signal.SIGINT) == 0
