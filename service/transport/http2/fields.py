"""Header fields: read by the library `hpack`, written as literals. RFC 7541.

A client sends the same fields with each call and, once they are in its table, as the same bytes. So each block is
decoded once and remembered until the table changes.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from service.transport.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault

Fields = tuple[tuple[bytes, bytes], ...]

MAX_LIST_BYTES: Final = 16 << 10
"""The limit of a call's fields, counted as in the protocol (32 bytes more for each), and of their encoded block."""
_PSEUDO: Final = (b":method", b":scheme", b":path", b":authority")
_OF_CONNECTIONS: Final = (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
_MOST_KNOWN: Final = 64
_MAX_KNOWN_BYTES: Final = 1 << 10
"""How many blocks a connection remembers, and the largest of them: so a connection takes little memory."""

T = TypeVar("T")


class FieldReader(Generic[T]):
    """Decodes the header blocks of one connection, in their order. ``parse`` makes what is remembered of the fields."""

    def __init__(self, parse: Callable[[Fields], T]) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_LIST_BYTES)
        self._parse = parse
        self._known: dict[bytes, T] = {}

    def read(self, block: bytes) -> T | None:
        """The parsed block; None if its fields are malformed. Raises ConnectionFault."""
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table
        first, count, size = _first(table), len(table.dynamic_entries), table.maxsize
        try:
            fields = tuple((bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise long_headers() from None
        except (HPACKError, IndexError) as error:
            raise ConnectionFault(COMPRESSION_ERROR, f"a header block that cannot be read: {error}") from None
        parsed = None if is_malformed(fields) else self._parse(fields)
        if (len(table.dynamic_entries), table.maxsize) != (count, size) or _first(table) is not first:
            self._known.clear()  # an entry was added at the front, so that all indices have changed
        elif parsed is not None and len(self._known) < _MOST_KNOWN and len(block) <= _MAX_KNOWN_BYTES:
            self._known[block] = parsed
        return parsed


def is_malformed(fields: Fields) -> bool:
    """Whether fields break the rules of RFC 9113, sections 8.2 and 8.3: two programs could read them differently."""
    seen: set[bytes] = set()
    is_regular = False
    for name, value in fields:
        if name[:1] == b":":
            if is_regular or name in seen or name not in _PSEUDO:
                return True
            seen.add(name)
            continue
        is_regular = True
        if not name or name != name.lower() or name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
            return True
    return False


def long_headers() -> ConnectionFault:
    return ConnectionFault(ENHANCE_YOUR_CALM, f"expected at most {MAX_LIST_BYTES} bytes of headers")


def _first(table: HeaderTable) -> object:
    return table.dynamic_entries[0] if table.dynamic_entries else None


def write_field(name: bytes, value: bytes) -> bytes:
    """A literal field that no table keeps, without Huffman coding."""
    return b"\0%b%b%b%b" % (_write_length(len(name)), name, _write_length(len(value)), value)


def _write_length(length: int) -> bytes:
    """An integer with a prefix of seven bits. RFC 7541, section 5.1."""
    if length < 127:
        return bytes((length,))
    parts = bytearray((127,))
    length -= 127
    while length > 127:
        parts.append(length & 127 | 128)
        length >>= 7
    parts.append(length)
    return bytes(parts)
