"""The content codings of bodies: gzip, and deflate, which is zlib's format. RFC 9110, sections 8.4 and 12.5.3.

A body is inflated in pieces, and no further than its limit, so that a small body cannot take much memory or time.
"""

import functools
import re
import zlib
from collections.abc import Mapping, Sequence

from service.errors import BodyTooLarge, InvalidInput, UnsupportedCoding

_WINDOW: Mapping[str, int] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
CODINGS = tuple(_WINDOW)
_LEVEL = 1  # higher levels hardly make tensors smaller
COMPRESS_FROM_BYTES = 1024
"""Shorter answers are not compressed."""
DEFLATE_IN_THREAD_FROM_BYTES = 16 << 10
"""Compressing a larger answer would block the event loop for more than 0.15 ms."""
INFLATE_IN_THREAD_FROM_BYTES = 1 << 10
"""Inflating a smaller body takes at most 3 ms."""
_PIECE_BYTES = 64 << 10
_MAX_KEPT_BYTES = 256
"""Longer ``Accept-Encoding`` headers are not cached."""
_WEIGHT = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.ASCII)


def read_coding(header: bytes) -> str | None:
    """The coding in a ``Content-Encoding``; None for identity. Raises UnsupportedCoding."""
    name = header.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _WINDOW:
        raise UnsupportedCoding(f"content-encoding {name!r:.60}: expected {' or '.join(CODINGS)}, or none", CODINGS)
    return name


def choose_coding(accept: bytes) -> str | None:
    """The coding with the highest weight in an ``Accept-Encoding``, the first of equal ones; None for no coding.

    Unknown codings, ``*`` and malformed weights are ignored.
    """
    return (_choose if len(accept) <= _MAX_KEPT_BYTES else _choose.__wrapped__)(accept)


@functools.lru_cache(maxsize=64)
def _choose(accept: bytes) -> str | None:
    best: str | None = None
    best_weight = 0.0
    for item in accept.decode("latin-1").lower().split(","):
        name, _, parameter = item.partition(";")
        found = _WEIGHT.fullmatch(parameter or "q=1")
        weight = float(found[1]) if found else 0.0
        if name.strip() in ("identity", *CODINGS) and weight > best_weight:
            best, best_weight = name.strip(), weight
    return None if best == "identity" else best


def inflate(body: bytes | memoryview, coding: str, max_bytes: int) -> memoryview:
    """Decompress a body. Raises InvalidInput, BodyTooLarge. It takes at most 9/8 of the limit in memory."""
    stream, given = zlib.decompressobj(_WINDOW[coding]), memoryview(body)
    inflated, at = bytearray(), 0
    while not stream.eof:
        waiting: bytes | memoryview = stream.unconsumed_tail
        if not waiting:
            waiting = given[at : at + _PIECE_BYTES]
            at += len(waiting)
        try:
            piece = stream.decompress(waiting, _PIECE_BYTES)
        except zlib.error as error:
            raise InvalidInput(f"body: expected {coding}, got something else: {error}") from None
        if not waiting and not piece and not stream.eof:
            raise InvalidInput(f"body: expected {coding}, got one that is cut")
        if len(inflated) + len(piece) > max_bytes:
            raise BodyTooLarge(f"body: expected at most {max_bytes} bytes when inflated, got more")
        inflated += piece
    left_bytes = len(stream.unused_data) + len(given) - at
    if left_bytes:  # further members of gzip are refused: a body of many tiny ones would take very long
        raise InvalidInput(f"body: expected the end of {coding}, got {left_bytes} bytes after it")
    return memoryview(inflated).toreadonly()


def deflate(chunks: Sequence[bytes | memoryview], coding: str) -> bytes:
    """Join and compress the chunks."""
    stream = zlib.compressobj(_LEVEL, wbits=_WINDOW[coding])
    return b"".join([*map(stream.compress, chunks), stream.flush()])
