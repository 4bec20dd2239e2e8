"""Content codings: bodies are inflated within limits, and answers take the coding that was asked for."""

import gzip
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BodyTooLarge, InvalidInput, UnsupportedCoding
from service.protocol.compression import CODINGS, choose_coding, deflate, inflate, read_coding

LIMIT = 2 << 20


def pack(content: bytes, coding: str) -> bytes:
    """Compress with the standard library, as well as it can."""
    return gzip.compress(content, 9) if coding == "gzip" else zlib.compress(content, 9)


@pytest.mark.parametrize("header", [b"br", b"gzip, deflate", b"zstd", b"gzip;q=1", b"\xff"])
def test_unknown_coding_is_refused_with_those_that_are_known(header: bytes) -> None:
    """A coding that we do not have, or several on top of each other, are refused by name."""
    with pytest.raises(UnsupportedCoding, match="expected gzip or deflate, or none") as caught:
        read_coding(header)
    assert caught.value.accepted == CODINGS


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda body: b"", "got one that is cut"),
        (lambda body: body[:-1], "got one that is cut"),
        (lambda body: b"{}", "got something else"),
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), "got something else"),
        (lambda body: body + b"x", "got 1 bytes after it"),
        (lambda body: body + body, "bytes after it"),
        (lambda body: body + bytes(1 << 20), "got 1048576 bytes after it"),
    ],
)
def test_damaged_body_is_refused(coding: str, harm: object, complaint: str) -> None:
    """A body that is cut, changed, not compressed or followed by more bytes is refused."""
    assert callable(harm)
    with pytest.raises(InvalidInput, match=complaint):
        inflate(harm(pack(b"hello " * 1000, coding)), coding, LIMIT)


def test_other_coding_than_named_is_refused() -> None:
    """Deflate means zlib's format: gzip and the bare stream are refused."""
    bare = zlib.compressobj(wbits=-15)
    for body, coding in ((pack(b"a", "gzip"), "deflate"), (pack(b"a", "deflate"), "gzip")):
        with pytest.raises(InvalidInput, match="got something else"):
            inflate(body, coding, LIMIT)
    with pytest.raises(InvalidInput, match=r"got something else|is cut"):
        inflate(bare.compress(b"a" * 100) + bare.flush(), "deflate", LIMIT)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("size", "max_bytes"), [(1025, 1024), (1 << 20, 1024), (LIMIT + 1, LIMIT)])
def test_body_beyond_the_limit_is_refused(coding: str, size: int, max_bytes: int) -> None:
    """The limit counts the bytes after inflation exactly."""
    content = random.Random(0).randbytes(size)
    with pytest.raises(BodyTooLarge, match=f"expected at most {max_bytes} bytes when inflated, got more$"):
        inflate(deflate([content], coding), coding, max_bytes)
    assert inflate(deflate([content[:max_bytes]], coding), coding, max_bytes) == content[:max_bytes]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [LIMIT, 16 * LIMIT])
def test_no_more_memory_is_taken_than_the_limit(coding: str, size: int) -> None:
    """Inflation takes little more memory than the limit, whatever the size of the content."""
    packed = pack(bytes(size), coding)
    tracemalloc.start()
    try:
        if size > LIMIT:
            with pytest.raises(BodyTooLarge, match=f"expected at most {LIMIT} bytes when inflated"):
                inflate(packed, coding, LIMIT)
        else:
            assert len(inflate(packed, coding, LIMIT)) == size
        assert tracemalloc.get_traced_memory()[1] < LIMIT * 5 // 4 + (1 << 18)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", CODINGS)
@settings(deadline=None, max_examples=50)
@given(chunks=st.lists(st.binary(max_size=200), max_size=4), repeat=st.integers(1, 500))
def test_what_is_deflated_inflates_again(coding: str, chunks: list[bytes], repeat: int) -> None:
    """Chunks of any size come back joined; the standard library reads them too."""
    content = b"".join(chunks) * repeat
    body = deflate([*chunks * repeat], coding)
    assert inflate(memoryview(body), coding, LIMIT) == content
    assert (gzip.decompress(body) if coding == "gzip" else zlib.decompress(body)) == content


@pytest.mark.parametrize(
    ("header", "coding"),
    [(b"gzip", "gzip"), (b" GZIP ", "gzip"), (b"deflate", "deflate"), (b"identity", None), (b"", None)],
)
def test_coding_is_read_in_any_case(header: bytes, coding: str | None) -> None:
    """Upper and lower case of a coding's name are the same, and identity is no coding."""
    assert read_coding(header) == coding


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (b"", None),
        (b"*", None),
        (b"br", None),
        (b"gzip", "gzip"),
        (b"gzip, deflate, br, zstd", "gzip"),
        (b"deflate, gzip", "deflate"),
        (b"gzip;q=0.5, deflate;q=0.8", "deflate"),
        (b"gzip;q=0.5,deflate; q=0.500", "gzip"),
        (b"gzip;q=0", None),
        (b"gzip;q=0, deflate", "deflate"),
        (b"identity, gzip", None),
        (b"gzip, identity", "gzip"),
        (b"identity;q=0.5, gzip;q=0.4", None),
        (b"identity;q=0, *;q=0", None),
        (b"GZip ; Q=1.000", "gzip"),
        (b"gzip;q=2", None),
        (b"gzip;q=nan, deflate;q=0.1", "deflate"),
        (b"gzip;level=9", None),
        (b";;,,=,q", None),
        (b"\xff\xfe", None),
    ],
)
def test_answer_takes_the_coding_of_the_highest_weight(accept: bytes, coding: str | None) -> None:
    """The highest weight wins, and of equal weights the first; unknown codings and bad weights do not count."""
    assert choose_coding(accept) == coding
