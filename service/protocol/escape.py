"""Turns any bytes into text and back, so that BYTES that are not UTF-8 can pass through a model.

ONNX Runtime accepts only UTF-8 in strings, but an element of BYTES may have any bytes. As in PEP 383 each byte that is
not part of UTF-8 becomes a character. Here it is a valid one: byte 0x80 + k becomes U+10FF80 + k, one of the last 128
characters for private use. If valid UTF-8 has one of these characters, each of its four bytes is escaped like this.
So every text stands for exactly one sequence of bytes, and joined texts stand for the joined bytes.
"""

from collections.abc import Sequence

_MARK = b"\xf4\x8f"
"""The UTF-8 of each of these characters begins with this. Without it there is nothing to escape."""
_FIRST, _FIRST_BYTE, _FIRST_SURROGATE = 0x10FF80, 0x80, 0xDC80
"""For k = 0: the character, the byte, and the surrogate of Python's "surrogateescape"."""

_ESCAPES: dict[int, str] = {
    **{_FIRST_SURROGATE + k: chr(_FIRST + k) for k in range(128)},
    **{_FIRST + k: "".join(chr(_FIRST - _FIRST_BYTE + byte) for byte in chr(_FIRST + k).encode()) for k in range(128)},
}
_SURROGATES: dict[int, str] = {_FIRST + k: chr(_FIRST_SURROGATE + k) for k in range(128)}


def _may_be_marked(elements: Sequence[bytes]) -> bool:
    # The joined elements may contain the mark although no element does. That only costs time.
    return not all(map(bytes.isascii, elements)) and _MARK in b"".join(elements)


def read_bytes(elements: Sequence[bytes]) -> list[str]:
    """The texts that stand for these bytes; for UTF-8 they are almost always just its text."""
    if not _may_be_marked(elements):
        try:
            return [element.decode() for element in elements]
        except UnicodeDecodeError:
            pass
    return [element.decode("utf-8", "surrogateescape").translate(_ESCAPES) for element in elements]


def write_bytes(texts: Sequence[str | bytes]) -> list[bytes]:
    """The bytes that texts stand for: the inverse of ``read_bytes``. Bytes are returned unchanged."""
    elements = [text if isinstance(text, bytes) else text.encode() for text in texts]
    if not _may_be_marked(elements):
        return elements
    return [
        text if isinstance(text, bytes) else text.translate(_SURROGATES).encode("utf-8", "surrogateescape")
        for text in texts
    ]


def read_texts(texts: Sequence[str]) -> Sequence[str]:
    """The texts that stand for the UTF-8 of texts from JSON."""
    return read_bytes([text.encode() for text in texts])


def write_texts(texts: Sequence[str | bytes]) -> Sequence[str]:
    """The inverse of ``read_texts``. Raises UnicodeDecodeError if a text stands for bytes that are not UTF-8."""
    return [element.decode() for element in write_bytes(texts)]
