"""The frames that the server sends, within the client's windows."""

from typing import Final

from service.transport.http2 import frames
from service.transport.http2.frames import ConnectionFault, write_frame, write_head
from service.transport.http2.streams import Stream

_MOST_FRAME_BYTES: Final = 256 << 10
"""Larger frames would save nothing and delay other streams."""


class Sender:
    """Data that exceeds a window waits in its stream, in order. A stream is over when its last frame is written.

    While the client does not read, all data waits, whatever the windows are. Otherwise nobody would know how much of
    each stream is unread.
    """

    def __init__(self, streams: dict[int, Stream]) -> None:
        self._open = streams
        self._out: list[bytes | memoryview] = []
        self._window = frames.DEFAULT_WINDOW_BYTES
        self._is_held = False  # the client does not read
        self.first_window = frames.DEFAULT_WINDOW_BYTES  # of a new stream
        self._frame_bytes = frames.LEAST_FRAME_BYTES  # the largest frame that the client takes
        self.sent = 0  # answers, and messages of streams
        self.sent_bytes = 0  # of data

    @property
    def has_output(self) -> bool:
        return bool(self._out)

    def take_output(self) -> bytes:
        """The bytes to write. They are forgotten here."""
        output = b"".join(self._out)
        self._out = []
        return output

    def write(self, frame: bytes) -> None:
        self._out.append(frame)

    def start(self, stream: Stream, block: bytes) -> None:
        """Send the header fields of an answer. Like all methods here, it does nothing for a stream that is over."""
        if stream.number in self._open:
            self._out.append(write_frame(frames.HEADERS, frames.END_HEADERS, stream.number, block))

    def send(self, stream: Stream, data: bytes) -> None:
        """Send data of an answer, now or when the windows allow it."""
        if stream.number not in self._open or not data:
            return
        self.sent += 1
        size = len(data)
        if not stream.unsent_bytes and size <= self._find_room(stream):
            stream.send_window -= size
            self._window -= size
            self.sent_bytes += size
            self._out.append(write_frame(frames.DATA, 0, stream.number, data))
            return
        stream.unsent.append(data)
        stream.unsent_bytes += size
        self._flush(stream)

    def finish(self, stream: Stream, block: bytes) -> None:
        """Send the last header fields, after all data."""
        if stream.number not in self._open:
            return
        self.sent += 1
        stream.end = write_frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.number, block)
        if not stream.received_end:  # tell the client to stop sending
            stream.end += write_reset(stream.number, frames.NO_ERROR)
        if not stream.unsent_bytes:
            self._close(stream)

    def answer(self, stream: Stream, block: bytes, data: bytes, end: bytes) -> None:
        """``start``, ``send`` and ``finish`` in one."""
        size = len(data)
        fits = 0 < size <= self._find_room(stream) and not stream.unsent_bytes
        if not fits or not stream.received_end or self._open.pop(stream.number, None) is None:
            self.start(stream, block)
            self.send(stream, data)
            self.finish(stream, end)
            return
        self.sent += 1
        self._window -= size
        self.sent_bytes += size
        number, last = stream.number, frames.END_HEADERS | frames.END_STREAM
        self._out += (
            write_head(len(block), frames.HEADERS, frames.END_HEADERS, number),
            block,
            write_head(size, frames.DATA, 0, number),
            data,
            write_head(len(end), frames.HEADERS, last, number),
            end,
        )

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once, without an answer."""
        if self._open.pop(stream.number, None) is not None:
            self._out.append(write_reset(stream.number, code))

    def grant(self, stream: Stream, size: int) -> None:
        """Let the client send ``size`` more bytes of a stream."""
        if size > 0 and stream.number in self._open and not stream.received_end:
            stream.receive_window += size
            self._out.append(write_frame(frames.WINDOW_UPDATE, 0, stream.number, size.to_bytes(4, "big")))

    # Settings and windows of the client

    def widen(self, more: int) -> None:
        """Enlarge the window of the connection. Raises ConnectionFault."""
        self._window += more
        if not more or self._window > frames.MOST_WINDOW_BYTES:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "WINDOW_UPDATE: expected a window below 2 GiB")
        self._flush_all()

    def widen_stream(self, stream: Stream, more: int) -> bool:
        """Enlarge the window of a stream. False if ``more`` is 0 or too much."""
        stream.send_window += more
        if not more or stream.send_window > frames.MOST_WINDOW_BYTES:
            return False
        self._flush(stream)
        return True

    def change_first_window(self, size: int) -> None:
        """Set the first window of each stream, which changes open streams too. Raises ConnectionFault."""
        change, self.first_window = size - self.first_window, size
        for stream in self._open.values():
            stream.send_window += change
        if max([size, *[stream.send_window for stream in self._open.values()]]) > frames.MOST_WINDOW_BYTES:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE: a window above 2 GiB")
        self._flush_all()

    def limit_frames(self, size: int) -> None:
        """Set the largest frame that the client accepts. Raises ConnectionFault."""
        if not frames.LEAST_FRAME_BYTES <= size <= frames.MOST_FRAME_BYTES:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"MAX_FRAME_SIZE: {size} is out of its range")
        self._frame_bytes = min(size, _MOST_FRAME_BYTES)

    def hold(self) -> None:
        """The client does not read: data waits."""
        self._is_held = True

    def go_on(self) -> None:
        """The client reads again."""
        self._is_held = False
        self._flush_all()

    def _find_room(self, stream: Stream) -> int:
        """How many bytes of data may be written now in one frame; 0 or less: none."""
        return 0 if self._is_held else min(stream.send_window, self._window, self._frame_bytes)

    def _flush_all(self) -> None:
        for stream in list(self._open.values()):
            self._flush(stream)

    def _flush(self, stream: Stream) -> None:
        """Send as much as the windows allow."""
        while stream.unsent:
            room = self._find_room(stream)
            if room <= 0:
                break
            data = memoryview(stream.unsent.popleft())
            if len(data) > room:
                stream.unsent.appendleft(data[room:])
                data = data[:room]
            size = len(data)
            stream.unsent_bytes -= size
            stream.flushed_bytes += size
            stream.send_window -= size
            self._window -= size
            self.sent_bytes += size
            self._out.append(write_head(size, frames.DATA, 0, stream.number))
            self._out.append(data)
        if stream.on_room is not None:
            stream.on_room()
        if stream.end and not stream.unsent:
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        self._out.append(stream.end)
        self._open.pop(stream.number, None)


def write_reset(number: int, code: int) -> bytes:
    return write_frame(frames.RST_STREAM, 0, number, code.to_bytes(4, "big"))
