"""Header blocks: read once, and again when their meaning has changed."""

import pytest
from hpack import Decoder, Encoder

from service.transport.http2 import frames
from service.transport.http2.connection import Connection
from service.transport.http2.fields import FieldReader, Fields, write_field
from service.transport.http2.frames import write_frame
from tests.support.connections.http2 import Calls, Client, read_frames

FIELDS = ((b":path", b"/a"), (b"x", b"1"))


def reader() -> tuple[FieldReader[Fields], list[Fields]]:
    parsed: list[Fields] = []

    def parse(fields: Fields) -> Fields:
        parsed.append(fields)
        return fields

    return FieldReader(parse), parsed


def test_same_block_is_parsed_once() -> None:
    """A client's block is known from its third time on: the first fills the table, the second is short."""
    made, parsed = reader()
    encoder = Encoder()
    for _ in range(5):
        assert made.read(encoder.encode(FIELDS)) == FIELDS
    assert len(parsed) == 2


def test_block_means_something_else_when_the_table_has_changed() -> None:
    """The same bytes are read anew after an entry was added, also if the table was full and has as many as before."""
    made, _ = reader()
    encoder = Encoder()
    encoder.header_table_size = 100
    made.read(encoder.encode([(b"k", b"%060d" % 0)]))  # the table has room for one entry
    newest = b"\xbe"
    for number in range(1, 20):
        assert made.read(newest) == ((b"k", b"%060d" % (number - 1)),)
        made.read(encoder.encode([(b"k", b"%060d" % number)]))


def test_few_blocks_are_kept() -> None:
    """A client cannot fill the memory with blocks that differ."""
    made, _ = reader()
    for number in range(1000):
        made.read(write_field(b"x", b"%d" % number))
    assert len(made._known) <= 64


def test_long_blocks_are_not_kept() -> None:
    """A client cannot fill the memory with a few long blocks either."""
    made, _ = reader()
    for number in range(10):
        made.read(write_field(b"x", b"%0900d" % number) * 2)
    assert not made._known


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 300, 20_000])
def test_written_field_is_read_by_others(size: int) -> None:
    """Another library reads a literal of any length."""
    decoder = Decoder(max_header_list_size=1 << 20)
    assert decoder.decode(write_field(b"n" * max(1, size % 200), b"v" * size), raw=True) == [
        (b"n" * max(1, size % 200), b"v" * size)
    ]


@pytest.mark.parametrize(
    "fields",
    [
        [(b":path", b"/a"), (b":path", b"/b")],
        [(b":path", b"/a"), (b"x", b"1"), (b":method", b"POST")],
        [(b":path", b"/a"), (b":protocol", b"websocket")],
        [(b":path", b"/a"), (b":status", b"200")],
        [(b":path", b"/a"), (b"X-Request-Id", b"1")],
        [(b":path", b"/a"), (b"transfer-encoding", b"chunked")],
        [(b":path", b"/a"), (b"te", b"gzip")],
    ],
)
def test_malformed_fields_reset_their_stream(fields: list[tuple[bytes, bytes]]) -> None:
    """Fields that readers could understand in two ways are refused, each time; the connection goes on."""
    calls, client = Calls(), Client()
    made = Connection(calls)
    made.receive(client.hello())
    made.sender.take_output()
    block = b"".join(write_field(*field) for field in fields)
    for number in (1, 3):
        made.receive(write_frame(frames.HEADERS, frames.END_HEADERS, number, block))
        code = frames.PROTOCOL_ERROR.to_bytes(4, "big")
        assert list(read_frames(made.sender.take_output())) == [(frames.RST_STREAM, 0, number, code)]
    assert not calls.begun
    made.receive(client.call(5))
    made.receive(write_frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 5, block))
    assert calls.dropped == [5]
