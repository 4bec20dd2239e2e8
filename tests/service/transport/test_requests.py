"""How both paths read requests: in any pieces, whether or not they ask for another protocol; and what they refuse."""

import contextlib
import itertools
import json

import httpx
import pytest

from tests.support.connections.turns import CHUNKED, H2C, LIVE, Turn, send_apart
from tests.support.servers import FAST, ServerPath, Serving
from tests.support.wires import INFER, Wire, body_of, request_bytes

WEBSOCKET = (
    *("Connection: keep-alive, Upgrade", "Upgrade: websocket"),
    *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
)
UNKNOWN = ("Upgrade: foo/2, bar", "Connection: close, upgrade", "X-Empty:")


def live(request_id: str, *headers: str) -> bytes:
    return request_bytes(b"", "/livez", f"X-Request-Id: {request_id}", *headers, method="GET")


def chunked(body: bytes, *headers: str) -> bytes:
    head = [f"POST {INFER} HTTP/1.1", "Host: test", "Transfer-Encoding: chunked", *headers]
    pieces = [body[i : i + 11] for i in range(0, len(body), 11)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return "\r\n".join(head).encode() + b"\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("path", [INFER, "/v2/models/doubl%65/infer"])
@pytest.mark.parametrize("cut", ["whole", "body", "header", "bytes"])
@pytest.mark.parametrize("coding", ["length", "chunks"])
@pytest.mark.parametrize("upgrade", [(), H2C], ids=["plain", "h2c"])
def test_body_is_read_in_any_pieces(wire: Wire, turn: Turn, coding: str, cut: str, path: str, upgrade: tuple[str, ...]):
    """A body is read by its length or chunks, in any pieces, also with h2c asked for, and the connection goes on."""
    body = body_of(5)
    whole = request_bytes(body, INFER, *upgrade) if coding == "length" else chunked(body, *upgrade)
    whole = whole.replace(INFER.encode(), path.encode())
    head = whole.index(b"\r\n\r\n") + 4
    cuts = {"whole": [], "body": [head], "header": [30, head - 10, head - 1, head + 7], "bytes": range(1, len(whole))}
    ends = [0, *cuts[cut], len(whole)]
    for _ in range(2):
        send_apart(wire, turn, *(whole[ends[i] : ends[i + 1]] for i in range(len(ends) - 1)))
        assert wire.read_y() == 10.0
        wire.send(request_bytes(body_of(6)))
        assert wire.read_y() == 12.0


@pytest.mark.parametrize("is_apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("headers", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
def test_body_that_looks_like_a_request_is_none(wire: Wire, turn: Turn, headers: tuple[str, ...], is_apart: bool):
    """A body that looks like a request is not taken for one."""
    inner = live("smuggled")
    whole = request_bytes(inner, INFER, *headers)
    send_apart(wire, turn, *((whole[: -len(inner)], inner) if is_apart else (whole,)))
    status, _, body = wire.read()
    assert (status, b"expected JSON" in body) == (400, True)
    wire.send(live("next"))
    status, answered, _ = wire.read()
    assert (status, answered["x-request-id"]) == (200, "next")


def test_pipelined_requests_are_answered_in_order(wire: Wire):
    """Requests of all kinds in one write, with and without an upgrade, come back in the order they were sent."""
    kinds = (
        lambda i: request_bytes(body_of(i, f"r{i}"), INFER, f"X-Request-Id: r{i}", *H2C),
        lambda i: request_bytes(body_of(i, f"r{i}"), INFER, f"X-Request-Id: r{i}"),
        lambda i: live(f"r{i}", *WEBSOCKET),
        lambda i: chunked(body_of(i, f"r{i}"), f"X-Request-Id: r{i}", *H2C),
        lambda i: live(f"r{i}", *H2C),
        lambda i: live(f"r{i}"),
    )
    wire.send(*(kinds[i % 6](i) for i in range(100)))
    for i in range(100):
        status, answered, body = wire.read()
        assert (status, answered["x-request-id"]) == (200, f"r{i}")
        assert i % 6 in (2, 4, 5) or json.loads(body)["outputs"][0]["data"] == [2.0 * i] * 3


@pytest.mark.parametrize(
    ("version", "headers"),
    [("1.1", ("Connection: close",)), ("1.1", UNKNOWN), ("1.0", ()), ("1.0", H2C)],
    ids=["close", "close and upgrade", "HTTP/1.0", "HTTP/1.0 and h2c"],
)
def test_connection_ends_where_it_has_to(wire: Wire, version: str, headers: tuple[str, ...]):
    """HTTP/1.1 connections stay open until `Connection: close`, HTTP/1.0 ones are closed after the answer."""
    wire.send(request_bytes(body_of(2)), request_bytes(body_of(3), INFER, *headers, version=version))
    assert wire.read_y() == 4.0
    status, answered, _ = wire.read()
    assert (status, answered["connection"]) == (200, "close")
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("upgrade", [(), H2C], ids=["plain", "h2c"])
def test_expect_100_continue_is_honoured(wire: Wire, upgrade: tuple[str, ...]):
    """A client that asks before it sends its body is told to go on, in HTTP/1.1."""
    body = body_of(7)
    whole = request_bytes(body, INFER, "Expect: 100-continue", *upgrade)
    wire.send(whole[: -len(body)])
    assert wire.file.readline() + wire.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(body)
    assert wire.read_y() == 14.0


@pytest.mark.parametrize("target", ["test:80", "/livez", INFER])
@pytest.mark.parametrize("is_apart", [False, True], ids=["together", "apart"])
def test_tunnel_is_refused_and_the_connection_ends(wire: Wire, turn: Turn, target: str, is_apart: bool):
    """CONNECT is 400, and what follows it is not taken for requests."""
    pieces = request_bytes(b"", target, method="CONNECT"), live("smuggled")
    try:
        send_apart(wire, turn, *(pieces if is_apart else [b"".join(pieces)]))
    except ConnectionError:
        assert is_apart  # the server has closed already
    assert wire.read()[0] == 400
    assert wire.is_closed_by_server()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("HELLO WORLD", "expected HTTP as RFC 9112 defines it, got a message that breaks it: Invalid method"),
        ("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: -1", "Invalid character in Content-Length"),
        ("GET /livez", ""),  # HTTP/0.9
        ("POST {} HTTP/1.1", "Host: expected it once, got it 0 times"),
        ("POST {} HTTP/1.1\r\nHost: a\r\nHost: a", "Host: expected it once, got it 2 times"),
        ("POST {} HTTP/1.1\r\nHost: a\r\nhOST: b", "Host: expected it once, got it 2 times"),
        ("POST {} HTTP/1.0\r\nHost: a\r\nHost: a", "Host: expected it once, got it 2 times"),
        ("POST {} HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c", "Host: expected it once, got it 0 times"),
        ("POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", "Transfer-Encoding: expected chunked"),
        ("POST {} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "Transfer-Encoding: expected chunked"),
        ("POST {} HTTP/2.0\r\nHost: a", "HTTP version: expected 1.1 or 1.0, got 2.0"),
        ("POST {} HTTP/0.9\r\nHost: a", "HTTP version: expected 1.1 or 1.0, got 0.9"),
        ("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\nX: " + "a" * 70_000, ""),
    ],
    ids=lambda value: value[:60],
)
@pytest.mark.parametrize("path", [INFER, "/livez"])
def test_request_that_two_servers_might_read_differently_is_refused(
    server: Serving, path: str, line: str, complaint: str, caplog: pytest.LogCaptureFixture
):
    """A request that is not HTTP or not clear gets one 400 and the connection ends; nothing is logged."""
    with Wire(server) as wire:
        wire.send(line.format(path).encode() + b"\r\n\r\n")
        status, headers, body = wire.read()
        assert (status, headers["connection"], complaint.encode() in body) == (400, "close", True)
        assert wire.is_closed_by_server()
    assert "a fault on the event loop" not in caplog.text


@pytest.mark.parametrize("declared", [True, False], ids=["length", "chunks"])
def test_body_over_the_limit_is_refused_and_the_connection_ends(wire: Wire, declared: bool):
    """A body over the limit gets 413 before it is complete, and nothing after it is taken for a request."""
    if declared:
        wire.send(f"POST {INFER} HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n".encode(), b" " * 1000)
    else:
        wire.send(CHUNKED, (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17)
    status, headers, body = wire.read()
    assert (status, headers["connection"]) == (413, "close")
    assert b"expected at most 1048576 bytes" in body
    assert wire.is_closed_by_server()


def test_nothing_behind_a_refused_body_is_run(server: Serving, client: httpx.Client, caplog: pytest.LogCaptureFixture):
    """Requests that came in the same read as the end of a refused body are not run."""

    def runs() -> int:
        found: int = client.get("/v2/models/double/stats").json()["model_stats"][0]["execution_count"]
        return found

    before, limit = runs(), 1 << 20
    with Wire(server) as wire:
        wire.send(CHUNKED, b"%x\r\n" % (limit + 1), b" " * limit)
        wire.send(b" \r\n0\r\n\r\n", request_bytes(body_of(1.0)) * 2)
        assert wire.read()[0] == 413
    assert runs() == before
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("upgrade", [(), H2C], ids=["plain", "h2c"])
@pytest.mark.parametrize("end", [b"\r\n\r\n{}", b""], ids=["whole", "without end"])
@pytest.mark.parametrize("cuts", [(), (40_000,), tuple(range(1000, 70_000, 1000))], ids=["at once", "halves", "pieces"])
def test_header_over_the_limit_is_refused(
    server_path: ServerPath, wire: Wire, turn: Turn, cuts: tuple[int, ...], end: bytes, upgrade: tuple[str, ...]
):
    """A header of more than 64 KiB is refused with 431, whether it comes at once or in pieces, and without its end."""
    if upgrade and server_path is not FAST:
        pytest.skip("without the fast path uvicorn reads the header")
    head = request_bytes(b"{}", INFER, "X-Long: " + "a" * 70_000, *upgrade).partition(b"\r\n\r\n")[0]
    whole = head + end
    ends = (0, *cuts, len(whole))
    send_apart(wire, turn, *(whole[start:end] for start, end in itertools.pairwise(ends)))
    status, _, body = wire.read()
    assert (status, b"header: expected at most 65536 bytes" in body) == (431, True)
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("path", [INFER, "/elsewhere"])
def test_header_of_too_many_fields_is_refused(wire: Wire, path: str):
    """A header of more than 256 fields is refused, however short they are."""
    head = f"POST {path} HTTP/1.1\r\nHost: t\r\n".encode()
    wire.send(head + b"a:\r\n" * 254 + b"Content-Length: 2\r\n\r\n{}")
    assert wire.read()[0] != 431
    wire.send(head + b"a:\r\n" * 257)
    status, _, body = wire.read()
    assert (status, b"and 256 fields" in body) == (431, True)
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("begin", [b"5;", b"5\r\nHELLO\r\n0\r\nX: ", b""], ids=["extension", "trailer", "trailers"])
def test_what_comes_beside_a_body_in_chunks_is_limited(wire: Wire, begin: bytes):
    """An extension or trailers of more than 64 KiB are refused like a header, however they are sent."""
    line = b"X: a\r\n" if not begin else b"aaaaa"
    wire.send(CHUNKED, begin or b"5\r\nHELLO\r\n0\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            wire.send(line * 2000)
    assert wire.read()[0] == 431
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("path", [INFER, "/v2/repository/index"])
@pytest.mark.parametrize("upgrade", [(), H2C], ids=["plain", "h2c"])
@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
def test_body_whose_chunks_are_malformed_is_answered(wire: Wire, path: str, upgrade: tuple[str, ...], is_second: bool):
    """A body with malformed chunks gets 400, and the connection ends."""
    if is_second:
        wire.send(request_bytes(body_of(1)))
        assert wire.read()[0] == 200
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: t", "Transfer-Encoding: chunked", *upgrade])
    wire.send(head.encode() + b"\r\n\r\n1\r\n{\r\nzz\r\n" + LIVE)
    assert wire.file.readline().split()[1] == b"400"
    assert b"HTTP/1.1" not in wire.file.read()


def test_rest_of_a_body_that_was_answered_early_is_no_header(wire: Wire):
    """A route may answer before the body has come; what is left of it counts for no limit of the next request.

    Often enough the rest and the next head are in one read.
    """
    large, infer = request_bytes(b"[" * 1_000_000, "/v2/repository/index"), request_bytes(body_of(2.0))
    head_bytes = infer.index(b"\r\n\r\n") + 4
    for _ in range(20):
        wire.send(large + infer[:head_bytes])
        assert wire.read()[0] == 413
        wire.send(infer[head_bytes:])
        assert wire.read_y() == 4.0
