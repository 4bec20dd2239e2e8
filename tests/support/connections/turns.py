"""Requests in pieces, and turns of a server's event loop. Tests wait for a turn, not for a length of time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.servers import Serving
from tests.support.wires import INFER, Wire, request_bytes

LIVE = request_bytes(b"", "/livez", method="GET")
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
"""What Java's client sends with each request."""
CHUNKED = f"POST {INFER} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
"""The head of a request whose body comes in chunks."""

Turn = Callable[[], None]


@contextmanager
def turns(server: Serving) -> Iterator[Turn]:
    """A function that returns after a turn of the loop: the server has then read what was sent before."""
    with Wire(server) as probe:

        def turn() -> None:
            probe.send(LIVE)
            assert probe.read()[0] == 200

        yield turn


def send_apart(wire: Wire, turn: Turn, *pieces: bytes) -> None:
    """Send each piece when the server has read the one before."""
    for piece in pieces:
        wire.send(piece)
        turn()
