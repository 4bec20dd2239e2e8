"""ModelStreamInfer: inference requests in a stream. (`infer_call.py` answers ModelInfer.)

Answers are sent as soon as they are ready, in any order. A stream has one task, and its messages have none. When a
caller goes or its deadline passes, the connection cancels the task of the call, which drops its requests.
"""

import asyncio
import functools
from collections.abc import Callable

from service.errors import DeadlinePassed, Draining, ServiceError
from service.protocol.large_json import without_traceback
from service.transport.concurrency import StreamConcurrency
from service.transport.grpc.contexts import EOF, Aborted, CallContext
from service.transport.grpc.framing import no_room
from service.transport.grpc.known_messages import Translation
from service.transport.grpc.messages import FULL_NAME
from service.transport.grpc.translation import find_known, is_slow, read_infer, translate_now, write_streamed
from service.transport.handler import Handler
from service.transport.request import GRPC_STREAM_INFER, Endpoint, Reply, Request, request_id_of
from service.transport.status import error_reply

_PATH = f"/{FULL_NAME}/ModelStreamInfer"
_ENDPOINT = Endpoint(GRPC_STREAM_INFER)


class InferenceServicer:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._is_draining = False
        self._contexts: set[CallContext] = set()

    def drain(self) -> None:
        """Read no more from the streams. They end when the requests read so far are answered."""
        self._is_draining = True
        for context in self._contexts:
            context.end_reading()

    async def stream(self, _: object, context: CallContext) -> None:
        """Answer each message of a stream."""
        stream = InferStream(self._handler, context)
        self._contexts.add(context)
        if self._is_draining:
            context.end_reading()
        try:
            await stream.run()
        finally:
            self._contexts.discard(context)
            stream.close()
        if self._is_draining:
            context.refuse(error_reply(Draining("the server is stopping"), ""))


class StreamMessage(Request):
    """The request in a message. ``held_bytes`` is its share of the body budget. ``on_end`` is called once."""

    def __init__(
        self, context: CallContext, content: bytes, held_bytes: int, on_end: Callable[["StreamMessage"], None]
    ) -> None:
        super().__init__(_ENDPOINT, b"", dict(context.headers))
        self._context, self._on_end = context, on_end
        self._is_over = False
        self.held_bytes = held_bytes
        self.given_id = ""
        self.answer_bytes = 0
        self.path = _PATH
        self.body = content
        self.received_bytes = len(content)
        self.patience_s = context.time_remaining()
        if context.grant is not None:
            self.grant, self.caller = context.grant, context.grant.name

    def find_client(self) -> str:
        return self._context.client

    def reply(self, reply: Reply) -> None:
        if not self._is_over:
            self.answer_bytes = reply.size_bytes
            self._context.send(write_streamed(reply, self.given_id))
            self._end()

    def drop(self) -> None:
        """The caller has gone."""
        if not self._is_over:
            if self.work is not None:
                self.work.cancel()
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self._on_end(self)


class InferStream:
    """One call of ModelStreamInfer.

    Each message is read after the one before it has begun, which keeps the order of a sequence.
    """

    def __init__(self, handler: Handler, context: CallContext) -> None:
        self._handler = handler
        self._context = context
        self._concurrency = StreamConcurrency(context.concurrency)
        self._open: set[StreamMessage] = set()
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._unread_answers = 0

    async def run(self) -> None:
        """Answer all messages. Raises Aborted if one cannot be read; those before it are answered."""
        fault = await self._read_all()
        await self._all_answered.wait()
        if fault is not None:
            raise fault

    async def _read_all(self) -> Aborted | None:
        """Begin a request for each message. Returns the fault of one that cannot be read."""
        while True:
            await self._concurrency.begin()
            try:
                content = await self._context.read()
            except Aborted as fault:
                return fault
            if content is EOF:
                return None
            await self._begin(content)

    def close(self) -> None:
        """Drop the requests that have no answer yet."""
        for request in list(self._open):
            request.drop()
        self._unread_answers = 0
        self._concurrency.close()

    async def _begin(self, content: bytes) -> None:
        context, budget, size_bytes = self._context, self._handler.body_budget, len(content)
        is_admitted = budget.try_admit(size_bytes)
        if not is_admitted:
            if context.is_inflated:
                content = b""  # only its compressed size was counted, and it may be a thousand times larger
            else:
                is_admitted = await self._wait_for_room(size_bytes)
        request = StreamMessage(context, content, size_bytes if is_admitted else 0, self._note_end)
        self._open.add(request)
        self._all_answered.clear()
        request.began = self._handler.clock()
        try:
            refusal = self._admit_again(request) if is_admitted else no_room()
            found = find_known(content)
            if found is None:
                is_long = is_slow(content)
                found = await self._read_in_thread(request) if is_long else translate_now(content, self._max_bytes)
            self._prepare(request, found)
            if refusal is not None:
                raise refusal
        except ServiceError as error:
            self._handler.refuse(request, error)
        except asyncio.CancelledError:
            self._handler.lose(request)
            raise
        else:
            self._handler.start(request)

    @property
    def _max_bytes(self) -> int:
        return self._handler.settings.max_body_bytes

    def _note_end(self, request: StreamMessage) -> None:
        self._handler.body_budget.release(request.held_bytes)
        self._open.discard(request)
        self._concurrency.note(request.answer_bytes)
        self._unread_answers += 1
        if self._context.has_room:
            self._go_on()
        else:
            self._context.call_when_room(self._go_on)

    def _go_on(self) -> None:
        """The caller has read enough of the answers."""
        ended, self._unread_answers = self._unread_answers, 0
        for _ in range(ended):
            self._concurrency.end()
        if not self._open:
            self._all_answered.set()

    def _admit_again(self, request: StreamMessage) -> ServiceError | None:
        """Why the key of a stream does not allow one more request; None if it does."""
        guard = self._handler.guard
        if request.grant is None or guard is None:
            return None
        try:
            request.grant = guard.admit_again(request.grant)
        except ServiceError as error:
            return error
        return None

    async def _wait_for_room(self, size_bytes: int) -> bool:
        """Whether there was room for a message before the caller's deadline, or the server's, passed."""
        try:
            async with asyncio.timeout(self._limit_s(self._context.time_remaining())):
                await self._handler.body_budget.admit(size_bytes)
        except TimeoutError:
            return False
        return True

    def _limit_s(self, patience_s: float | None) -> float:
        """How long a request may wait before the handler gets it."""
        deadline_s = self._handler.settings.deadline_s
        return deadline_s if patience_s is None else min(deadline_s, patience_s)

    def _prepare(self, request: StreamMessage, found: Translation) -> None:
        """Fill in the request from its translated message. Raises ServiceError."""
        request.given_id = found.id
        if found.id:  # the stream has one header for all its requests
            request.request_id = request_id_of({b"x-request-id": found.id.encode()})
        request.endpoint = Endpoint(GRPC_STREAM_INFER, found.model_name, found.model_version or None)
        if found.refusal is not None:
            raise found.refusal
        request.body = found.body
        request.headers[b"inference-header-content-length"] = b"%d" % found.header_bytes

    async def _read_in_thread(self, request: StreamMessage) -> Translation:
        """Translate a message in the thread. Raises InvalidInput, DeadlinePassed."""
        handler = self._handler
        # It is parsed in the thread too: a parsed message is larger, and many may wait for the thread.
        read = functools.partial(read_infer, bytes(request.body), handler.find_max_tensors(), self._max_bytes)
        left_s = self._limit_s(request.patience_s) - (handler.clock() - request.began)
        future = asyncio.get_running_loop().run_in_executor(handler.parsing, without_traceback, read)
        try:
            return await asyncio.wait_for(future, left_s)
        except TimeoutError:
            raise DeadlinePassed("the deadline passed before the message was read") from None
