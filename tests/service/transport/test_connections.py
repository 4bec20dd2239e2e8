"""What the paths owe a connection: order, limits, back-pressure, disconnects, keep-alive, shutdown, TLS."""

import contextlib
import json
import socket
import ssl
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.models.registry import Model
from service.transport.fast.protocol import FastProtocol
from tests.support.certificates import Authority
from tests.support.gates import gated
from tests.support.servers import FAST, PATHS, ServerPath, Serving, settings_for
from tests.support.wires import INFER, Wire, body_of, request_bytes


@pytest.fixture
def double(server: Serving) -> Model:
    assert server.worker is not None
    return server.worker.registry.find("double")


def test_what_is_not_http_gets_a_400_and_the_end(wire: Wire):
    """Bytes that are no HTTP request are answered with 400, and the connection is closed."""
    wire.send(b"HELLO WORLD\r\n\r\n")
    status, headers, _ = wire.read()
    assert (status, headers["connection"]) == (400, "close")
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("path", [INFER, "/livez"])
@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        ("HTTP/1.1", "Host: expected it once, got it 0 times"),
        ("HTTP/1.1\r\nHost: a\r\nHost: a", "Host: expected it once, got it 2 times"),
        ("HTTP/1.1\r\nHost: a\r\nhOST: b", "Host: expected it once, got it 2 times"),
        ("HTTP/1.0\r\nHost: a\r\nHost: a", "Host: expected it once, got it 2 times"),
        ("HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c", "Host: expected it once, got it 0 times"),
        ("HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", "Transfer-Encoding: expected chunked, once"),
        ("HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "Transfer-Encoding: expected chunked, once"),
        ("HTTP/2.0\r\nHost: a", "HTTP version: expected 1.1 or 1.0, got 2.0"),
        ("HTTP/0.9\r\nHost: a", "HTTP version: expected 1.1 or 1.0, got 0.9"),
    ],
)
def test_request_that_two_servers_might_read_differently_is_refused(wire: Wire, path: str, head: str, complaint: str):
    """No Host in HTTP/1.1, two of them, another version or coding are a 400 that says so, and the connection ends."""
    method = "GET" if path == "/livez" else "POST"
    wire.send(f"{method} {path} {head}\r\n\r\n".encode())
    status, headers, body = wire.read()
    assert (status, headers["connection"], complaint in json.loads(body)["error"]) == (400, "close", True)
    assert wire.is_closed_by_server()


def test_http_0_9_is_refused(wire: Wire):
    """A request line without a version is no request."""
    wire.send(b"GET /livez\r\n\r\n")
    assert wire.read()[0] == 400
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("declared", [True, False])
def test_body_over_the_limit_is_refused_and_the_connection_ends(wire: Wire, declared: bool):
    """Too large a body gets its 413 before it was sent as a whole, and nothing after it is taken for a request."""
    if declared:
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n".encode(), b" " * 1000)
    else:
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(17):
            wire.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
    status, headers, body = wire.read()
    assert (status, headers["connection"]) == (413, "close")
    assert b"expected at most 1048576 bytes" in body
    assert wire.is_closed_by_server()


def test_nothing_behind_a_refused_body_is_run(server: Serving, client: httpx.Client, caplog: pytest.LogCaptureFixture):
    """What came in the same read as the end of a body over the limit is not answered, so it is not run either."""
    runs = client.get("/v2/models/double/stats").json()["model_stats"][0]["execution_count"]
    limit = 1 << 20
    with Wire(server) as wire:
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        wire.send(b"%x\r\n" % (limit + 1), b" " * limit)
        wire.send(b" \r\n0\r\n\r\n", request_bytes(body_of(1.0)) * 2)
        assert wire.read()[0] == 413
    assert client.get("/v2/models/double/stats").json()["model_stats"][0]["execution_count"] == runs
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("size", [70_000, 200_000])
def test_header_over_the_limit_is_refused(server: Serving, size: int):
    """A header of more than 64 KiB is refused with 431, also one that comes in pieces."""
    with Wire(server) as wire:
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\n".encode())
        for i in range(size // 1000):
            wire.send(f"X-{i}: ".encode() + b"a" * 1000 + b"\r\n")
        status, _, body = wire.read()
        assert status == 431
        assert b"header: expected at most 65536 bytes" in body
        assert wire.is_closed_by_server()


@pytest.mark.parametrize("path", [INFER, "/elsewhere"])
def test_header_of_too_many_fields_is_refused(wire: Wire, path: str):
    """Short fields count as well as long ones: more than 256 are refused before their end."""
    wire.send(f"POST {path} HTTP/1.1\r\nHost: t\r\n".encode() + b"a:\r\n" * 254 + b"Content-Length: 2\r\n\r\n{}")
    assert wire.read()[0] != 431
    wire.send(f"POST {path} HTTP/1.1\r\nHost: t\r\n".encode() + b"a:\r\n" * 257)
    status, _, body = wire.read()
    assert (status, b"and 256 fields" in body) == (431, True)
    assert wire.is_closed_by_server()


def test_header_over_the_limit_is_refused_in_one_piece_too(server: Serving):
    """A header of more than 64 KiB that comes whole, in one read, is refused like one in pieces."""
    with Wire(server) as wire:
        long = b"X-Long: " + b"a" * 100_000
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n".encode() + long + b"\r\n\r\n{}")
        status, _, body = wire.read()
        assert status == 431
        assert b"header: expected at most 65536 bytes" in body
        assert wire.is_closed_by_server()


def test_header_over_the_limit_is_refused_in_pieces_of_less(server: Serving, monkeypatch: pytest.MonkeyPatch):
    """A header of more than 64 KiB is refused also where no read holds as much, and the last one ends it."""
    read = threading.Event()
    take = FastProtocol.data_received

    def take_and_tell(protocol: FastProtocol, data: bytes) -> None:
        take(protocol, data)
        read.set()

    monkeypatch.setattr(FastProtocol, "data_received", take_and_tell)
    with Wire(server) as wire:
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nX-Long: ".encode(), b"a" * 40_000)
        assert read.wait(20)
        wire.send(b"a" * 40_000 + b"\r\n\r\n{}")
        status, _, body = wire.read()
        assert status == 431
        assert b"header: expected at most 65536 bytes" in body
        assert wire.is_closed_by_server()


@pytest.mark.parametrize("begin", [b"5;", b"5\r\nHELLO\r\n0\r\nX: ", b""], ids=["extension", "trailer", "trailers"])
def test_what_comes_beside_a_body_in_chunks_is_limited(server: Serving, begin: bytes):
    """An extension or trailers of more than 64 KiB are refused like a header, however they are sent."""
    line = b"X: a\r\n" if not begin else b"aaaaa"
    with Wire(server) as wire:
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        wire.send(begin or b"5\r\nHELLO\r\n0\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                wire.send(line * 2000)
        assert wire.read()[0] == 431
        assert wire.is_closed_by_server()


def test_header_that_is_refused_and_too_long_is_answered_once(server: Serving, caplog: pytest.LogCaptureFixture):
    """What is no HTTP gets its one 400 although more than 64 KiB of header come with it, and nothing is logged."""
    with Wire(server) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: t\r\nX-Long: " + b"a" * 70_000 + b"\r\nContent-Length: x\r\n\r\n")
        assert wire.read()[0] == 400
        assert wire.is_closed_by_server()
    assert "a fault on the event loop" not in caplog.text


@pytest.mark.parametrize("path", [INFER, "/v2/repository/index"])
@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
def test_body_whose_chunks_are_malformed_is_answered(wire: Wire, path: str, is_second: bool):
    """A body that can never be complete ends in a 400 and in the end of the connection, not in waiting for it."""
    if is_second:
        wire.send(request_bytes(body_of(1)))
        assert wire.read()[0] == 200
    wire.send(f"POST {path} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\nzz\r\n".encode())
    assert wire.file.readline().split()[1] == b"400"
    while wire.file.readline():
        pass


def test_malformed_body_in_the_pipeline_is_answered_in_its_turn(wire: Wire, server_path: ServerPath):
    """The request before it, sent with it, is answered first."""
    if server_path is not FAST:
        pytest.skip("uvicorn answers the malformed one first")
    bad = f"POST {INFER} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\nzz\r\n".encode()
    wire.send(request_bytes(b"", "/livez", method="GET") + bad)
    assert [wire.read()[0], wire.read()[0]] == [200, 400]
    assert wire.is_closed_by_server()


def test_pipelined_requests_are_answered_in_order(wire: Wire):
    """A hundred requests in one write, tensors and questions mixed, come back in the order they were sent."""
    sent = []
    for i in range(100):
        live = i % 7 == 3
        sent.append(request_bytes(b"", "/livez", method="GET") if live else request_bytes(body_of(i, f"r{i}")))
    wire.send(*sent)
    for i in range(100):
        status, _, body = wire.read()
        assert status == 200
        assert json.loads(body).get("id") == (None if i % 7 == 3 else f"r{i}")


def test_thousands_of_bad_pipelined_requests_do_not_exhaust_the_stack(wire: Wire):
    """Requests that are answered at once are worked off in a loop, however many lie in the pipeline."""
    wire.send(request_bytes(b"{}") * 3000, request_bytes(body_of(4)))
    statuses = [wire.read()[0] for _ in range(3000)]
    assert set(statuses) == {400}
    assert wire.read_y() == 8.0


def test_answers_of_one_batch_reach_callers_of_every_kind(server: Serving, double: Model):
    """Of a batch of many, those who stay, who want the connection closed, and who have sent more get their answers."""
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


def test_good_request_before_a_malformed_one_is_answered(server: Serving, server_path: ServerPath, double: Model):
    """What follows a request cannot take its answer away: first the answer, then the 400, then the end."""
    if server_path is not FAST:
        pytest.skip("without the fast path uvicorn answers at once, and closes")
    with Wire(server) as wire, gated(double) as gate:
        wire.send(request_bytes(body_of(3)))
        gate.entered.acquire()
        wire.send(b"NONSENSE\r\n\r\n")
        gate.opened.set()
        assert wire.read_y() == 6.0
        assert wire.read()[0] == 400
        assert wire.is_closed_by_server()


def test_caller_that_goes_takes_its_waiting_work_with_it(server: Serving, double: Model):
    """When the client closes the connection its queued rows leave the queue and are never run."""
    lanes = server.worker.device.lanes if server.worker else 0
    with gated(double) as gate:
        busy = [Wire(server) for _ in range(lanes)]
        for wire in busy:
            wire.send(request_bytes(body_of(1)))
            gate.entered.acquire()
        with Wire(server) as gone:
            gone.send(request_bytes(body_of(2)))
            with Wire(server) as probe:
                while double.dispatcher.queue.waiting_rows == 0:  # each answer is a turn of the server's loop
                    probe.send(request_bytes(b"", "/livez", method="GET"))
                    probe.read()
        with Wire(server) as probe:
            while double.dispatcher.queue.waiting_rows:
                probe.send(request_bytes(b"", "/livez", method="GET"))
                probe.read()
        gate.opened.set()
        assert [wire.read_y() for wire in busy] == [2.0] * lanes
        assert gate.rows == [1] * lanes
        for wire in busy:
            wire.__exit__()


def test_thousand_concurrent_requests_of_which_each_tenth_is_malformed(server: Serving):
    """With 1,000 connections at once each malformed request gets its 400 and each good one its own answer."""
    wires = [Wire(server) for _ in range(1000)]
    for number, wire in enumerate(wires):
        wire.send(request_bytes(b'{"inputs": 1}' if number % 10 == 3 else body_of(number)))
    for number, wire in enumerate(wires):
        with wire:
            if number % 10 == 3:
                status, _, body = wire.read()
                assert (status, b"inputs: expected an array" in body) == (400, True)
            else:
                assert wire.read_y() == 2.0 * number


def test_callers_that_do_not_read_stop_being_served(server: Serving, double: Model):
    """A client that pipelines large requests and reads nothing is not served on and on: answers are bounded."""
    rows = 20_000
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "parameters": {"binary_data_size": rows * 12}}
    outputs = [{"name": "y", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    one = request_bytes(header + bytes(rows * 12), INFER, f"Inference-Header-Content-Length: {len(header)}")
    total = 400  # 96 MB of answers
    with Wire(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.socket.settimeout(2)
        sent = 0
        try:
            while sent < total:
                wire.send(one)
                sent += 1
        except TimeoutError:
            pass
        assert sent < total, "the server reads on although nobody takes its answers"
        wire.socket.settimeout(20)
        for _ in range(sent):  # as soon as the client reads, it goes on
            status, _, body = wire.read()
            assert (status, len(body) > rows * 12) == (200, True)


def test_connection_is_kept_alive_and_closed_when_asked(wire: Wire):
    """HTTP/1.1 connections stay open until `Connection: close`, HTTP/1.0 ones are closed after the answer."""
    for value in (1.0, 2.0):
        wire.send(request_bytes(body_of(value)))
        assert wire.read_y() == 2 * value
    wire.send(request_bytes(body_of(3), INFER, "Connection: close"))
    status, headers, _ = wire.read()
    assert (status, headers["connection"]) == (200, "close")
    assert wire.is_closed_by_server()


def test_http_1_0_is_answered_and_closed(wire: Wire):
    """An HTTP/1.0 client gets its answer and the end of the connection."""
    wire.send(request_bytes(body_of(3), version="1.0"))
    assert wire.read_y() == 6.0
    assert wire.is_closed_by_server()


def test_body_in_many_pieces_is_put_together(wire: Wire):
    """Header and body may come in any pieces, by length or chunked."""
    whole = request_bytes(body_of(5))
    for i in range(0, len(whole), 7):
        wire.send(whole[i : i + 7])
    assert wire.read_y() == 10.0
    content = body_of(6)
    wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for i in range(0, len(content), 11):
        piece = content[i : i + 11]
        wire.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
    wire.send(b"0\r\n\r\n")
    assert wire.read_y() == 12.0


def test_same_head_again_gives_the_same_answers_however_it_is_cut(wire: Wire):
    """A head that comes again is known; pieces, company, other heads and malformed bytes after it are not missed."""
    whole = request_bytes(body_of(1.0))
    other = request_bytes(body_of(1.0), INFER, "X-Request-Id: mine")
    for _ in range(3):
        wire.send(whole)
        assert wire.read_y() == 2.0
    for cut in (1, 40, len(whole) - len(body_of(1.0)), len(whole) - 1):
        wire.send(whole[:cut])
        wire.send(whole[cut:])
        assert wire.read_y() == 2.0
    wire.send(request_bytes(body_of(4.0)))  # the same head, another body
    assert wire.read_y() == 8.0
    wire.send(other)
    assert wire.read()[1]["x-request-id"] == "mine"
    wire.send(whole, whole, request_bytes(b"{" + body_of(1.0)[1:-1] + b" "))
    assert [wire.read_y(), wire.read_y(), wire.read()[0]] == [2.0, 2.0, 400]
    wire.send(whole)
    assert wire.read_y() == 2.0
    wire.send(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
    assert wire.read()[0] == 200
    wire.send(b"nonsense".ljust(len(whole)))
    assert wire.read()[0] == 400


def test_line_break_behind_a_body_is_no_part_of_it(wire: Wire):
    """Some clients send an empty line after a body: equal bytes are the same request again, with the same body."""
    for _ in range(3):
        wire.send(request_bytes(body_of(1.0)) + b"\r\n")
        assert wire.read_y() == 2.0


def test_pipelined_requests_that_wait_take_no_more_than_their_bytes(server: Serving, double: Model):
    """Thousands of small requests behind a slow one lie there as they came, and are answered in their order."""
    number = 4000
    with Wire(server) as wire, gated(double) as gate:
        wire.send(request_bytes(body_of(1)))
        gate.entered.acquire()
        wire.send(request_bytes(b"", "/nobody", method="GET") * number + request_bytes(body_of(2)))
        with Wire(server) as probe:
            for _ in range(3):  # each answer is a turn of the server's loop
                probe.send(request_bytes(b"", "/livez", method="GET"))
                assert probe.read()[0] == 200
        waiting = [len(connection.pipeline) for connection in server.connections()]
        assert 0 < max(waiting) < number // 10
        gate.opened.set()
        assert wire.read_y() == 2.0
        assert {wire.read()[0] for _ in range(number)} == {404}
        assert wire.read_y() == 4.0


def test_expect_100_continue_is_honoured(wire: Wire):
    """A client that asks before it sends its body is told to go on."""
    content = body_of(7)
    wire.send(
        request_bytes(b"", INFER, "Expect: 100-continue").replace(
            b"Content-Length: 0", b"Content-Length: %d" % len(content)
        )
    )
    assert wire.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert wire.file.readline() == b"\r\n"
    wire.send(content)
    assert wire.read_y() == 14.0


def test_escaped_path_and_query_reach_the_model(wire: Wire):
    """A percent-encoded path and a query do not change whom a request is for."""
    for path in ("/v2/models/doubl%65/infer", INFER + "?x=1"):
        wire.send(request_bytes(body_of(8), path))
        assert wire.read_y() == 16.0


def test_shutdown_answers_what_is_in_flight(store: Path, server_path: ServerPath):
    """A stopping server closes idle connections at once and the others after their answer; nothing is lost."""
    with Serving(settings_for(store, models=("double",)), server_path) as server:
        assert server.worker is not None
        model = server.worker.registry.find("double")
        with Wire(server) as idle, Wire(server) as busy, gated(model) as gate:
            idle.send(
                request_bytes(body_of(1)),
            )
            gate.entered.acquire()
            gate.opened.set()
            assert idle.read_y() == 2.0
            gate.opened.clear()
            busy.send(request_bytes(body_of(9)))
            gate.entered.acquire()
            server.stop()
            assert idle.is_closed_by_server()
            gate.opened.set()
            assert busy.read_y() == 18.0
            assert busy.is_closed_by_server()


def test_every_door_sends_the_same_bytes(store: Path):
    """An answer by the fast path has the bytes of one by the ASGI path, apart from its date, id and times."""

    def answers(server_path: ServerPath) -> list[list[bytes]]:
        requests = [
            request_bytes(body_of(1, "a")),
            request_bytes(b"{}"),
            request_bytes(body_of(1), "/v2/models/nobody/infer"),
            request_bytes(json.dumps({"inputs": [[[[0.0] * 8] * 8]]}).encode(), "/classify"),
            request_bytes(b"[1]", "/classify", "Connection: close"),
        ]
        with Serving(settings_for(store), server_path) as server, Wire(server) as wire:
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


def test_tls_is_served(store: Path, server_path: ServerPath, tmp_path: Path):
    """Both paths work behind TLS."""
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.certificate))
    settings = settings_for(store, models=("double",))
    with Serving(settings, server_path, tls=authority.issue("server")) as server, Wire(server, context) as wire:
        wire.send(request_bytes(body_of(1)), request_bytes(body_of(2)))
        assert [wire.read_y(), wire.read_y()] == [2.0, 4.0]
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n".encode())
        assert wire.read()[0] == 413


def test_idle_connection_is_closed_after_keep_alive(store: Path, server_path: ServerPath):
    """A connection on which nothing comes is closed when the time that the settings give it is over, on any route."""
    settings = settings_for(store, models=("double",), keep_alive_s=0.2)
    with Serving(settings, server_path) as server, Wire(server) as wire, Wire(server) as other:
        wire.send(request_bytes(body_of(1)))
        assert wire.read_y() == 2.0
        assert wire.is_closed_by_server()
        other.send(request_bytes(b"", "/livez", method="GET"))
        assert other.read()[0] == 200
        assert other.is_closed_by_server()


def test_headers_of_httpx_pass(server: Serving):
    """An ordinary client with many headers is served."""
    with server.client() as client:
        response = client.post(INFER, content=body_of(2), headers={f"x-{i}": "v" * 100 for i in range(50)})
    assert response.status_code == 200
    assert isinstance(response, httpx.Response)
