"""Frames of HTTP/2: their numbers, and how they are written. RFC 9113, sections 4, 6 and 7."""

from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

DEFAULT_WINDOW_BYTES: Final = 65_535
LEAST_FRAME_BYTES: Final = 16_384
MOST_FRAME_BYTES: Final = (1 << 24) - 1
MOST_WINDOW_BYTES: Final = (1 << 31) - 1


class ConnectionFault(Exception):
    """The client has broken the protocol or asks too much: the connection must end. ``code`` goes into GOAWAY."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def write_head(size: int, kind: int, flags: int, stream: int) -> bytes:
    """The bytes before the payload of a frame."""
    return (size << 48 | kind << 40 | flags << 32 | stream).to_bytes(HEAD_BYTES, "big")


def write_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of at most 16 MiB."""
    return write_head(len(payload), kind, flags, stream) + payload


def write_settings(values: dict[int, int]) -> bytes:
    """The payload of a SETTINGS frame."""
    return b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values.items())
