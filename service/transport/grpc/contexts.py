"""Calls that a coroutine answers: all but ModelInfer. Their context has what is used of that of `grpc.aio`."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple, NoReturn

import grpc

from service.access.grants import Grant
from service.errors import ServiceError
from service.transport.grpc.codes import Metadata, refusal_of
from service.transport.grpc.framing import (
    ANSWER_HEAD,
    CallHead,
    Link,
    MessageReader,
    find_stall,
    write_end,
    write_message,
)
from service.transport.http2.streams import Stream
from service.transport.observer import GONE, RequestEnd, report_end
from service.transport.request import MAX_UNREAD_BYTES, Reply, request_id_of
from service.transport.status import error_reply

logger = logging.getLogger("sluice.grpc")

EOF: Final = object()
"""The end of the messages of a call."""


class MethodHandler(NamedTuple):
    """``answer`` gets the message and the context, and returns the answer, or None if it has written its messages.

    A method that ``takes_many`` messages reads them from the context, and gets None.
    """

    answer: Callable[[Any, "CallContext"], Awaitable[bytes | None]]
    takes_many: bool = False
    is_reported: bool = True
    """Whether the end of the call is reported to the observer of requests."""


class Aborted(Exception):
    """A coroutine has ended its call with an error. ``status`` is that of HTTP."""

    def __init__(self, status: int, code: grpc.StatusCode, text: str, metadata: Metadata = ()) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.metadata = status, code, text, metadata


class CallContext:
    """A call in progress.

    ``grant`` is what the caller's key allows, None if no key is needed. ``client`` is the caller's address, ``fields``
    the metadata of the call. ``is_inflated``: the last message was compressed.
    """

    def __init__(self, head: CallHead, stream: Stream, link: Link, grant: Grant | None = None) -> None:
        self._head, self.concurrency = head, link.concurrency
        self.grant, self.client, self.fields, self.headers = grant, link.client, head.metadata, head.headers
        self.request_id = request_id_of(head.headers)
        self._link, self._stream, self._sender, self._wake = link, stream, link.sender, link.wake
        self._handler, self._budget, self._began = link.handler, link.handler.body_budget, link.handler.clock()
        self._loop = asyncio.get_running_loop()
        self._until = None if head.timeout_s is None else self._loop.time() + head.timeout_s
        self._reader = MessageReader(head.coding, link.max_bytes)
        self._fault: ServiceError | None = None
        self._arrived, self._may_write = asyncio.Event(), asyncio.Event()
        self._has_started = self._is_over = self._takes_many = False
        self._wants_more = True
        self.is_inflated = False
        self._trailing: Metadata = ()
        self._unread_bytes = self._received_bytes = self._sent_bytes = 0
        self._moved_at, self._moved_bytes = self._began, 0  # when a message last made progress, and the total then
        self._task: asyncio.Task[None] | None = None

    def begin(self, method: MethodHandler) -> None:
        self._takes_many = method.takes_many
        self._task = self._loop.create_task(self._run(method))

    # Called by the connection

    def take(self, data: bytes) -> None:
        """Take data of the call, or its end."""
        if self._is_over:
            return
        if self._fault is None:
            self._budget.grow(len(data))
            self._unread_bytes += len(data)
            self._received_bytes += len(data)
            if not self._reader.held_bytes or self._received_bytes - self._moved_bytes >= self._link.least_bytes:
                self._note_progress()
            try:
                self._reader.add(data)
            except ServiceError as error:
                self._fault = error
        self._arrived.set()
        self._ask_for_more()

    def _ask_for_more(self) -> None:
        """Open the window for a message that is larger, when there is room. No more is asked for behind a whole one."""
        if self._is_over or self._fault is not None or self._reader.missing_bytes <= self._stream.receive_window:
            return
        self._link.ask_for(self, self._stream, self._reader.missing_bytes, self._unread_bytes, self._go_on)

    def _go_on(self) -> None:
        """There is room now. The client's time has not passed meanwhile."""
        self._note_progress()
        self._ask_for_more()

    def _note_progress(self) -> None:
        self._moved_at, self._moved_bytes = self._handler.clock(), self._received_bytes

    def end_if_slow(self, moment: float) -> None:
        """Refuse a message without progress since ``moment``. Between messages a stream may be silent."""
        is_wanted = self._reader.missing_bytes > 0 and (self._reader.held_bytes > 0 or not self._takes_many)
        if is_wanted and not self._stream.received_end and not self._is_over and self._moved_at < moment:
            self._fault = find_stall(self._stream)
            self._arrived.set()

    def drop(self) -> None:
        """The caller has gone."""
        self._end()  # the task may be cancelled before it begins
        if self._task is not None:
            self._task.cancel()

    # Called by the coroutine

    def time_remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - self._loop.time())

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = metadata

    def refuse(self, reply: Reply) -> NoReturn:
        """End the call with the error in ``reply``."""
        raise Aborted(reply.status, *refusal_of(reply))

    async def read(self) -> Any:
        """The next message, or EOF. Raises Aborted if it cannot be read."""
        while True:
            if not self._wants_more:
                return EOF
            content = self._take_message()
            if content is not None:
                break
            if self._fault is not None:
                raise _abort_with(self._fault)
            if self._stream.received_end:
                if self._reader.held_bytes:
                    raise Aborted(400, grpc.StatusCode.INTERNAL, "the call ended within a message")
                return EOF
            self._ask_for_more()
            self._arrived.clear()
            await self._arrived.wait()
        self.is_inflated = is_compressed = self._reader.is_compressed
        self._release(len(content))
        if not is_compressed:
            return content
        try:
            return await asyncio.to_thread(self._reader.inflate, content)
        except ServiceError as error:
            raise _abort_with(error) from None

    def _take_message(self) -> bytes | None:
        try:
            return None if self._fault is not None else self._reader.take()
        except ServiceError as error:
            self._fault = error
            return None

    def _release(self, size_bytes: int) -> None:
        """Give back the room of a message: the client may send as much again."""
        size_bytes = min(size_bytes + 5, self._unread_bytes)
        self._unread_bytes -= size_bytes
        self._budget.release(size_bytes, self)
        self._sender.grant(self._stream, size_bytes)
        self._go_on()
        self._wake()

    def end_reading(self) -> None:
        """Read no more messages: the next one is EOF."""
        self._wants_more = False
        self._arrived.set()

    async def write(self, content: bytes) -> None:
        """Send a message, and wait while the caller reads too slowly."""
        self.send(content)
        while not self.has_room:
            self._may_write.clear()
            self.call_when_room(self._may_write.set)
            await self._may_write.wait()

    def send(self, content: bytes) -> None:
        """Send a message."""
        if not self._has_started:
            self._has_started = True
            self._sender.start(self._stream, ANSWER_HEAD)
        self._sender.send(self._stream, write_message(content))
        self._sent_bytes += len(content)
        self._wake()

    @property
    def has_room(self) -> bool:
        """Whether the caller reads fast enough for more to be sent."""
        return self._stream.unsent_bytes <= MAX_UNREAD_BYTES

    def call_when_room(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once, when there is room. It replaces an earlier one."""

        def look() -> None:
            if self.has_room:
                self._stream.on_room = None
                go_on()

        self._stream.on_room = look

    async def messages(self) -> AsyncIterator[bytes]:
        """All messages of the call."""
        while (content := await self.read()) is not EOF:
            yield content

    async def _run(self, method: MethodHandler) -> None:
        code, text, metadata, status = grpc.StatusCode.OK, "", self._trailing, 200
        try:
            async with asyncio.timeout_at(self._until):
                content = None if method.takes_many else await self._read_only()
                answer = await method.answer(content, self)
                if answer is not None:
                    await self.write(answer)
            metadata = self._trailing
        except Aborted as end:
            code, text, metadata, status = end.code, end.text, end.metadata, end.status
        except TimeoutError:
            code, text, status = grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed", 504
        except asyncio.CancelledError:
            status = GONE
        except Exception:
            logger.exception("a fault of the server in %s", self._head.path.decode("latin-1"))
            code, text, status = grpc.StatusCode.INTERNAL, "a fault of the server", 500
        self._end()
        if status != GONE:
            self._finish(code, text, metadata)
        if method.is_reported:
            self._report_end(status)

    def _end(self) -> None:
        """Read no more. Data may still arrive until the answer has been sent."""
        self._is_over = True
        held, self._unread_bytes = self._unread_bytes, 0
        self._budget.release(held, self)

    def _finish(self, code: grpc.StatusCode, text: str, metadata: Metadata) -> None:
        if not self._has_started and code is grpc.StatusCode.OK:
            self._sender.start(self._stream, ANSWER_HEAD)
            self._has_started = True
        block = write_end(code.value[0], text, metadata)
        self._sender.finish(self._stream, block if self._has_started else ANSWER_HEAD + block)
        self._wake()

    def _report_end(self, status: int) -> None:
        """Report the end of the call to the observer."""
        handler = self._handler
        if handler.observer is None:
            return
        path = self._head.path.decode("latin-1")
        seconds = handler.clock() - self._began
        route = f"grpc {path.rpartition('/')[2]}"
        end = RequestEnd("POST", route, path, status, seconds, self.request_id, self.headers)
        end.client, end.caller = self.client, "" if self.grant is None else self.grant.name
        end.bytes_in, end.bytes_out = self._received_bytes, self._sent_bytes
        report_end(handler.observer, end)

    async def _read_only(self) -> bytes:
        """The one message of the call."""
        content = await self.read()
        if content is EOF or await self.read() is not EOF:
            raise Aborted(400, grpc.StatusCode.INTERNAL, "expected one message")
        return bytes(content)


def _abort_with(error: ServiceError) -> Aborted:
    reply = error_reply(error, request_id_of({}))
    return Aborted(reply.status, *refusal_of(reply))
