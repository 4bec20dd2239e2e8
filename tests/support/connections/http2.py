"""The client's side of HTTP/2 frame by frame, for tests that break its rules or go to their limits."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hpack import Decoder, Encoder

from service.transport.http2 import frames
from service.transport.http2.fields import Fields, write_field
from service.transport.http2.frames import PREFACE, write_frame, write_settings
from service.transport.http2.streams import Stream, StreamHandler

BLOCK = write_field(b"a", b"b")
INFER_PATH = b"/inference.GRPCInferenceService/ModelInfer"


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def read_frames(data: bytes) -> Iterator[Frame]:
    """Raises AssertionError if the data end within a frame."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        begin = at + frames.HEAD_BYTES
        assert begin + size <= len(data), "a frame that is cut off"
        stream = int.from_bytes(data[at + 5 : begin], "big")
        yield Frame(data[at + 3], data[at + 4], stream, data[begin : begin + size])
        at = begin + size


class Client:
    """Writes the frames of one connection."""

    def __init__(self) -> None:
        self._encoder, self.decoder = Encoder(), Decoder()

    def hello(self, settings: dict[int, int] | None = None) -> bytes:
        """What a connection begins with."""
        return PREFACE + write_frame(frames.SETTINGS, 0, 0, write_settings(settings or {}))

    def block(self, path: bytes = INFER_PATH, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
        """The header block of a call."""
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"test"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *more,
        ]
        return bytes(self._encoder.encode(fields))

    def call(self, stream: int, path: bytes = INFER_PATH, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
        """The frame that begins a call."""
        return write_frame(frames.HEADERS, frames.END_HEADERS, stream, self.block(path, more))

    @staticmethod
    def data(stream: int, content: bytes, *, ends: bool = True) -> bytes:
        return write_frame(frames.DATA, frames.END_STREAM if ends else 0, stream, content)


class Calls(StreamHandler):
    """Notes what a connection tells."""

    def __init__(self) -> None:
        self.begun: list[Fields] = []
        self.streams: dict[int, Stream] = {}
        self.data: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.dropped: list[int] = []

    def parse(self, fields: Fields) -> object:
        return fields

    def begin(self, stream: Stream, head: Fields) -> None:
        self.begun.append(head)
        self.streams[stream.number] = stream

    def take(self, stream: Stream, data: bytes) -> None:
        self.data[stream.number] = self.data.get(stream.number, b"") + data
        if stream.received_end:
            self.ended.append(stream.number)

    def drop(self, stream: Stream) -> None:
        self.dropped.append(stream.number)
