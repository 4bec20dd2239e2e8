"""HTTP/1.1 messages whose end two servers may see in different places. RFC 9112; PortSwigger's and others' lists.

A case is bytes: a message that is malformed, ambiguous or only unusual, and after it a plain request that asks to close
the connection. A reader that takes the body for longer or shorter reads the second request differently.
"""

from collections.abc import Iterator
from typing import NamedTuple

BODY = b"HELLO"
CHUNKS = b"5\r\nHELLO\r\n0\r\n\r\n"


class Case(NamedTuple):
    """``make`` writes the targets of the two requests: the first ends with ``a``, the second with ``b``."""

    name: str
    head: bytes
    body: bytes

    def make(self, target: bytes) -> bytes:
        """The bytes, with ``target`` in place of every ``@``, followed by ``a`` or ``b``."""
        end = b"POST @b HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        return (self.head + b"\r\n" + self.body + end).replace(b"@", target)


LINE = b"POST @a HTTP/1.1\r\n"
HOST = b"Host: t\r\n"


def all_cases() -> list[Case]:
    return [*_lengths(), *_codings(), *_chunks(), *_lines(), *_fields(), *_hosts(), *_methods()]


def _lengths() -> Iterator[Case]:
    values = (b"5", b"+5", b"-5", b"05", b"  5", b"5 ", b"\t5", b"5,5", b"5, 5", b"5,6", b"5;", b"0x5", b"5.0", b"5e0")
    values += (b"", b"5 5", b"\xd9\xa5", b"5\x00", b"\x0b5", b"99999999999999999999", b"18446744073709551621", b"five")
    for value in values:
        yield Case(f"length {value!r}", LINE + HOST + b"Content-Length: " + value + b"\r\n", BODY)
    for first, second in ((b"5", b"5"), (b"5", b"6"), (b"0", b"5"), (b"5", b"0"), (b"5", b"05"), (b"5", b"x")):
        twice = b"Content-Length: " + first + b"\r\ncontent-length: " + second + b"\r\n"
        yield Case(f"lengths {first!r} and {second!r}", LINE + HOST + twice, BODY)
    names = (b"Content-Length :", b"Content-Length\t:", b" Content-Length:", b"Content_Length:", b"Content-Length\x00:")
    names += (b"\x0bContent-Length:", b"Content-Length;", b"Content Length:", b"Content-Length\xa0:")
    for name in names:
        yield Case(f"length named {name!r}", LINE + HOST + name + b" 5\r\n", BODY)
        yield Case(f"length named {name!r}, and 0", LINE + HOST + b"Content-Length: 0\r\n" + name + b" 5\r\n", BODY)
    yield Case("length folded", LINE + HOST + b"Content-Length:\r\n 5\r\n", BODY)
    yield Case("length continued", LINE + HOST + b"Content-Length: 5\r\n 6\r\n", BODY)
    yield Case("length behind a fold", LINE + HOST + b"X: a\r\n Content-Length: 5\r\n", BODY)
    yield Case("no length", LINE + HOST, BODY)
    yield Case("no length, no body", LINE + HOST, b"")


def _codings() -> Iterator[Case]:
    values = (
        b"chunked", b"Chunked", b"xchunked", b"chunkedx", b"chunked,", b",chunked", b"chunked, identity", b"identity",
        b"identity, chunked", b"gzip, chunked", b"chunked, gzip", b"chunked chunked", b"\tchunked", b"chunked, chunked",
        b"chunked\x0b", b"\x0cchunked", b'"chunked"', b"chunked;q=1", b"cow", b"", b"chunked\x00", b"\x00chunked",
        b"chunk", b"chunked\t", b"CHUNKED", b"ch\xc5\xabnked",
    )  # fmt: skip
    for value in values:
        field = b"Transfer-Encoding: " + value + b"\r\n"
        yield Case(f"coding {value!r}", LINE + HOST + field, CHUNKS)
        yield Case(f"coding {value!r} and a length", LINE + HOST + field + b"Content-Length: 5\r\n", CHUNKS)
    for extra in (b"chunked", b"identity", b"x", b""):
        twice = b"Transfer-Encoding: chunked\r\nTransfer-Encoding: " + extra + b"\r\n"
        yield Case(f"codings chunked and {extra!r}", LINE + HOST + twice, CHUNKS)
        twice = b"Transfer-Encoding: " + extra + b"\r\nTransfer-Encoding: chunked\r\n"
        yield Case(f"codings {extra!r} and chunked", LINE + HOST + twice, CHUNKS)
    length = b"Content-Length: 15\r\n"
    fields = (
        b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b"Transfer_Encoding: chunked",
        b" Transfer-Encoding: chunked", b"Transfer-Encoding\r\n : chunked", b"Transfer-Encoding:\r\n chunked",
        b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked",
        b"X: y\r\r\nTransfer-Encoding: chunked", b"\x0bTransfer-Encoding: chunked", b"X:\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\n x", b"Transfer-Encoding:chunked", b"Transfer-Encoding:\x0bchunked",
    )  # fmt: skip
    for field in fields:
        yield Case(f"{field!r} and a length", LINE + HOST + length + field + b"\r\n", CHUNKS)
    coding = b"Transfer-Encoding: chunked\r\n"
    yield Case("coding and a length that is none", LINE + HOST + b"Content-Length: x\r\n" + coding, CHUNKS)
    yield Case("coding in HTTP/1.0", b"POST @a HTTP/1.0\r\n" + HOST + coding, CHUNKS)
    yield Case("coding in HTTP/1.0, kept", b"POST @a HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + coding, CHUNKS)
    yield Case("coding and length in HTTP/1.0", b"POST @a HTTP/1.0\r\n" + HOST + coding + length, CHUNKS)
    yield Case("coding of the connection", LINE + HOST + b"Connection: transfer-encoding\r\n" + coding, CHUNKS)
    yield Case("length of the connection", LINE + HOST + b"Connection: content-length\r\nContent-Length: 5\r\n", BODY)
    yield Case(
        "upgrade with a length", LINE + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", BODY
    )
    yield Case("upgrade in chunks", LINE + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + coding, CHUNKS)


def _chunks() -> Iterator[Case]:
    head = LINE + HOST + b"Transfer-Encoding: chunked\r\n"
    sizes = (
        b"5", b"05", b"0" * 20 + b"5", b"0x5", b"+5", b"-5", b" 5", b"5 ", b"5\t", b"\t5", b"5_", b"5g", b"", b"5;",
        b"5;a", b"5;a=b", b'5;a="b;c"', b'5;a="\r\nb"', b"5;a\nb", b"5;a\rb", b"5 ;a", b"5;\x00", b"5,", b"5.0", b";",
        b"FFFFFFFFFFFFFFFF5", b"10000000000000005", b"100000005", b"\xd9\xa5", b"5\x00", b"5\x0b",
        b"5;" + b"a" * 20_000,
    )  # fmt: skip
    for size in sizes:
        yield Case(f"chunk of size {size[:30]!r}", head, size + b"\r\nHELLO\r\n0\r\n\r\n")
    ends = (
        b"5\nHELLO\n0\n\n", b"5\r\nHELLO\n0\r\n\r\n", b"5\nHELLO\r\n0\r\n\r\n", b"5\r\nHELLO0\r\n\r\n",
        b"5\r\nHELLO\r0\r\n\r\n", b"5\r\nHELLO!\r\n0\r\n\r\n", b"5\r\nHELLO\r\n0\n\r\n", b"5\r\nHELLO\r\n0\r\n\n",
        b"5\r\nHELLO\r\n00\r\n\r\n", b"5\rHELLO\r\n0\r\n\r\n", b"5\r\nHELLO\r\n0;a\r\n\r\n",
        b"5\r\nHELLO\r\n0 \r\n\r\n", b"5\r\nHELLO\r\n-0\r\n\r\n", b"5\r\nHELLO\r\n\r\n0\r\n\r\n", b"5\r\nHELL",
        b"0\r\n", b"5\r\nHELLO\r\n0\r\r\n\r\n", b"5\r\r\nHELLO\r\n0\r\n\r\n",
    )  # fmt: skip
    for end in ends:
        yield Case(f"chunks {end!r}", head, end)
    trailers = (
        b"X: y", b"Content-Length: 7", b"Transfer-Encoding: chunked", b"Host: u", b"X : y", b"X", b": y", b"X: y\n",
        b"X:\r\n y", b" X: y", b"X: \x00", b"X: y\nZ: w", b"X: " + b"a" * 70_000,
    )  # fmt: skip
    for trailer in trailers:
        yield Case(f"trailer {trailer[:30]!r}", head, b"5\r\nHELLO\r\n0\r\n" + trailer + b"\r\n\r\n")


def _lines() -> Iterator[Case]:
    lines = (
        b"POST  @a HTTP/1.1", b"POST\t@a\tHTTP/1.1", b"POST @a  HTTP/1.1", b"POST @a HTTP/1.1 ", b" POST @a HTTP/1.1",
        b"\r\nPOST @a HTTP/1.1", b"\nPOST @a HTTP/1.1", b"post @a HTTP/1.1", b"PO ST @a HTTP/1.1", b"POST @a",
        b"POST @a HTTP/1.2", b"POST @a HTTP/1.01", b"POST @a HTTP/01.1", b"POST @a HTTP/2.0", b"POST @a HTTP/0.9",
        b"POST @a HTTP/11", b"POST @a HTTP/1.1x", b"POST @a http/1.1", b"POST @a HTTP/1", b"POST @a HTTP /1.1",
        b"POST @a HTTP/3.0", b"POST @a XTTP/1.1", b"POST @a\x00 HTTP/1.1", b"POST @a\x7f HTTP/1.1",
        b"POST @a\xc3 HTTP/1.1", b"POST @a#x HTTP/1.1", b"POST http://t@a HTTP/1.1", b"POST http://u@a HTTP/1.1",
        b"POST HTTP://t@a HTTP/1.1", b"POST ://t@a HTTP/1.1", b"POST x:1 HTTP/1.1", b"CONNECT t:80 HTTP/1.1",
        b"POST @a?x=\t HTTP/1.1", b"POST@a HTTP/1.1", b"P\x00ST @a HTTP/1.1", b"POST @a HTTP/1.1\r", b"GET @a",
        b"POST @a\x0bHTTP/1.1", b"PRI * HTTP/2.0",
    )  # fmt: skip
    for line in lines:
        yield Case(f"line {line!r}", line + b"\r\n" + HOST + b"Content-Length: 5\r\n", BODY)
    whole = LINE + HOST + b"Content-Length: 5\r\n"
    yield Case("lines ended by LF", whole.replace(b"\r\n", b"\n"), BODY)
    yield Case("first line ended by LF", whole.replace(b"\r\n", b"\n", 1), BODY)
    yield Case("lines ended by CR", whole.replace(b"\r\n", b"\r"), BODY)
    yield Case("header ended by LF", whole[:-2] + b"\n", BODY)
    yield Case("HTTP/1.0", whole.replace(b"1.1", b"1.0"), BODY)
    yield Case("HTTP/1.0, kept", whole.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n", BODY)


def _fields() -> Iterator[Case]:
    fields = (
        b"X : y", b"X\t: y", b"X", b": y", b" X: y", b"\tX: y", b"X: y\x00z", b"X\x00: y", b"X: y\rz", b"X: \xff",
        b"X: a\r\n b", b"X: a\r\n\tb", b"X:\r\n \r\n y", b" ", b"X(: y", b"X Y: z", b"X: y\x7f", b"X: y\x01",
        b"X\xff: y", b"X:y\n z", b"Connection: close, keep-alive", b"Connection:", b"Expect: 100-continue",
        b"Expect: x", b"X:", b"Expect: 100-continue, x", b"Content-Length", b"Transfer-Encoding", b"X\r: y",
        b"X: y\r\r\n", b"\x00", b"X=y",
    )  # fmt: skip
    for field in fields:
        yield Case(f"field {field!r}", LINE + HOST + field + b"\r\nContent-Length: 5\r\n", BODY)
    yield Case("space before the first field", LINE + b" X: y\r\n" + HOST + b"Content-Length: 5\r\n", BODY)


def _hosts() -> Iterator[Case]:
    hosts = (
        b"", b"Host: t\r\nHost: t\r\n", b"Host: t\r\nHost: u\r\n", b"Host: t, u\r\n", b"Host:\r\n", b"Host: t u\r\n",
        b"Host: x:y@t\r\n", b"Host: t/a\r\n", b"Host: t\r\n u\r\n", b"Host: t\x00\r\n", b"Host : t\r\n",
        b" Host: t\r\n",
    )  # fmt: skip
    for host in hosts:
        yield Case(f"host {host!r}", LINE + host + b"Content-Length: 5\r\n", BODY)
    yield Case("no host in HTTP/1.0", b"POST @a HTTP/1.0\r\nContent-Length: 5\r\n", BODY)


def _methods() -> Iterator[Case]:
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"TRACE", b"FOO"):
        line = method + b" @a HTTP/1.1\r\n"
        yield Case(f"{method!r} with a length", line + HOST + b"Content-Length: 5\r\n", BODY)
        yield Case(f"{method!r} in chunks", line + HOST + b"Transfer-Encoding: chunked\r\n", CHUNKS)
