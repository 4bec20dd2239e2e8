"""Limits of a connection: timeouts, header sizes, and the number of connections. uvicorn only limits keep-alive.

Rules
- A header must be complete ``header_timeout_s`` after its first byte, else 408. A new connection that sends nothing for
  that time is closed.
- In each ``body_timeout_s`` a body must end, or bring ``LEAST_BYTES_PER_S`` for each second. Else 408. A client must
  read its answer at the same speed, else its connection is aborted.
- No time is counted against a client while the server does not read from it.
- A body may wait for room for ``deadline_s``, then 503. The same holds for the first body of the body budget while it
  keeps others waiting.
- A connection without a request is closed after ``keep_alive_s``, whatever it sends.
- Connections above ``max_connections`` get 503. Far above, they are closed without an answer.

One timer serves all rules. When it fires, the state of the connection is checked. It is set anew only if something is
due before it fires, which is never so for a request that arrives in one read.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

from mypy_extensions import mypyc_attr
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import HeaderTooLarge, InvalidInput, ServiceError, TooSlow, TryLater
from service.settings import Settings
from service.transport.fast.connection import Connection, FastRequest, write_reply
from service.transport.handler import REFUSED
from service.transport.observer import RequestEnd, report_end
from service.transport.request import LEAST_BYTES_PER_S, LINGER_S, SMALL_BODY_BYTES, Reply, no_room, request_id_of
from service.transport.status import error_reply

MAX_REFUSED_CONNECTIONS = 128
"""Up to this many connections above the limit are answered; more are closed at once."""
MAX_HEADER_BYTES, MAX_HEADER_FIELDS = 64 << 10, 256
"""Fields are limited too: one of four bytes takes two hundred in memory until the next request of its connection."""
_TCP_INFO_BYTES, _BYTES_ACKED_AT = 192, 120
"""The size of Linux's ``struct tcp_info``, which only grows, and the offset of ``tcpi_bytes_acked`` in it."""
_FIRST_LOOK_S = 1.0
"""When an answer that is not read at once is first checked. Most have been read by then."""
TOO_LONG = f"header: expected at most {MAX_HEADER_BYTES} bytes and {MAX_HEADER_FIELDS} fields, got more"


class TimedFlow(FlowControl):
    """Remembers when reading was resumed, on ``clock``."""

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
    """uvicorn's protocol with these limits. ``FastProtocol`` sets the fields."""

    flow: TimedFlow
    settings: Settings
    _connection: Connection
    _in_header = False
    _in_body = False
    _begun = 0  # messages that began in the current read; one with ``Upgrade`` counts twice
    _header_bytes = 0
    _body_bytes = 0  # received of the body of the current message
    _seen_bytes = 0  # ``_body_bytes`` at the last read
    _since = 0.0  # when the header began or the body last made progress, on the loop's clock; 0: not known yet
    _since_bytes = 0  # ``_body_bytes`` at ``_since``
    _late_since = -1.0  # the ``_since`` for which the message was found late
    _unread: int | None = None  # bytes of answers that were unsent at the last check
    _acknowledged = 0  # bytes that the client had received at the last check
    _unparsed = b""  # bytes that follow requests that wait
    _wakes_at = 0.0
    refused_url = b""  # of a message that cannot be answered as a request
    _lingering = False  # the last answer is written; what still arrives is thrown away
    _malformed: ServiceError | None = None  # ends the connection after the running request

    def wake_by(self, at: float) -> None:
        """Make the timer fire by a time of the loop's clock."""
        if self.timeout_keep_alive_task is not None:
            if self._wakes_at <= at:
                return
            self.timeout_keep_alive_task.cancel()
        self._wakes_at = at
        self.timeout_keep_alive_task = self.loop.call_at(at, self.timeout_keep_alive_handler)

    def watch_message(self, size: int) -> None:
        """Set the timer for a message that is incomplete after a read of ``size`` bytes."""
        now = self.loop.time()
        settings = self.settings
        if self._since == 0.0:
            self._since = now
        if self._in_header:
            self.wake_by(self._since + settings.header_timeout_s)
            return
        if self._body_bytes > self._seen_bytes:
            self._seen_bytes, self._header_bytes = self._body_bytes, 0
        elif not self._begun:  # extensions or trailers. If a message began, there may be the rest of the one before.
            self._header_bytes += size
            if self._header_bytes > MAX_HEADER_BYTES:
                self.end_with(HeaderTooLarge(TOO_LONG))
                return
        if self._body_bytes - self._since_bytes >= LEAST_BYTES_PER_S * settings.body_timeout_s:
            self._since, self._since_bytes = now, self._body_bytes
        self.wake_by(self._since + settings.body_timeout_s)
        request = self.cycle
        if isinstance(request, FastRequest) and request.size > SMALL_BODY_BYTES:
            self._watch_room(request, now)

    def _watch_room(self, request: FastRequest, now: float) -> None:
        """Pause reading if there is no room, and set the timer for the wait. The first body has a timer too."""
        handler = self._connection.handler
        if request.waits_for_room:
            self.flow.pause_reading()
        elif handler is None or not handler.body_budget.is_first(request):
            return
        if request.room_until == 0.0:
            request.room_until = now + self.settings.deadline_s
        self.wake_by(request.room_until)

    def timeout_keep_alive_handler(self) -> None:
        """End what has taken too long, and set the timer for the next check."""
        self.timeout_keep_alive_task = None
        now = self.loop.time()
        next_s = self._end_what_is_late(now)
        if next_s is not None:  # no later than an idle connection has to be closed
            self.wake_by(now + min(next_s, self.settings.keep_alive_s))

    def _end_what_is_late(self, now: float) -> float | None:
        """Seconds until the next check. None: the connection was aborted."""
        settings = self.settings
        if self.transport.is_closing() or self.flow.write_paused:
            return self._end_if_unread()
        self._unread = None
        if self._lingering:
            return LINGER_S
        if self._in_header or self._in_body:
            return self._end_late_message(now)
        if self.cycle is not None and not self.cycle.response_complete:
            return settings.keep_alive_s  # a request runs
        left_s = self._connection.idle_since + settings.keep_alive_s - now
        if left_s > 0:
            return left_s
        self.transport.close()
        return self._end_if_unread()

    def watch_answer(self) -> None:
        """Set the timer for an answer that the client does not read at once."""
        self.wake_by(self.loop.time() + min(_FIRST_LOOK_S, self.settings.body_timeout_s))

    def _end_if_unread(self) -> float | None:
        """Abort the connection if the client has read too little since the last check."""
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        acknowledged_before, self._acknowledged = self._acknowledged, _count_acknowledged(self.transport)
        if before is not None:
            taken_bytes = max(before - self._unread, self._acknowledged - acknowledged_before)
            if taken_bytes < LEAST_BYTES_PER_S * self.settings.body_timeout_s:
                self.transport.abort()
                return None
        return self.settings.body_timeout_s

    def _end_late_message(self, now: float) -> float | None:
        settings, request, handler = self.settings, self.cycle, self._connection.handler
        if isinstance(request, FastRequest) and request.room_until:
            if now < request.room_until:
                self.wake_by(request.room_until)
            elif request.waits_for_room or (handler is not None and handler.body_budget.keeps_others_waiting(request)):
                self._connection.refuse(request, no_room(settings.deadline_s))
                return settings.body_timeout_s
        within_s = settings.header_timeout_s if self._in_header else settings.body_timeout_s
        if self.flow.read_paused or self._unparsed:
            return within_s
        since = max(self._since, self.flow.resumed_at)
        left_s = since + within_s - now
        if left_s > 0:
            return left_s
        if self._late_since != since:  # a busy loop may not have read yet what has arrived, so check once more
            self._late_since = since
            return 0.0
        if self._in_body and request.response_complete:  # it was answered before it was complete
            self.transport.close()
            return self._end_if_unread()
        self.end_with(TooSlow(self._tell_missing()))
        return settings.body_timeout_s

    def _tell_missing(self) -> str:
        settings = self.settings
        if self._in_header:
            return f"header: expected its end within {settings.header_timeout_s:g} s of its first byte"
        least_bytes = int(LEAST_BYTES_PER_S * settings.body_timeout_s)
        return f"body: expected its end, or {least_bytes} bytes, within {settings.body_timeout_s:g} s, got less"

    def send_400_response(self, msg: str) -> None:
        """uvicorn's hook for a parser error."""
        self.end_with(HeaderTooLarge(TOO_LONG) if self._header_bytes > MAX_HEADER_BYTES else InvalidInput(msg))

    def end_with(self, error: ServiceError) -> None:
        """Read no further request. The running ones are answered, then the error ends the connection."""
        cycle = self.cycle
        if isinstance(cycle, FastRequest):
            if not cycle.has_body and not cycle.response_complete:
                if cycle.refusal is None:  # its body will never be complete
                    self._connection.refuse(cycle, error)
                return
        elif cycle is not None and cycle.more_body and not cycle.response_complete:
            if self._connection.running is not None or self.pipeline or cycle.response_started:
                self.transport.close()
                return
            # Tell the application, which waits for the rest of this body, that the caller has gone.
            cycle.scope["state"][REFUSED] = True
            self.refused_url = cycle.scope["raw_path"]
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._connection.running is not None or self.pipeline or not is_idle:
            self._malformed = error
            self.flow.pause_reading()
            return
        self.answer_last(error)

    def answer_last(self, error: ServiceError) -> None:
        """Answer with an error that ends the connection."""
        request_id = request_id_of({})
        reply = error_reply(error, request_id)
        reply.headers = (*reply.headers, (b"x-request-id", request_id.encode()))
        self._count(type(error))
        write_reply(self._connection, reply, keep_alive=False)
        self.linger()
        self._report_refusal(error, reply, request_id)

    def _report_refusal(self, error: ServiceError, reply: Reply, request_id: str) -> None:
        """Report a message that was refused before it was a request."""
        handler = self._connection.handler
        if handler is None or handler.observer is None:
            return
        url = self.refused_url or (self.url if self._in_header else b"")
        method = self.parser.get_method().decode("latin-1") if url else ""
        path = url.partition(b"?")[0].decode("latin-1")
        end = RequestEnd(method, "", path, reply.status, 0.0, request_id, {})
        end.client, end.reason, end.bytes_out = self._connection.client, error.reason, reply.size_bytes
        report_end(handler.observer, end)

    def _count(self, error: type[ServiceError]) -> None:
        if self._connection.handler is not None:
            self._connection.handler.count_rejected(error)

    def linger(self) -> None:
        """Close our side, and give the client a short time to close its own."""
        self._lingering = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)
        else:  # TLS has no half-closed connections
            self.transport.close()
        self.wake_by(self.loop.time() + LINGER_S + _FIRST_LOOK_S)

    def refuse_connection(self) -> None:
        """Refuse this connection: there are too many."""
        most = self.settings.max_connections
        if len(self.connections) > most + MAX_REFUSED_CONNECTIONS:
            self._count(TryLater)
            self.transport.abort()
        else:
            self.answer_last(TryLater(f"this server takes at most {most} connections at once"))


def _count_acknowledged(transport: asyncio.Transport) -> int:
    """The bytes that the client has acknowledged on this connection; 0 if the system does not tell."""
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(struct.unpack_from("Q", info, _BYTES_ACKED_AT)[0])
    except (OSError, AttributeError, struct.error):  # not Linux, or not TCP
        return 0
