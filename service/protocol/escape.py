"""Bytes as text and back: what is not UTF-8 travels through a model as characters that UTF-8 can carry.

ONNX Runtime takes and gives strings of UTF-8 only, while an element of BYTES may be any bytes. As in PEP 383 each byte
that is not part of UTF-8 becomes a character of its own, but one that is no surrogate: byte 0x80 + k is U+10FF80 + k,
one of the last 128 characters for private use. Where these themselves are in valid UTF-8, their four bytes become four
such characters. So every text stands for one sequence of bytes, every sequence of bytes comes back as it was, and the
bytes of texts that a model joins are joined.
"""

from collections.abc import Sequence

_MARK = b"\xf4\x8f"
"""What begins the UTF-8 of each of these characters, and of few others: without it there is nothing to escape."""
_FIRST, _FIRST_BYTE, _NUMBER = 0x10FF80, 0x80, 128
_FIRST_SURROGATE = 0xDC80
"""What Python's "surrogateescape" has for the byte 0x80."""


def _escape(content: bytes) -> str:
    return "".join(chr(_FIRST - _FIRST_BYTE + byte) for byte in content)


_ESCAPES: dict[int, str] = {
    **{_FIRST_SURROGATE + k: chr(_FIRST + k) for k in range(_NUMBER)},
    **{_FIRST + k: _escape(chr(_FIRST + k).encode()) for k in range(_NUMBER)},
}
_SURROGATES: dict[int, str] = {_FIRST + k: chr(_FIRST_SURROGATE + k) for k in range(_NUMBER)}


def read_bytes(elements: Sequence[bytes]) -> list[str]:
    """The texts that stand for any bytes; of UTF-8 almost always the texts themselves."""
    if all(map(bytes.isascii, elements)) or _MARK not in b"".join(elements):
        try:
            return [element.decode() for element in elements]
        except UnicodeDecodeError:
            pass
    return [element.decode("utf-8", "surrogateescape").translate(_ESCAPES) for element in elements]


def write_bytes(texts: Sequence[str | bytes]) -> list[bytes]:
    """The bytes that texts stand for: the inverse of ``read_bytes``. What is bytes already stays as it is."""
    elements = [text if isinstance(text, bytes) else text.encode() for text in texts]
    # Joined, elements may make a mark that is in none of them: that only costs time.
    if all(map(bytes.isascii, elements)) or _MARK not in b"".join(elements):
        return elements
    return [
        text if isinstance(text, bytes) else text.translate(_SURROGATES).encode("utf-8", "surrogateescape")
        for text in texts
    ]


def read_texts(texts: Sequence[str]) -> Sequence[str]:
    """The texts that stand for the UTF-8 of texts, as they come in JSON."""
    return read_bytes([text.encode() for text in texts])


def write_texts(texts: Sequence[str | bytes]) -> Sequence[str]:
    """The inverse of ``read_texts``. Raises UnicodeDecodeError for one that stands for bytes that are not UTF-8."""
    return [element.decode() for element in write_bytes(texts)]
