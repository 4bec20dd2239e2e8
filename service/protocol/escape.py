"""Bytes as text and back: bytes that are not UTF-8 go through a model as characters that UTF-8 has.

ONNX Runtime takes and gives strings of UTF-8 only, but an element of BYTES may have any bytes. As in PEP 383 each byte
that is not part of UTF-8 becomes a character, but a valid one: byte 0x80 + k is U+10FF80 + k, one of the last 128
characters for private use. Where valid UTF-8 has these characters, each of their four bytes becomes such a character.
So every text stands for one sequence of bytes, and the bytes of joined texts are the joined bytes.
"""

from collections.abc import Sequence

_MARK = b"\xf4\x8f"
"""The UTF-8 of each of these characters begins with it. Without it there is nothing to escape."""
_FIRST, _FIRST_BYTE, _FIRST_SURROGATE = 0x10FF80, 0x80, 0xDC80
"""The character, the byte, and the surrogate of Python's "surrogateescape" for k = 0."""


_ESCAPES: dict[int, str] = {
    **{_FIRST_SURROGATE + k: chr(_FIRST + k) for k in range(128)},
    **{_FIRST + k: "".join(chr(_FIRST - _FIRST_BYTE + byte) for byte in chr(_FIRST + k).encode()) for k in range(128)},
}
_SURROGATES: dict[int, str] = {_FIRST + k: chr(_FIRST_SURROGATE + k) for k in range(128)}


def _may_be_marked(elements: Sequence[bytes]) -> bool:
    # Joined elements may have a mark that none of them has. That only costs time.
    return not all(map(bytes.isascii, elements)) and _MARK in b"".join(elements)


def read_bytes(elements: Sequence[bytes]) -> list[str]:
    """The texts that stand for any bytes; for UTF-8 almost always the texts themselves."""
    if not _may_be_marked(elements):
        try:
            return [element.decode() for element in elements]
        except UnicodeDecodeError:
            pass
    return [element.decode("utf-8", "surrogateescape").translate(_ESCAPES) for element in elements]


def write_bytes(texts: Sequence[str | bytes]) -> list[bytes]:
    """The bytes that texts stand for: the inverse of ``read_bytes``. Bytes stay as they are."""
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
    """The inverse of ``read_texts``. Raises UnicodeDecodeError for a text that stands for bytes that are not UTF-8."""
    return [element.decode() for element in write_bytes(texts)]
