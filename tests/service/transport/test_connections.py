"""Connections over both paths: order, back-pressure, disconnects, keep-alive, shutdown, the same bytes."""

import contextlib
import gzip
import json
import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from model_store.tasks import Picture
from service.codecs.pictures.writer import encode_png
from service.models.registry import Model
from tests.support.connections.turns import CHUNKED, H2C, LIVE, Turn, send_apart
from tests.support.gates import gated
from tests.support.servers import FAST, PATHS, ServerPath, Serving, settings_for
from tests.support.wires import INFER, Wire, body_of, request_bytes

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def double(server: Serving) -> Model:
    return server.worker.registry.find("double")


def test_thousands_of_bad_pipelined_requests_do_not_exhaust_the_stack(wire: Wire):
    """Pipelined requests that are answered at once are worked off in a loop, without recursion."""
    wire.send(request_bytes(b"{}") * 3000, request_bytes(body_of(4)))
    statuses = [wire.read()[0] for _ in range(3000)]
    assert set(statuses) == {400}
    assert wire.read_y() == 8.0


def test_answers_of_one_batch_reach_callers_of_every_kind(server: Serving, double: Model):
    """Of one batch, callers that keep, close or pipeline their connections all get their answers."""
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for _ in range(48)]
        for wire in wires:
            wire.send(request_bytes(body_of(1)))
            assert wire.read_y() == 2.0
        gate = stack.enter_context(gated(double))
        for i, wire in enumerate(wires):
            closing = ["Connection: close"] if i % 3 == 1 else []
            more = request_bytes(body_of(-i)) if i % 3 == 2 else b""
            wire.send(request_bytes(body_of(i), INFER, *closing) + more)
        gate.opened.set()
        for i, wire in enumerate(wires):
            assert wire.read_y() == 2.0 * i
            if i % 3 == 1:
                assert wire.is_closed_by_server()
            else:
                wire.send(b"" if i % 3 == 2 else request_bytes(body_of(-i)))
                assert wire.read_y() == -2.0 * i


@pytest.mark.parametrize("bad", [b"NONSENSE\r\n\r\n", CHUNKED + b"1\r\n{\r\nzz\r\n"], ids=["no HTTP", "bad chunk"])
@pytest.mark.parametrize("is_apart", [False, True], ids=["together", "apart"])
def test_good_request_before_a_malformed_one_is_answered(
    wire: Wire, server_path: ServerPath, double: Model, turn: Turn, is_apart: bool, bad: bytes
):
    """A request before a malformed one is answered; then come the 400 and the end of the connection."""
    if server_path is not FAST:
        pytest.skip("without the fast path uvicorn answers at once, and closes")
    with gated(double) as gate:
        send_apart(wire, turn, *([request_bytes(body_of(3)), bad] if is_apart else [LIVE + bad]))
        gate.opened.set()
        assert [wire.read()[0], wire.read()[0]] == [200, 400]
    assert wire.is_closed_by_server()


def test_caller_that_goes_takes_its_waiting_work_with_it(server: Serving, double: Model, turn: Turn):
    """When the client closes the connection its queued rows leave the queue and are never run."""
    lanes, queue = server.worker.device.lanes, double.dispatcher.queue
    with ExitStack() as stack:
        gate = stack.enter_context(gated(double))
        busy = [stack.enter_context(Wire(server)) for _ in range(lanes)]
        for wire in busy:
            wire.send(request_bytes(body_of(1)))
            gate.entered.acquire()
        with Wire(server) as gone:
            gone.send(request_bytes(body_of(2)))
            while queue.waiting_rows == 0:
                turn()
        while queue.waiting_rows:
            turn()
        gate.opened.set()
        assert [wire.read_y() for wire in busy] == [2.0] * lanes
        assert gate.rows == [1] * lanes


def test_callers_that_do_not_read_stop_being_served(server: Serving):
    """A client that pipelines large requests and reads no answers is not served without end."""
    size = 240_000
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, size // 4], "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    one = request_bytes(header + bytes(size), "/v2/models/wide/infer", f"{LENGTH}: {len(header)}")
    total = 400  # 96 MB of answers
    with Wire(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.socket.settimeout(2)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < total:
                wire.send(one)
                sent += 1
        assert sent < total, "the server reads on although nobody takes its answers"
        wire.socket.settimeout(20)
        for _ in range(sent):  # as soon as the client reads, it goes on
            assert wire.read()[0] == 200


@pytest.mark.parametrize("upgrade", [(), H2C], ids=["plain", "h2c"])
def test_same_head_again_gives_the_same_answers_however_it_is_cut(wire: Wire, upgrade: tuple[str, ...]):
    """A head that comes again is recognised, and pieces, other heads and malformed bytes after it are handled."""
    whole = request_bytes(body_of(1.0), INFER, *upgrade)
    other = request_bytes(body_of(1.0), INFER, "X-Request-Id: mine")
    for _ in range(3):
        wire.send(whole)
        assert wire.read_y() == 2.0
    for cut in (1, 40, len(whole) - len(body_of(1.0)), len(whole) - 1):
        wire.send(whole[:cut])
        wire.send(whole[cut:])
        assert wire.read_y() == 2.0
    for headers in (upgrade, (), H2C):  # the same head, or another one; another body
        wire.send(request_bytes(body_of(4.0), INFER, *headers))
        assert wire.read_y() == 8.0
    wire.send(other)
    assert wire.read()[1]["x-request-id"] == "mine"
    wire.send(whole, whole, request_bytes(b"{" + body_of(1.0)[1:-1] + b" ", INFER, *upgrade))
    assert [wire.read_y(), wire.read_y(), wire.read()[0]] == [2.0, 2.0, 400]
    for _ in range(3):
        wire.send(whole + b"\r\n")  # some clients end a body so; it is no part of it
        assert wire.read_y() == 2.0
    wire.send(LIVE)
    assert wire.read()[0] == 200
    wire.send(b"nonsense".ljust(len(whole)))
    assert wire.read()[0] == 400


def test_pipelined_requests_that_wait_take_no_more_than_their_bytes(server: Serving, double: Model, turn: Turn):
    """Pipelined requests behind a slow one are kept as bytes, and are answered in their order."""
    number = 4000
    with Wire(server) as wire, gated(double) as gate:
        wire.send(request_bytes(body_of(1)))
        gate.entered.acquire()
        wire.send(request_bytes(b"", "/nobody", method="GET") * number + request_bytes(body_of(2)))
        for _ in range(3):
            turn()
        waiting = [len(connection.pipeline) for connection in server.connections()]
        assert 0 < max(waiting) < number // 10
        gate.opened.set()
        assert wire.read_y() == 2.0
        assert {wire.read()[0] for _ in range(number)} == {404}
        assert wire.read_y() == 4.0


def test_shutdown_answers_what_is_in_flight(store: Path, server_path: ServerPath):
    """A stopping server closes idle connections at once, and busy ones after their answer."""
    with Serving(settings_for(store, models=("double",)), server_path) as server:
        model = server.worker.registry.find("double")
        with Wire(server) as idle, Wire(server) as busy, gated(model) as gate:
            idle.send(LIVE)
            assert idle.read()[0] == 200
            busy.send(request_bytes(body_of(9)))
            gate.entered.acquire()
            server.stop()
            assert idle.is_closed_by_server()
            gate.opened.set()
            assert busy.read_y() == 18.0
            assert busy.is_closed_by_server()


def test_both_paths_send_the_same_bytes(store: Path):
    """Each form of a request has the same bytes of answer by both paths, apart from its date, id and times."""
    rows = np.ones((500, 3), "<f4").tobytes()
    x = {"name": "x", "datatype": "FP32", "shape": [500, 3], "parameters": {"binary_data_size": len(rows)}}
    head = json.dumps({"inputs": [x], "parameters": {"binary_data_output": True}}).encode()
    digit = encode_png(np.zeros((1, 8, 8), np.float32), Picture(channels=1))
    packed = gzip.compress(body_of(2))
    requests = [
        request_bytes(body_of(1, "a")),
        request_bytes(body_of(1), "/v2/models/double/versions/1/infer"),
        request_bytes(b"{}"),
        request_bytes(body_of(1), "/v2/models/nobody/infer"),
        request_bytes(head + rows, INFER, f"{LENGTH}: {len(head)}", "Accept-Encoding: gzip"),
        request_bytes(rows[:12], INFER, f"{LENGTH}: 0"),
        request_bytes(packed, INFER, "Content-Encoding: gzip", "Accept-Encoding: deflate"),
        request_bytes(packed[:-1], INFER, "Content-Encoding: gzip"),
        request_bytes(b'{"x":[1,2,3]}', "/v2/models/double/generate"),
        request_bytes(b'{"instances":[[1,2,3]]}', "/v1/models/double:predict"),
        request_bytes(json.dumps({"inputs": [[[[0.0] * 8] * 8]]}).encode(), "/classify"),
        request_bytes(digit, "/classify?top_k=2&explain=true", "Content-Type: image/png", "Accept: image/png"),
        request_bytes(digit, "/classify", "Content-Type: image/gif"),
        request_bytes(b"[1]", "/classify", "Connection: close"),
    ]

    def answers(server_path: ServerPath) -> list[list[bytes]]:
        with Serving(settings_for(store, max_rows=2), server_path) as server, Wire(server) as wire:
            seen = []
            for request in requests:
                wire.send(request)
                lines = []
                while not lines or lines[-1] != b"\r\n":
                    lines.append(wire.file.readline())
                length = next(int(line.split()[1]) for line in lines if line.startswith(b"content-length"))
                varying = (b"date:", b"x-request-id:", b"server-timing:", b"content-length:")
                body = wire.file.read(length).partition(b'"request_id"')[0]
                seen.append([line for line in lines if not line.startswith(varying)] + [body])
            return seen

    protocol, asgi = (answers(path) for path in reversed(PATHS))
    assert protocol == asgi
