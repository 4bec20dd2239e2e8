"""Finds the credential in the headers of a request. Pure.

There must be exactly one: with two, a proxy and this server could take the request for that of different callers. A
credential in the URL is ignored, because URLs get into logs and histories. A browser cannot set headers of a WebSocket,
so there the key may be a subprotocol: `new WebSocket(url, ["sluice", "sluice-key.KEY"])`.
"""

import hashlib
import re
from typing import Final

from service.access.grants import Fields
from service.errors import Unauthenticated

SUBPROTOCOL: Final = b"sluice"
"""What a client offers besides its key. The server selects it, because browsers expect that one is selected."""
_KEY_PROTOCOL: Final = b"sluice-key."
_MAX_BYTES: Final = 8 << 10
_ACCEPTABLE: Final = re.compile(rb"[\x21-\x7e]+")
_HOW: Final = "expected a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"


def find_credential(fields: Fields, *, is_handshake: bool = False) -> bytes:
    """The key or token of a request. Raises Unauthenticated, whose text never contains it."""
    found: list[bytes] = []
    for name, value in fields:
        if name == b"x-api-key":
            found.append(value.strip())
        elif name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthenticated(f"authorization: {_HOW}, got another scheme")
            found.append(rest.strip())
        elif is_handshake and name == b"sec-websocket-protocol":
            offered = [word.strip() for word in value.split(b",")]
            found += [word[len(_KEY_PROTOCOL) :] for word in offered if word.startswith(_KEY_PROTOCOL)]
    if not found:
        raise Unauthenticated(f"{_HOW}, got none", is_given=False)
    if len(found) > 1:
        raise Unauthenticated(f"{_HOW}, once, got {len(found)}")
    [credential] = found
    if len(credential) > _MAX_BYTES or not _ACCEPTABLE.fullmatch(credential):
        raise Unauthenticated(f"{_HOW}, of 1 to {_MAX_BYTES} printable characters")
    return credential


def offers_subprotocol(fields: Fields) -> bool:
    """Whether a handshake offers our subprotocol."""
    offers = (value for name, value in fields if name == b"sec-websocket-protocol")
    return any(SUBPROTOCOL in [word.strip() for word in value.split(b",")] for value in offers)


def hash_credential(credential: bytes) -> bytes:
    """SHA-256. Only passwords need a slow hash: nobody can guess the 256 random bits of a key."""
    return hashlib.sha256(credential).digest()
