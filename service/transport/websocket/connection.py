"""A WebSocket after its handshake: messages in order, one at a time, in bounded memory.

Rules
- One message is worked on and one more is kept. Until the first is answered nothing is read, so a flood of messages
  waits in the client. A message over the limit ends the stream (1009) before it is complete.
- While the client does not read the answers, no message is taken. It must read 1 KiB/s over ``body_timeout_s``.
- The client has ``sequence_idle_s`` for its next message, then the stream ends (1008).
- Each message counts as a request of the key that opened the stream. A withdrawn key ends the stream (1008).
- A stopping server answers the messages that it has, and ends the stream (1001).
- Before a stream ends with an error, a message tells it in JSON, as in an answer of HTTP.
- Whoever closes waits ``LINGER_S`` for the other side.
"""

import asyncio
import logging
from collections.abc import MutableSet
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from service.access.grants import Grant
from service.errors import (
    BodyTooLarge,
    CallerError,
    Cancelled,
    DeadlinePassed,
    Draining,
    ModelFailure,
    ServiceError,
    TooSlow,
    TryLater,
    UnreadableMessage,
    UnsupportedMedia,
)
from service.transport.channel import Channel, Converse
from service.transport.handler import Handler
from service.transport.observer import RequestEnd, report_end
from service.transport.request import LEAST_BYTES_PER_S, LINGER_S
from service.transport.status import error_reply, status_of

logger = logging.getLogger("sluice.http")

CLOSE_CODES: dict[type[ServiceError], int] = {
    UnsupportedMedia: 1003,
    UnreadableMessage: 1007,
    CallerError: 1008,
    BodyTooLarge: 1009,
    Draining: 1001,
    TryLater: 1013,
    DeadlinePassed: 1013,
    ServiceError: 1011,
}
"""The code with which an error ends a stream: RFC 6455, section 7.4.1, and 1013 (try again later)."""
_DONE = 1000
_FRAMES_A_TURN = 64


def close_code_of(error: ServiceError) -> int:
    """The code of the error's nearest class in the table."""
    return next(CLOSE_CODES[cls] for cls in type(error).__mro__ if cls in CLOSE_CODES)


class WebSocket(Channel, asyncio.Protocol):
    """``begin`` starts it. ``connections`` are those of the server, which calls ``leave`` and ``shutdown``.

    ``opened`` is reported to the observer of requests at the end; None if there is no observer.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        handler: Handler,
        connections: MutableSet[Any],
        request_id: str,
        converse: Converse,
        grant: Grant | None = None,
        opened: RequestEnd | None = None,
    ) -> None:
        self._opened = opened
        self._began = handler.clock()
        self.trace = None if opened is None else opened.trace
        self.transport = transport
        self.request_id = request_id
        self.grant = grant
        self._converse = converse
        self._handler = handler
        self._settings = handler.settings
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._frames = Connection(ConnectionType.SERVER)
        self._message = bytearray()  # the one that is being received
        self._waiting: str | bytes | None = None
        self._held_bytes = 0  # of the body budget
        self._wanted: asyncio.Future[None] | None = None  # the conversation waits for a message
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending: ServiceError | None = None
        self._is_closing = False  # our side has closed, or the connection is lost
        self._reads = True
        self._since = self._loop.time()  # when it began to wait for a message
        self._unread: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None  # to take more frames
        self._task: asyncio.Task[None] | None = None

    def begin(self, data: bytes) -> None:
        """``data`` has followed the handshake."""
        self._connections.add(self)
        self._task = self._loop.create_task(self._run(), name=f"stream {self.request_id}")
        self._look()
        if data:
            self.data_received(data)

    # Called by the conversation

    async def receive(self) -> str | bytes:
        self._release()
        if self._waiting is None:
            if self._ending is not None:
                raise self._ending
            self._since = self._loop.time()
            self._wanted = self._loop.create_future()
            try:
                await self._wanted
            finally:
                self._wanted = None
        message, self._waiting = self._waiting, None
        if message is None:
            raise self._ending or Cancelled("the stream has ended")
        self._pump()
        return message

    async def send(self, text: bytes) -> None:
        await self._writable.wait()
        if self._opened is not None:
            self._opened.bytes_out += len(text)
        self._write(TextMessage(data=text.decode()))

    def end(self, error: ServiceError) -> None:
        self._ending = self._ending or error
        self._wake()
        self._set_reading()

    # Called by the transport and the server

    def data_received(self, data: bytes) -> None:
        if self._frames.state is not ConnectionState.CLOSED:
            self._frames.receive_data(data)
            self._pump()

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        end, self._opened = self._opened, None
        if end is not None and self._handler.observer is not None:
            end.seconds = self._handler.clock() - self._began
            report_end(self._handler.observer, end)
        self._connections.discard(self)
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        self._message.clear()
        self._waiting = None
        self._release()
        self._stop()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._unread = None
        self._set_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        self._set_reading()

    def leave(self) -> None:
        """The server will stop soon: the stream continues until then."""

    def shutdown(self) -> None:
        """The server stops: answer the messages received so far."""
        self.end(Draining("the server is stopping: connect again"))

    # Frames

    def _pump(self) -> None:
        """Take frames until a message waits. After many of them, let the event loop turn before the next."""
        for _ in range(_FRAMES_A_TURN):
            if self._waiting is not None and not self._is_closing:
                break
            event = next(self._frames.events(), None)
            if event is None:
                break
            self._take(event)
        else:
            self._turn = self._turn or self._loop.call_soon(self._pump_more)
        self._set_reading()

    def _pump_more(self) -> None:
        self._turn = None
        if self._frames.state is not ConnectionState.CLOSED:
            self._pump()

    def _take(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            self._take_close(event)
        elif self._is_closing or self._ending is not None:
            pass  # it follows the end
        elif isinstance(event, Ping):
            self._write(event.response())
        elif isinstance(event, TextMessage | BytesMessage):
            self._take_part(event)

    def _take_part(self, event: TextMessage | BytesMessage) -> None:
        part = event.data.encode() if isinstance(event, TextMessage) else event.data
        most = self._settings.max_message_bytes
        if len(self._message) + len(part) > most:
            self._fail(BodyTooLarge(f"message: expected at most {most} bytes, got more"))
            return
        self._message += part
        self._handler.body_budget.grow(len(part))
        self._held_bytes += len(part)
        if self._opened is not None:
            self._opened.bytes_in += len(part)
            self._opened.rows += event.message_finished
        if event.message_finished and self._admits_again():
            whole = bytes(self._message)
            self._message.clear()
            self._waiting = whole.decode() if isinstance(event, TextMessage) else whole
            self._wake()

    def _admits_again(self) -> bool:
        """Whether the key allows one more request; else the stream ends."""
        if self.grant is None or self._handler.guard is None:
            return True
        try:
            self.grant = self._handler.guard.admit_again(self.grant)
        except ServiceError as error:
            self._fail(error)
            return False
        return True

    def charge(self, rows: int) -> None:
        if self.grant is not None and self._handler.guard is not None:
            self._handler.guard.charge(self.grant, rows, may_refuse=True)

    def _take_close(self, event: CloseConnection) -> None:
        state = self._frames.state
        if state is ConnectionState.REMOTE_CLOSING:
            if not self._is_closing:
                self._write(event.response())
            self._is_closing = True
            self._stop()
            self.transport.close()
        elif state is ConnectionState.CLOSED:
            self.transport.close()
        elif not self._is_closing:  # frames that cannot be read
            self._fail(UnreadableMessage(f"expected frames of RFC 6455: {event.reason}"), event.code)

    def _write(self, event: Event) -> None:
        if not self._is_closing and not self.transport.is_closing():
            self.transport.write(bytes(self._frames.send(event)))

    def _set_reading(self) -> None:
        """Read while there is room for a message; after our side has closed, until the client has."""
        if self.transport.is_closing():
            return
        has_room = self._waiting is None and self._writable.is_set() and self._ending is None
        reads = (has_room or self._is_closing) and self._turn is None
        if reads != self._reads:
            self._reads = reads
            (self.transport.resume_reading if reads else self.transport.pause_reading)()

    def _wake(self) -> None:
        """Wake the conversation if it waits for a message."""
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def _release(self) -> None:
        """Give back the room of answered messages."""
        kept = len(self._message) + len(self._waiting or b"")
        self._handler.body_budget.release(self._held_bytes - kept)
        self._held_bytes = kept

    # The end

    async def _run(self) -> None:
        try:
            await self._converse(self)
        except ServiceError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("request %s: a fault of the server", self.request_id)
            self._fail(ModelFailure(f"a fault of the server: {error}"))
        else:
            self._close(_DONE, "")

    def _fail(self, error: ServiceError, code: int | None = None) -> None:
        if self._is_closing:
            return
        if isinstance(error, ModelFailure):
            logger.error("request %s: %s", self.request_id, error)
        self._handler.count_rejected(type(error))
        if self._opened is not None:
            self._opened.reason = error.reason
        content = b"".join(error_reply(error, self.request_id).chunks)
        self._write(TextMessage(data=content.decode()))
        reason = str(error) if status_of(error) != 500 else "the model failed"
        self._close(close_code_of(error) if code is None else code, reason)

    def _close(self, code: int, reason: str) -> None:
        """Close our side, and the connection when the client has closed too."""
        if self._is_closing:
            return
        self._write(CloseConnection(code=code, reason=reason))
        self._is_closing = True
        self._message.clear()
        self._waiting = None
        self._stop()
        self._set_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_S, self.transport.abort)

    def _stop(self) -> None:
        """Cancel the conversation, unless this is called by it."""
        self._writable.set()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _look(self) -> None:
        """End what has taken too long, and check again later."""
        now, settings = self._loop.time(), self._settings
        next_s = min(settings.sequence_idle_s, settings.body_timeout_s)
        if not self._writable.is_set():
            before, self._unread = self._unread, self.transport.get_write_buffer_size()
            if before is not None and before - self._unread < LEAST_BYTES_PER_S * settings.body_timeout_s:
                self.transport.abort()
                return
            next_s = settings.body_timeout_s
        elif self._wanted is not None:
            left_s = self._since + settings.sequence_idle_s - now
            if left_s <= 0:
                self._fail(TooSlow(f"expected a message within {settings.sequence_idle_s:g} s"))
                return
            next_s = min(next_s, left_s)
        self._timer = self._loop.call_later(next_s, self._look)
