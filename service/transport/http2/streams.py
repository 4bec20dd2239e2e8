"""The interface between a connection and its calls."""

import abc
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mypy_extensions import mypyc_attr

from service.transport.http2.fields import Fields

STREAM_WINDOW_BYTES: Final = 64 << 10
"""How much of a call the client may send before it is granted more."""


class Stream:
    """A call of the client. ``owner`` answers it."""

    def __init__(self, number: int, send_window: int) -> None:
        self.number = number
        self.owner: Any = None
        self.receive_window = STREAM_WINDOW_BYTES
        self.send_window = send_window
        self.received_end = False
        self.unsent: deque[bytes | memoryview] = deque()
        self.unsent_bytes = 0
        self.on_room: Callable[[], None] | None = None  # called after some unsent data was sent
        self.flushed_bytes = 0  # sent of the data that had to wait
        self.seen_bytes, self.moved_at = 0, 0.0  # ``flushed_bytes`` at the last check, and when it last changed
        self.end = b""  # the frames that end the stream, after all data; empty: not known yet


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamHandler(abc.ABC):
    """Answers the streams of a connection."""

    @abc.abstractmethod
    def parse(self, fields: Fields) -> object:
        """Parse the header fields of a call for ``begin``. The result may be used for several calls."""

    @abc.abstractmethod
    def begin(self, stream: Stream, head: Any) -> None:
        """A call begins."""

    @abc.abstractmethod
    def take(self, stream: Stream, data: bytes) -> None:
        """Take data of a call, or its end. ``stream.received_end``: no more will follow."""

    @abc.abstractmethod
    def drop(self, stream: Stream) -> None:
        """The client has cancelled a call, or broken the rules in it. Nothing more can be sent."""
