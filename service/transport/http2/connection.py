"""The server's side of an HTTP/2 connection: bytes in; calls of ``StreamHandler`` and bytes out. No socket, no clock.

Rules
- A stream is open until both sides have ended it or one has reset it. Data for a stream that is over is counted for
  flow control and dropped.
- A client may send ``STREAM_WINDOW_BYTES`` of a stream. More needs a grant. The window of the connection is refilled as
  bytes arrive: memory is limited by the windows of the streams and by their number.
- Data that exceeds the client's windows waits in its stream.
- "Idle" frames cost the client nothing and us something: PING, SETTINGS, RST_STREAM, PRIORITY, WINDOW_UPDATE and empty
  DATA. Each answer, and each kilobyte that is sent, allows some more of them. Too many end the connection.
- ``begin_leaving`` asks the client to begin no more streams. Streams that it sent before it knew are still served.
  After ``go_away`` new streams are ignored: the client knows that it may send them again elsewhere.
- A fault in a stream resets it. All others raise ConnectionFault, after which only ``sender`` may be used.
"""

from typing import Any, Final

from service.transport.http2 import frames
from service.transport.http2.fields import MAX_LIST_BYTES, FieldReader, long_headers
from service.transport.http2.frames import ConnectionFault, write_frame
from service.transport.http2.sender import Sender, write_reset
from service.transport.http2.streams import STREAM_WINDOW_BYTES, Stream, StreamHandler

MAX_STREAMS: Final = 256
_WINDOW_BYTES: Final = 32 << 20
_FRAME_BYTES: Final = 256 << 10
"""The largest frame that is accepted. The least that the standard allows would cost time for large tensors."""
_MOST_IDLE_FRAMES: Final = 1000
"""How many idle frames may arrive in excess of those that answers have allowed."""
_FRAMES_FOR_ANSWER: Final = 16
_BYTES_FOR_FRAME: Final = 1 << 10
"""What allows idle frames: a client that reads a large answer sends two WINDOW_UPDATEs for each part of it."""
_LEAVING: Final = b"leaving\0"


class Connection:
    """Call ``receive`` with bytes, answer by ``sender``, then write what ``sender.take_output`` returns."""

    def __init__(self, streams: StreamHandler) -> None:
        self._streams = streams
        self._reader: FieldReader[Any] = FieldReader(streams.parse)
        self.open: dict[int, Stream] = {}
        self.sender = Sender(self.open)
        self._buffer = b""
        self._has_preface = False
        self._last = 0  # the highest number of the client's streams
        self._block: list[bytes] = []  # a header block that continues in CONTINUATION
        self._block_bytes = 0
        self._block_of = 0
        self._block_ends = False
        self._window = _WINDOW_BYTES
        self._idle_frames = 0
        self._earned = 0  # idle frames that answers have allowed so far
        self.is_leaving = False
        self.has_settings = False
        settings = {
            frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            frames.MAX_FRAME_SIZE: _FRAME_BYTES,
            frames.MAX_HEADER_LIST_SIZE: MAX_LIST_BYTES,
        }
        self.sender.write(write_frame(frames.SETTINGS, 0, 0, frames.write_settings(settings)))
        self._fill_window(frames.DEFAULT_WINDOW_BYTES)

    def _fill_window(self, left: int) -> None:
        more = _WINDOW_BYTES - left
        self._window = _WINDOW_BYTES
        self.sender.write(write_frame(frames.WINDOW_UPDATE, 0, 0, more.to_bytes(4, "big")))

    def receive(self, data: bytes) -> None:
        """Raises ConnectionFault."""
        if self._buffer:
            data = self._buffer + data
        at, end = 0, len(data)
        if not self._has_preface:
            if end < len(frames.PREFACE) and frames.PREFACE.startswith(data):
                self._buffer = data
                return
            if not data.startswith(frames.PREFACE):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "expected HTTP/2 with prior knowledge")
            self._has_preface = True
            at = len(frames.PREFACE)
        while end - at >= frames.HEAD_BYTES:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if size > _FRAME_BYTES:
                raise ConnectionFault(
                    frames.FRAME_SIZE_ERROR, f"expected a frame of at most {_FRAME_BYTES} bytes, got {size}"
                )
            begin = at + frames.HEAD_BYTES
            if end - begin < size:
                break
            stream = (data[at + 5] & 127) << 24 | data[at + 6] << 16 | data[at + 7] << 8 | data[at + 8]
            self._take_frame(data[at + 3], data[at + 4], stream, data[begin : begin + size])
            at = begin + size
        self._buffer = data[at:]

    def _take_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block_of and (kind != frames.CONTINUATION or number != self._block_of):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "expected the rest of a header block")
        if not self.has_settings and kind != frames.SETTINGS:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "expected SETTINGS first")
        if kind == frames.DATA:
            self._take_data(flags, number, payload)
        elif kind == frames.HEADERS:
            self._take_headers(flags, number, payload)
        elif kind == frames.CONTINUATION:
            self._take_continuation(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._take_window(number, payload)
        elif kind == frames.SETTINGS:
            self._take_settings(flags, number, payload)
        elif kind == frames.PING:
            self._take_ping(flags, number, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(number, payload)
        elif kind == frames.PRIORITY:
            self._count_idle()
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a client must not push")
        else:  # GOAWAY, and frames of extensions, which are to be ignored
            self._count_idle()

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)  # padding counts too
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more data than the window of the connection")
        if self._window < _WINDOW_BYTES // 2:
            self._fill_window(self._window)
        stream = self.open.get(number)
        if stream is None:
            if number > self._last or number % 2 == 0:
                raise ConnectionFault(frames.PROTOCOL_ERROR, f"data of stream {number}, which has not begun")
            if not size:
                self._count_idle()
            return  # it was reset
        if stream.received_end:
            self._fail(stream, frames.STREAM_CLOSED)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            self._fail(stream, frames.FLOW_CONTROL_ERROR)
            return
        if flags & frames.PADDED:
            padded = payload[0] if payload else 0
            if padded >= size:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "more padding than there is room for")
            payload = payload[1 : size - padded]
            self.sender.grant(stream, size - len(payload))
        if flags & frames.END_STREAM:
            stream.received_end = True
        elif not payload:
            self._count_idle()
            return
        self._streams.take(stream, payload)

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        begin, end = 0, len(payload)
        if flags & frames.PADDED:
            begin, end = 1, end - (payload[0] if payload else 0)
        if flags & frames.PRIORITIZED:
            begin += 5
        if begin > end or number % 2 == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"headers that cannot be read, of stream {number}")
        block = payload[begin:end] if begin or end < len(payload) else payload
        self._block_ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._begin(number, block)
            return
        self._block, self._block_bytes, self._block_of = [], 0, number
        self._add_block(block)

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if not self._block_of:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "the rest of a header block that has not begun")
        self._count_idle()
        self._add_block(payload)
        if flags & frames.END_HEADERS:
            self._block_of = 0
            self._begin(number, b"".join(self._block))

    def _add_block(self, part: bytes) -> None:
        self._block.append(part)
        self._block_bytes += len(part)
        if self._block_bytes > MAX_LIST_BYTES:
            raise long_headers()

    def _begin(self, number: int, block: bytes) -> None:
        if len(block) > MAX_LIST_BYTES:
            raise long_headers()
        head = self._reader.read(block)  # in any case: later blocks build on it
        stream = self.open.get(number)
        if stream is not None:  # trailers, which calls do not use
            if head is None or not self._block_ends or stream.received_end:
                self._fail(stream, frames.PROTOCOL_ERROR)
                return
            stream.received_end = True
            self._streams.take(stream, b"")
            return
        if number <= self._last:
            self._count_idle()
            return  # it was reset
        self._last = number
        if self.is_leaving:
            return
        if head is None or len(self.open) >= MAX_STREAMS:
            self._count_idle()
            self.sender.write(write_reset(number, frames.PROTOCOL_ERROR if head is None else frames.REFUSED_STREAM))
            return
        stream = self.open[number] = Stream(number, self.sender.first_window)
        stream.received_end = self._block_ends
        self._streams.begin(stream, head)
        if stream.received_end and number in self.open:
            self._streams.take(stream, b"")

    def _take_window(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE: expected 4 bytes")
        more = int.from_bytes(payload, "big") & frames.MOST_WINDOW_BYTES
        self._count_idle()
        if number == 0:
            self.sender.widen(more)
            return
        stream = self.open.get(number)
        if stream is not None:
            if not self.sender.widen_stream(stream, more):
                self._fail(stream, frames.FLOW_CONTROL_ERROR)
        elif number > self._last:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"a window of stream {number}, which has not begun")

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) % 6 or (flags & frames.ACK and payload):
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "SETTINGS that cannot be read")
        self._count_idle()
        if flags & frames.ACK:
            return
        self.has_settings = True
        values: dict[int, int] = {}  # only the last value of each counts: applying one touches all streams
        for at in range(0, len(payload), 6):
            values[int.from_bytes(payload[at : at + 2], "big")] = int.from_bytes(payload[at + 2 : at + 6], "big")
        for name, value in values.items():
            if name == frames.INITIAL_WINDOW_SIZE:
                self.sender.change_first_window(value)
            elif name == frames.MAX_FRAME_SIZE:
                self.sender.limit_frames(value)
            elif name == frames.ENABLE_PUSH and value > 1:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "ENABLE_PUSH: expected 0 or 1")
        self.sender.write(write_frame(frames.SETTINGS, frames.ACK, 0))

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number or len(payload) != 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "PING: expected 8 bytes of the connection")
        self._count_idle()
        if not flags & frames.ACK:
            self.sender.write(write_frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _LEAVING and not self.is_leaving:
            self.go_away()  # all that the client sent before it got the first GOAWAY has arrived

    def _take_reset(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "RST_STREAM: expected 4 bytes")
        if number > self._last or number == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"a reset of stream {number}, which has not begun")
        self._count_idle()
        stream = self.open.pop(number, None)
        if stream is not None:
            self._streams.drop(stream)

    def _count_idle(self) -> None:
        earned = self.sender.sent * _FRAMES_FOR_ANSWER + self.sender.sent_bytes // _BYTES_FOR_FRAME
        self._idle_frames = max(0, self._idle_frames - earned + self._earned) + 1
        self._earned = earned
        if self._idle_frames > _MOST_IDLE_FRAMES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many frames for what was answered")

    def discount_idle_frames(self, count: int) -> None:
        """Forget ``count`` idle frames, because some time has passed."""
        self._idle_frames = max(0, self._idle_frames - count)

    def _fail(self, stream: Stream, code: int) -> None:
        """Reset a stream in which the client has broken the rules."""
        self._count_idle()
        self.sender.reset(stream, code)
        self._streams.drop(stream)

    def ping(self) -> None:
        """Ask the client whether it is still there."""
        self.sender.write(write_frame(frames.PING, 0, 0, b"sluice\0\0"))

    def begin_leaving(self) -> None:
        """Ask the client to begin no more streams. Those on their way are still served. RFC 9113, section 6.8."""
        self.sender.write(_write_go_away(frames.MOST_WINDOW_BYTES, frames.NO_ERROR, ""))
        self.sender.write(write_frame(frames.PING, 0, 0, _LEAVING))

    def go_away(self, code: int = frames.NO_ERROR, text: str = "") -> None:
        """Serve no more new streams. Open ones continue."""
        self.is_leaving = True
        self.sender.write(_write_go_away(self._last, code, text))


def _write_go_away(last: int, code: int, text: str) -> bytes:
    payload = last.to_bytes(4, "big") + code.to_bytes(4, "big") + text.encode()[:200]
    return write_frame(frames.GOAWAY, 0, 0, payload)
