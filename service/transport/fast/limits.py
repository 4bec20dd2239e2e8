"""What a client may take of a connection: time, length, and one of so many connections; and how it ends that.

Rules
- A header arrives within ``header_timeout_s`` of its first byte, the first byte of all within that of the connection.
- A body makes progress in each ``body_timeout_s``: its end, or ``LEAST_BYTES_PER_S`` times that many bytes.
  Else 408. The same holds for a client that reads an answer, whose connection is broken off.
- While the server does not read, the client's time stands still.
- A body that waits for room, or that goes first and keeps others waiting, has ``room_timeout_s`` for that. Then 503.
- A connection on which nothing is asked is closed after ``keep_alive_s``, whatever else comes there.
- Above ``max_connections`` a new one gets 503, and so many more than that are just closed.

One timer serves all of it for the life of a connection. It is set anew only when something must end sooner than it
fires, which is never so for a request that comes in one read: when it fires, it looks at what is under way.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from mypy_extensions import mypyc_attr
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import HeaderTooLarge, InvalidInput, ServiceError, TooSlow, TryLater
from service.transport.fast.connection import Connection, FastRequest, write_reply
from service.transport.handler import ConnectionLimits
from service.transport.request import LINGER_S, SMALL_BODY_BYTES, no_room, request_id_of
from service.transport.status import error_reply

LEAST_BYTES_PER_S = 1024
"""Of a body, over each time of ``body_timeout_s``; the slowest mobile networks bring more."""
MAX_REFUSED_CONNECTIONS = 128
"""Of those above the limit, so many are told why at once."""
MAX_HEADER_BYTES, MAX_HEADER_FIELDS = 64 << 10, 256
"""A field of four bytes takes two hundred, as long as its connection waits for the next request."""
_TCP_INFO_BYTES, _BYTES_ACKED_AT = 192, 120
"""Of Linux's ``struct tcp_info``, which only grows; and of its field ``tcpi_bytes_acked``."""
_FIRST_LOOK_S = 1.0
"""When an answer that is not read at once is looked at for the first time: most are read by then."""
TOO_LONG = f"header: expected at most {MAX_HEADER_BYTES} bytes and {MAX_HEADER_FIELDS} fields, got more"


class TimedFlow(FlowControl):
    """Knows when reading went on, in seconds on ``clock``: until then the client's time stood still."""

    def __init__(self, transport: asyncio.Transport, clock: Callable[[], float]) -> None:
        super().__init__(transport)
        self.resumed_at = 0.0
        self._clock = clock

    def resume_reading(self) -> None:
        if self.read_paused:
            self.resumed_at = self._clock()
        super().resume_reading()


@mypyc_attr(native_class=False)
class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with an end to what clients do not do. The connection's state is kept by its subclass."""

    flow: TimedFlow
    limits: ConnectionLimits
    _connection: Connection
    _in_header = False
    _in_body = False
    _header_bytes = 0
    _body_bytes = 0  # of the message under way
    _seen_bytes = 0  # of the body, when something of it was read last
    _since = 0.0  # when its header began or its body made progress, on the loop's clock; 0: not known yet
    _since_bytes = 0  # of the body, at that time
    _late_since = -1.0  # the time since when it was seen to be late
    _unread: int | None = None  # bytes of answers that were not sent when this was looked at last
    _acknowledged = 0  # bytes that the client had taken by then
    _unparsed = b""  # what was read behind requests that wait
    _wakes_at = 0.0
    _lingering = False  # the last answer is out; what still comes is thrown away
    _malformed: ServiceError | None = None  # what came after the running request ends the connection

    def wake_by(self, at: float) -> None:
        """Let the timer fire by then, on the loop's clock."""
        if self.timeout_keep_alive_task is not None:
            if self._wakes_at <= at:
                return
            self.timeout_keep_alive_task.cancel()
        self._wakes_at = at
        self.timeout_keep_alive_task = self.loop.call_at(at, self.timeout_keep_alive_handler)

    def watch_message(self, size: int) -> None:
        """What was read, so many bytes, is not all of a message: the rest has its time."""
        now = self.loop.time()
        limits = self.limits
        if self._since == 0.0:
            self._since = now
        if self._in_header:
            self.wake_by(self._since + limits.header_timeout_s)
            return
        if self._body_bytes > self._seen_bytes:
            self._seen_bytes, self._header_bytes = self._body_bytes, 0
        else:  # between chunks or behind the last: extensions and trailers
            self._header_bytes += size
            if self._header_bytes > MAX_HEADER_BYTES:
                self.end_with(HeaderTooLarge(TOO_LONG))
                return
        if self._body_bytes - self._since_bytes >= LEAST_BYTES_PER_S * limits.body_timeout_s:
            self._since, self._since_bytes = now, self._body_bytes
        self.wake_by(self._since + limits.body_timeout_s)
        request = self.cycle
        if isinstance(request, FastRequest) and request.size > SMALL_BODY_BYTES:
            self._watch_room(request, now)

    def _watch_room(self, request: FastRequest, now: float) -> None:
        """Read no further for the time being if there is no room; that has its time, and so has going first."""
        handler = self._connection.handler
        if request.waits_for_room:
            self.flow.pause_reading()
        elif handler is None or not handler.body_budget.is_first(request):
            return
        if request.room_until == 0.0:
            request.room_until = now + self.limits.room_timeout_s
        self.wake_by(request.room_until)

    def timeout_keep_alive_handler(self) -> None:
        """End what has taken too long, and look again when the next thing may have."""
        self.timeout_keep_alive_task = None
        now = self.loop.time()
        next_s = self._end_what_is_late(now)
        if next_s is not None:  # soon enough for the connection to be idle in between
            self.wake_by(now + min(next_s, self.limits.keep_alive_s))

    def _end_what_is_late(self, now: float) -> float | None:
        """Seconds until another look; None: the connection is broken off."""
        limits = self.limits
        if self.transport.is_closing() or self.flow.write_paused:
            return self._end_if_unread()
        self._unread = None
        if self._lingering:
            return LINGER_S
        if self._in_header or self._in_body:
            return self._end_late_message(now)
        if self.cycle is not None and not self.cycle.response_complete:
            return limits.keep_alive_s  # it is worked on
        left_s = self._connection.idle_since + limits.keep_alive_s - now
        if left_s > 0:
            return left_s
        self.transport.close()
        return self._end_if_unread()

    def watch_answer(self) -> None:
        """What was written is not taken at once: that has its time too."""
        self.wake_by(self.loop.time() + min(_FIRST_LOOK_S, self.limits.body_timeout_s))

    def _end_if_unread(self) -> float | None:
        """Break the connection off if the client has taken too little of what was written since the last look."""
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        acknowledged_before, self._acknowledged = self._acknowledged, _count_acknowledged(self.transport)
        if before is not None:
            taken_bytes = max(before - self._unread, self._acknowledged - acknowledged_before)
            if taken_bytes < LEAST_BYTES_PER_S * self.limits.body_timeout_s:
                self.transport.abort()
                return None
        return self.limits.body_timeout_s

    def _end_late_message(self, now: float) -> float | None:
        limits, request = self.limits, self.cycle
        if isinstance(request, FastRequest) and request.room_until:
            if now < request.room_until:
                self.wake_by(request.room_until)
            elif self._is_in_the_way(request):
                self._connection.refuse(request, no_room(limits.room_timeout_s))
                return limits.body_timeout_s
        within_s = limits.header_timeout_s if self._in_header else limits.body_timeout_s
        if self.flow.read_paused or self._unparsed:
            return within_s
        since = max(self._since, self.flow.resumed_at)
        left_s = since + within_s - now
        if left_s > 0:
            return left_s
        if self._late_since != since:  # a loop that was busy may not have read what is there: it does before it looks
            self._late_since = since
            return 0.0
        if self._in_body and request.response_complete:  # it was answered before all of it was there
            self.transport.close()
            return self._end_if_unread()
        self.end_with(TooSlow(self._tell_missing()))
        return limits.body_timeout_s

    def _is_in_the_way(self, request: FastRequest) -> bool:
        """Whether it waits for room, or has gone first for long enough and others wait."""
        handler = self._connection.handler
        return request.waits_for_room or (handler is not None and handler.body_budget.keeps_others_waiting(request))

    def _tell_missing(self) -> str:
        limits = self.limits
        if self._in_header:
            return f"header: expected its end within {limits.header_timeout_s:g} s of its first byte"
        least_bytes = int(LEAST_BYTES_PER_S * limits.body_timeout_s)
        return f"body: expected its end, or {least_bytes} bytes, within {limits.body_timeout_s:g} s, got less"

    def send_400_response(self, msg: str) -> None:
        """The parser has given up."""
        self.end_with(HeaderTooLarge(TOO_LONG) if self._header_bytes > MAX_HEADER_BYTES else InvalidInput(msg))

    def end_with(self, error: ServiceError) -> None:
        """No further request can come. What runs on this connection is answered first, then the error ends it."""
        cycle = self.cycle
        if isinstance(cycle, FastRequest):
            if not cycle.body_is_there and not cycle.response_complete:
                if cycle.refusal is None:  # the rest of its body will never come
                    self._connection.refuse(cycle, error)
                return
        elif cycle is not None and cycle.more_body and not cycle.response_complete:
            if self._connection.running is not None or self.pipeline or cycle.response_started:
                self.transport.close()
                return
            # Whoever waits for the rest of this body is told that the caller has gone.
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._connection.running is not None or self.pipeline or not is_idle:
            self._malformed = error
            self.flow.pause_reading()
            return
        self.answer_last(error)

    def answer_last(self, error: ServiceError) -> None:
        """Say why the connection ends, and end it."""
        request_id = request_id_of({})
        reply = error_reply(error, request_id)
        reply.headers = (*reply.headers, (b"x-request-id", request_id.encode()))
        self._count(error)
        write_reply(self._connection, reply, keep_alive=False)
        self.linger()

    def _count(self, error: ServiceError) -> None:
        handler = self._connection.handler
        if handler is not None:
            handler.count_rejected(type(error))

    def linger(self) -> None:
        """End our side and wait for the client to end its own, but not for long."""
        self._lingering = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
        else:  # TLS has no half-closed connections
            self.transport.close()
        self.wake_by(self.loop.time() + LINGER_S + _FIRST_LOOK_S)

    def refuse_connection(self) -> None:
        """There are as many connections as there may be."""
        most = self.limits.max_connections
        error = TryLater(f"this server takes at most {most} connections at once")
        if len(self.connections) > most + MAX_REFUSED_CONNECTIONS:
            self._count(error)
            self.transport.abort()
        else:
            self.answer_last(error)


def _count_acknowledged(transport: asyncio.Transport) -> int:
    """Bytes that the client's side has taken since the connection began; 0 where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError, struct.error):  # another system, or not TCP
        found = transport.get_extra_info("socket")
        told = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        (count,) = struct.unpack_from("Q", told, _BYTES_ACKED_AT)
        return int(count)
    return 0
