"""A request that would rather go on in another protocol is answered as one that would not, through both paths."""

import json
from collections.abc import Iterator

import pytest

from tests.support.servers import FAST, ServerPath, Serving
from tests.support.wires import INFER, Wire, body_of, request_bytes

H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
"""What Java's client sends with each request."""
WEBSOCKET = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
UNKNOWN = ("Upgrade: foo/2, bar", "Connection: close, upgrade", "X-Empty:")
LIVE = request_bytes(b"", "/livez", method="GET")


def live(request_id: str, *headers: str) -> bytes:
    return request_bytes(b"", "/livez", f"X-Request-Id: {request_id}", *headers, method="GET")


def chunked(body: bytes, *headers: str) -> bytes:
    head = [f"POST {INFER} HTTP/1.1", "Host: test", "Transfer-Encoding: chunked", *headers]
    pieces = [body[i : i + 11] for i in range(0, len(body), 11)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return "\r\n".join(head).encode() + b"\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.fixture
def probe(server: Serving) -> Iterator[Wire]:
    with Wire(server) as probe:
        yield probe


def send_apart(wire: Wire, probe: Wire, *pieces: bytes) -> None:
    """Send each piece when the server has read the one before: each answer to the probe is a turn of its loop."""
    for piece in pieces:
        wire.send(piece)
        probe.send(LIVE)
        assert probe.read()[0] == 200


@pytest.mark.parametrize("path", [INFER, "/v2/models/doubl%65/infer"], ids=["plain", "escaped"])
@pytest.mark.parametrize("cut", ["whole", "body", "header", "bytes"])
@pytest.mark.parametrize("coding", ["length", "chunks"])
def test_body_is_read_however_it_is_cut(wire: Wire, probe: Wire, coding: str, cut: str, path: str):
    """A body with h2c asked for is read by its length or chunks, in any pieces, and the connection goes on."""
    body = body_of(5)
    whole = request_bytes(body, INFER, *H2C) if coding == "length" else chunked(body, *H2C)
    whole = whole.replace(INFER.encode(), path.encode())
    head = whole.index(b"\r\n\r\n") + 4
    cuts = {"whole": [], "body": [head], "header": [30, head - 10, head - 1, head + 7], "bytes": range(1, len(whole))}
    ends = [0, *cuts[cut], len(whole)]
    for _ in range(2):
        send_apart(wire, probe, *(whole[ends[i] : ends[i + 1]] for i in range(len(ends) - 1)))
        assert wire.read_y() == 10.0
        wire.send(request_bytes(body_of(6)))
        assert wire.read_y() == 12.0


@pytest.mark.parametrize("is_apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("headers", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
def test_body_that_looks_like_a_request_is_not_answered_as_one(
    wire: Wire, probe: Wire, headers: tuple[str, ...], is_apart: bool
):
    """What a request says is its body stays its body: nobody can put a request there that others would not see."""
    inner = live("smuggled")
    whole = request_bytes(inner, INFER, *headers)
    send_apart(wire, probe, *((whole[: -len(inner)], inner) if is_apart else (whole,)))
    status, _, body = wire.read()
    assert (status, b"expected JSON" in body) == (400, True)
    wire.send(live("next"))
    status, answered, _ = wire.read()
    assert (status, answered["x-request-id"]) == (200, "next")


@pytest.mark.parametrize("headers", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
def test_request_without_a_body_is_answered(wire: Wire, headers: tuple[str, ...]):
    """A question that asks for another protocol gets its answer, and so does the next one."""
    for request_id in ("a", "b"):
        wire.send(live(request_id, *headers))
        status, answered, _ = wire.read()
        assert (status, answered["x-request-id"]) == (200, request_id)


def test_pipelined_requests_are_answered_in_order(wire: Wire):
    """Requests of all kinds in one write, with and without an upgrade, come back in the order they were sent."""
    kinds = (
        lambda i: request_bytes(body_of(i, f"r{i}"), INFER, f"X-Request-Id: r{i}", *H2C),
        lambda i: request_bytes(body_of(i, f"r{i}"), INFER, f"X-Request-Id: r{i}"),
        lambda i: live(f"r{i}", *WEBSOCKET),
        lambda i: chunked(body_of(i, f"r{i}"), f"X-Request-Id: r{i}", *H2C),
        lambda i: live(f"r{i}"),
    )
    wire.send(*(kinds[i % 5](i) for i in range(100)))
    for i in range(100):
        status, answered, body = wire.read()
        assert (status, answered["x-request-id"]) == (200, f"r{i}")
        assert i % 5 in (2, 4) or json.loads(body)["outputs"][0]["data"] == [2.0 * i] * 3


def test_other_wishes_of_its_connection_header_are_heard(wire: Wire):
    """`Connection: close` beside `upgrade` ends the connection after the answer; an empty header is no harm."""
    wire.send(request_bytes(body_of(2), INFER, *UNKNOWN))
    status, answered, _ = wire.read()
    assert (status, answered["connection"]) == (200, "close")
    assert wire.is_closed_by_server()


def test_http_1_0_is_answered_and_closed(wire: Wire):
    """HTTP/1.0 knows no upgrade; its client gets the answer and the end of the connection."""
    wire.send(request_bytes(body_of(3), INFER, *H2C, version="1.0"))
    assert wire.read_y() == 6.0
    assert wire.is_closed_by_server()


def test_same_head_again_gives_its_own_answers(wire: Wire):
    """Heads with and without an upgrade that come again, whole and with company, are not mistaken for each other."""
    for value in (1.0, 2.0, 3.0):
        wire.send(request_bytes(body_of(value), INFER, *H2C))
        assert wire.read_y() == 2 * value
    for value in (1.0, 2.0, 3.0):
        wire.send(request_bytes(body_of(value)))
        assert wire.read_y() == 2 * value
    wire.send(request_bytes(body_of(4.0), INFER, *H2C), request_bytes(body_of(5.0)))
    assert [wire.read_y(), wire.read_y()] == [8.0, 10.0]


def test_expect_100_continue_is_honoured(wire: Wire):
    """A client that asks for both is told to go on, in HTTP/1.1."""
    body = body_of(7)
    whole = request_bytes(body, INFER, "Expect: 100-continue", *H2C)
    wire.send(whole[: -len(body)])
    assert wire.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert wire.file.readline() == b"\r\n"
    wire.send(body)
    assert wire.read_y() == 14.0


@pytest.mark.parametrize("path", [INFER, "/v2/repository/index"])
def test_body_whose_chunks_are_malformed_is_answered(wire: Wire, path: str):
    """Such a body ends in a 400 and in the end of the connection with an upgrade too."""
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: test", "Transfer-Encoding: chunked", *H2C])
    wire.send(head.encode() + b"\r\n\r\n1\r\n{\r\nzz\r\n" + LIVE)
    assert wire.file.readline().split()[1] == b"400"
    assert b"HTTP/1.1" not in wire.file.read()


@pytest.mark.parametrize("cut", [None, 40_000], ids=["whole", "apart"])
def test_header_over_the_limit_is_refused(
    server: Serving, server_path: ServerPath, wire: Wire, probe: Wire, cut: int | None
):
    """A header of more than 64 KiB is refused with 431 by the fast path, whatever it asks for."""
    if server_path is not FAST:
        pytest.skip("without the fast path uvicorn reads the header")
    whole = request_bytes(body_of(1), INFER, "X-Long: " + "a" * 70_000, *H2C)
    send_apart(wire, probe, *((whole[:cut], whole[cut:]) if cut else (whole,)))
    assert wire.read()[0] == 431
    assert wire.is_closed_by_server()


@pytest.mark.parametrize("target", ["test:80", "/livez", INFER])
@pytest.mark.parametrize("is_apart", [False, True], ids=["together", "apart"])
def test_tunnel_is_refused_and_the_connection_ends(wire: Wire, probe: Wire, target: str, is_apart: bool):
    """CONNECT gets its 400, and what its client means for the other end of the tunnel is not taken for requests."""
    pieces = request_bytes(b"", target, method="CONNECT"), live("smuggled")
    try:
        send_apart(wire, probe, *(pieces if is_apart else [b"".join(pieces)]))
    except ConnectionError:
        assert is_apart  # the server has closed already
    assert wire.read()[0] == 400
    assert wire.is_closed_by_server()
