"""ModelInfer: a request of the handler, answered without a task of its own.

A short message is translated at once. It is not even parsed if an earlier one differs only in its tensors and its id
(``known_messages.py``). Large messages are translated in a thread.
"""

import asyncio
import logging
from typing import Final

from service.access.grants import Grant
from service.errors import DeadlinePassed, InvalidInput, ModelFailure, ServiceError
from service.transport.grpc.framing import (
    ANSWER_HEAD,
    PREFIX_BYTES,
    CallHead,
    Link,
    MessageReader,
    find_stall,
    no_room,
    write_good_end,
    write_message,
    write_refusal,
)
from service.transport.grpc.known_messages import Translation
from service.transport.grpc.messages import FULL_NAME
from service.transport.grpc.translation import find_known, is_slow, read_infer, translate_now, write_answer
from service.transport.http2.streams import Stream
from service.transport.request import GRPC_INFER, Endpoint, Reply, Request

logger = logging.getLogger("sluice.grpc")

PATH: Final = f"/{FULL_NAME}/ModelInfer"
_ENDPOINT: Final = Endpoint(GRPC_INFER)


class InferCall(Request):
    """``grant`` is what the caller's key allows, None if no key is needed."""

    def __init__(self, head: CallHead, stream: Stream, link: Link, grant: Grant | None) -> None:
        super().__init__(_ENDPOINT, b"", head.headers)
        self._stream, self._link = stream, link
        self._handler, self._sender = link.handler, link.sender
        self._reader: MessageReader | None = None
        self._coding = head.coding
        self._held_bytes = 0
        self._translating: asyncio.Task[None] | None = None
        self._given_id = ""
        self.path = PATH
        self.began = link.handler.clock()
        self.patience_s = head.timeout_s
        self._moved_at, self._moved_bytes = self.began, 0  # when the message last made progress, and its size then
        self._is_over = False
        if grant is not None:
            self.grant, self.caller = grant, grant.name

    # Called by the connection

    def take(self, data: bytes) -> None:
        """Take data of the message, or the end of the call."""
        if self._is_over:
            return
        self._handler.body_budget.grow(len(data))
        self._held_bytes += len(data)
        stream = self._stream
        if self._reader is None and stream.received_end and len(data) >= PREFIX_BYTES and not data[0]:
            size = int.from_bytes(data[1:PREFIX_BYTES], "big")
            if size == len(data) - PREFIX_BYTES and size <= self._link.max_bytes:
                self._begin(data[PREFIX_BYTES:])
                return
        self._collect(data)

    def _collect(self, data: bytes) -> None:
        if self._reader is None:
            self._reader = MessageReader(self._coding, self._link.max_bytes)
        reader = self._reader
        try:
            reader.add(data)
            if self._stream.received_end:
                content = reader.take()
                if content is None or reader.held_bytes:
                    raise InvalidInput("message: expected one message, got the end of the call within one, or more")
                self._begin(content, reader.is_compressed)
            else:
                if self._held_bytes - self._moved_bytes >= self._link.least_bytes:
                    self._moved_at, self._moved_bytes = self._handler.clock(), self._held_bytes
                self._ask_for_more()
        except ServiceError as error:
            self._refuse(error)

    def _ask_for_more(self) -> None:
        """Let the client send the rest of a large message, when there is room."""
        if not self._is_over and self._reader is not None:
            self._link.ask_for(self, self._stream, self._reader.missing_bytes, self._held_bytes, self._go_on)

    def _go_on(self) -> None:
        """There is room now. The client's time has not passed meanwhile."""
        self._moved_at = self._handler.clock()
        self._ask_for_more()

    def end_if_slow(self, moment: float) -> None:
        """Refuse a message without progress since ``moment``."""
        if not self._is_over and not self._stream.received_end and self._moved_at < moment:
            self._refuse(find_stall(self._stream))

    def drop(self) -> None:
        """The caller has gone."""
        if self._is_over:
            return
        if self._translating is not None:
            self._translating.cancel()
        if self.work is not None:
            self.work.cancel()
        else:
            self._handler.lose(self)
        self._end()

    # From message to request

    def _begin(self, content: bytes, is_compressed: bool = False) -> None:
        handler = self._handler
        budget = handler.body_budget
        if budget.held_bytes > max(budget.max_bytes, self._held_bytes):
            self._refuse(no_room())
            return
        self.body = content
        self.received_bytes = len(content)
        known = None if is_compressed else find_known(content)
        if known is None and (is_compressed or is_slow(content)):
            self._translating = asyncio.get_running_loop().create_task(self._translate(content, is_compressed))
            return
        try:
            self._start(known or translate_now(content, handler.settings.max_body_bytes))
        except ServiceError as error:
            self._refuse(error)

    async def _translate(self, content: bytes, is_compressed: bool) -> None:
        """Translate a large message in the thread for work that holds the interpreter."""
        handler, reader = self._handler, self._reader

        def work() -> Translation:
            plain = reader.inflate(content) if is_compressed and reader is not None else content
            return read_infer(plain, handler.find_max_tensors(), handler.settings.max_body_bytes)

        left_s = self.patience_s or handler.settings.deadline_s
        try:
            async with asyncio.timeout(min(left_s, handler.settings.deadline_s)):
                found = await asyncio.get_running_loop().run_in_executor(handler.parsing, work)
            self._translating = None
            if is_compressed:
                self._hold_inflated(len(found.body))
            self._start(found)
        except TimeoutError:
            self._refuse(DeadlinePassed("the deadline passed before the message was read"))
        except ServiceError as error:
            self._refuse(error)
        except Exception:
            logger.exception("request %s: a fault of the server", self.request_id)
            self._refuse(ModelFailure("a fault of the server"))

    def _hold_inflated(self, size_bytes: int) -> None:
        """Count the inflated body. Raises QueueFull if others hold the room for it."""
        if not self._handler.body_budget.try_replace(self._held_bytes, size_bytes):
            raise no_room()
        self._held_bytes += size_bytes

    def _start(self, found: Translation) -> None:
        self._given_id = found.id
        self.endpoint = Endpoint(GRPC_INFER, found.model_name, found.model_version or None)
        if found.refusal is not None:
            raise found.refusal
        self.body = found.body
        self.headers = {**self.headers, b"inference-header-content-length": b"%d" % found.header_bytes}
        self._handler.start(self)

    def _refuse(self, error: ServiceError) -> None:
        self._handler.refuse(self, error)

    def find_client(self) -> str:
        return self._link.client

    # The answer

    def reply(self, reply: Reply) -> None:
        if self._is_over:
            return
        stream, sender = self._stream, self._sender
        if reply.status == 200:
            message = write_message(write_answer(reply, self._given_id))
            sender.answer(stream, ANSWER_HEAD, message, write_good_end(reply.headers))
        else:
            sender.finish(stream, write_refusal(reply))
        self._end()
        self._link.wake()

    def _end(self) -> None:
        self._is_over = True
        budget = self._handler.body_budget
        held, self._held_bytes = self._held_bytes, 0
        budget.release(held, self)
        self._reader = None
