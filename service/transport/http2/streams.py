"""What a connection and its calls know of each other."""

import abc
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mypy_extensions import mypyc_attr

from service.transport.http2.fields import Fields

STREAM_WINDOW_BYTES: Final = 64 << 10
"""So much of a call the client may send before it is given more room."""


class Stream:
    """A call of the client. ``owner`` is what answers it."""

    def __init__(self, number: int, send_window: int) -> None:
        self.number = number
        self.owner: Any = None
        self.receive_window = STREAM_WINDOW_BYTES
        self.send_window = send_window
        self.received_end = False
        self.unsent: deque[bytes | memoryview] = deque()
        self.unsent_bytes = 0
        self.on_room: Callable[[], None] | None = None  # called when the client has taken some of what is unsent
        self.flushed_bytes = 0  # of data that had to wait
        self.seen_bytes, self.moved_at = 0, 0.0  # when these were looked at last, and when they had changed
        self.end = b""  # the frames that end the stream, behind all else; empty: not yet


@mypyc_attr(allow_interpreted_subclasses=True)
class Streams(abc.ABC):
    """What answers the streams of a connection."""

    @abc.abstractmethod
    def parse(self, fields: Fields) -> object:
        """The header fields of a call as ``begin`` gets them. The result may be used for several calls."""

    @abc.abstractmethod
    def begin(self, stream: Stream, head: Any) -> None:
        """A call begins."""

    @abc.abstractmethod
    def take(self, stream: Stream, data: bytes) -> None:
        """Data of a call, or its end. ``stream.received_end``: there will be no more."""

    @abc.abstractmethod
    def drop(self, stream: Stream) -> None:
        """The client has given a call up, or has broken the rules in it. Nothing more can be sent."""
