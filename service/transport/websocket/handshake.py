"""The handshake of a WebSocket: RFC 6455, section 4.2."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from wsproto.utilities import generate_accept_token

from service.access.credentials import SUBPROTOCOL, offers_subprotocol
from service.errors import Forbidden, InvalidInput, UpgradeRequired
from service.settings import Settings
from service.transport.handler import Handler
from service.transport.request import Endpoint, HeaderField

_VERSION = b"13"
_KEY_BYTES = 16


class Handshake(NamedTuple):
    """A request to open a stream. ``headers`` has lower-case names; ``fields`` has all fields of the header."""

    endpoint: Endpoint
    query: bytes
    headers: dict[bytes, bytes]
    fields: Sequence[HeaderField]


def read_handshake(handler: Handler | None, url: bytes, headers: Sequence[HeaderField]) -> Handshake | None:
    """The handshake in a GET request with ``Upgrade``; None if it is for another path or protocol."""
    if handler is None or handler.streams is None:
        return None
    base_path = handler.settings.base_path
    by_name = dict(headers)
    if b"websocket" not in [word.strip().lower() for word in by_name.get(b"upgrade", b"").split(b",")]:
        return None
    path, _, query = url.partition(b"?")
    text = unquote(path.decode("latin-1")).rstrip("/")
    if not text.startswith(base_path):
        return None
    endpoint = handler.streams.match(text[len(base_path) :])
    return None if endpoint is None else Handshake(endpoint, query, by_name, headers)


def check_handshake(handshake: Handshake, settings: Settings) -> None:
    """Raises UpgradeRequired for another version, InvalidInput for a bad key, Forbidden for a page of another origin.

    Browsers let any page open a WebSocket and read from it. So the server itself keeps to what CORS allows.
    """
    headers = handshake.headers
    version = headers.get(b"sec-websocket-version", b"")
    if version != _VERSION:
        raise UpgradeRequired(f"Sec-WebSocket-Version: expected 13, got {version.decode('latin-1')!r:.40}")
    if not _is_key(headers.get(b"sec-websocket-key", b"")):
        raise InvalidInput(f"Sec-WebSocket-Key: expected {_KEY_BYTES} bytes in base64")
    origin = headers.get(b"origin")
    if origin is None or "*" in settings.cors_origins:
        return
    text = origin.decode("latin-1").lower()
    own = headers.get(b"host", b"").decode("latin-1").lower()
    if text.partition("://")[2] != own and text not in map(str.lower, settings.cors_origins):
        raise Forbidden(f"origin {text!r:.120}: expected this server's, or one that SLUICE_CORS_ORIGINS names")


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def accept(handshake: Handshake, request_id: str, usual: Iterable[HeaderField]) -> bytes:
    """The answer that accepts a handshake, with the ``usual`` headers of the server."""
    fields = [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-accept", generate_accept_token(handshake.headers[b"sec-websocket-key"])),
        (b"x-request-id", request_id.encode()),
        *usual,
    ]
    if offers_subprotocol(handshake.fields):
        fields.append((b"sec-websocket-protocol", SUBPROTOCOL))
    lines = [b"HTTP/1.1 101 Switching Protocols", *(b"%b: %b" % field for field in fields)]
    return b"\r\n".join([*lines, b"", b""])
