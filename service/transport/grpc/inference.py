"""ModelInfer and ModelStreamInfer: inference requests over gRPC.

When a caller goes or its deadline passes, gRPC cancels the task that waits here, and the task cancels the request. The
answers of a stream are sent when they are ready, in any order.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from service.access.grants import Grant
from service.errors import Cancelled, DeadlinePassed, Draining, QueueFull, ServiceError
from service.protocol.large_json import without_traceback
from service.transport.awaited_request import AwaitedRequest
from service.transport.grpc.access import GRANT
from service.transport.grpc.codes import metadata_of, refusal_of
from service.transport.grpc.messages import MESSAGES
from service.transport.grpc.translation import (
    FEW_BYTES,
    Translation,
    has_few_fields,
    parse_message,
    read_infer,
    translate,
    write_answer,
    write_streamed,
)
from service.transport.handler import Handler
from service.transport.request import GRPC_INFER, GRPC_STREAM_INFER, Endpoint, Reply, request_id_of
from service.transport.status import error_reply

Context = Any
"""``grpc.aio.ServicerContext``: grpcio has no types."""

MAX_STREAM_REQUESTS = 256
"""Requests of one stream at a time. The next is read when one of them is answered and its answer sent."""
_TRANSLATED_IN_THREAD_FROM_BYTES = 64 << 10
"""Larger messages with typed contents are translated in a thread: a million elements take 30 ms."""
_IN_THREAD_FROM_BYTES = 1 << 20
"""All larger messages are translated in a thread: the copies alone take 1 ms."""

T = TypeVar("T")


class InferenceServicer:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._is_draining = False
        self._readers: set[asyncio.Task[None]] = set()

    def drain(self) -> None:
        """Stop reading the streams. They end when what was read is answered."""
        self._is_draining = True
        for reader in self._readers:
            reader.cancel()

    async def infer(self, content: bytes, context: Context) -> bytes:
        """ModelInfer."""
        body_budget = self._handler.body_budget
        request = self._open(GRPC_INFER, content, context)
        if not body_budget.try_admit(len(content)):
            self._handler.refuse(request, _no_room())
            reply = request.answer.result()
        else:
            try:
                await self._begin(request)
                reply = await _answer_of(request)
            finally:
                body_budget.release(len(content))
        if reply.status != 200:
            await abort(context, reply)
        context.set_trailing_metadata(metadata_of(reply))
        return write_answer(reply)

    async def stream(self, _: object, context: Context) -> None:
        """ModelStreamInfer: an answer to each message."""
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(context, tasks))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
            if self._is_draining:
                reader.cancel()
        if self._is_draining:
            await abort(context, error_reply(Draining("the server is stopping"), ""))

    async def _read(self, context: Context, tasks: asyncio.TaskGroup) -> None:
        """Begin a request for each message of a stream."""
        body_budget = self._handler.body_budget
        room = asyncio.Semaphore(MAX_STREAM_REQUESTS)
        beginning, writing = asyncio.Lock(), asyncio.Lock()

        async def answer(content: bytes) -> None:
            is_admitted = await self._wait_for_room(len(content), context.time_remaining())
            try:
                request = self._open(GRPC_STREAM_INFER, content, context)
                refusal = self._admit_again(request.grant) if is_admitted else _no_room()
                given_id = await self._begin(request, is_streamed=True, refusal=refusal)
                beginning.release()
                reply = await _answer_of(request)
                async with writing:
                    await context.write(write_streamed(reply, given_id))
            finally:
                body_budget.release(len(content) if is_admitted else 0)
                room.release()

        # A message is read when the one before it has begun, which keeps the order of a sequence. A stop cancels what
        # waits here, so nothing waits here with a message in hand.
        while await room.acquire() and await beginning.acquire():
            if (content := await context.read()) is grpc.aio.EOF:
                return
            tasks.create_task(answer(content))

    def _admit_again(self, grant: Grant | None) -> ServiceError | None:
        """Why the key that opened a stream does not allow one more request; None if it does."""
        guard = self._handler.guard
        if grant is None or guard is None:
            return None
        try:
            guard.admit_again(grant)
        except ServiceError as error:
            return error
        return None

    async def _wait_for_room(self, size_bytes: int, patience_s: float | None) -> bool:
        """Whether there was room for a message before the caller's deadline, or the server's, passed."""
        try:
            async with asyncio.timeout(self._limit_s(patience_s)):
                await self._handler.body_budget.admit(size_bytes)
        except TimeoutError:
            return False
        return True

    def _limit_s(self, patience_s: float | None) -> float:
        """How long a request may wait before the handler gets it."""
        deadline_s = self._handler.settings.deadline_s
        return deadline_s if patience_s is None else min(deadline_s, patience_s)

    def _open(self, route: str, content: bytes, context: Context) -> AwaitedRequest:
        headers = {
            key.encode(): value.encode()
            for key, value in context.invocation_metadata() or ()
            if key == "x-request-id" and isinstance(value, str)
        }
        request = AwaitedRequest(Endpoint(route), b"", headers)
        request.began = self._handler.clock()
        request.patience_s = context.time_remaining()
        request.body = content
        grant = GRANT.get()
        if grant is not None:
            request.grant, request.caller = grant, grant.name
        return request

    async def _begin(
        self, request: AwaitedRequest, *, is_streamed: bool = False, refusal: ServiceError | None = None
    ) -> str:
        """Translate the message that is the body, and begin the request. Returns the id that the caller gave it."""
        handler = self._handler
        given_id = ""
        try:
            found = await self._translate(request, bytes(request.body))
            given_id = found.id
            if is_streamed and given_id:  # the header is the same for all requests of the stream
                request.request_id = request_id_of({b"x-request-id": given_id.encode()})
            if refusal is not None:
                raise refusal
            request.endpoint = Endpoint(request.endpoint.route, found.model_name, found.model_version or None)
            if found.refusal is not None:
                raise found.refusal
            request.body = found.body
            request.headers = {b"inference-header-content-length": b"%d" % found.header_bytes}
        except ServiceError as error:
            handler.refuse(request, error)
        except asyncio.CancelledError:
            handler.count_rejected(Cancelled)
            raise
        else:
            handler.start(request)
        return given_id

    async def _translate(self, request: AwaitedRequest, content: bytes) -> Translation:
        """Translate a message, in a thread if that takes long. Raises InvalidInput, DeadlinePassed."""
        max_bytes = self._handler.settings.max_body_bytes
        if len(content) > FEW_BYTES and (len(content) > _IN_THREAD_FROM_BYTES or not has_few_fields(content)):
            # Parsed in the thread too: a parsed message is larger, and many may wait for the thread.
            read = functools.partial(read_infer, content, self._handler.find_max_tensors(), max_bytes)
            return await self._do_in_thread(request, read)
        message = parse_message(MESSAGES["ModelInferRequest"], content)
        if len(content) < _TRANSLATED_IN_THREAD_FROM_BYTES or message.raw_input_contents:
            return translate(message, max_bytes)
        return await self._do_in_thread(request, functools.partial(translate, message, max_bytes))

    async def _do_in_thread(self, request: AwaitedRequest, work: Callable[[], T]) -> T:
        """Do work of a request in the thread before the handler gets it. Raises what it raises, and DeadlinePassed."""
        handler = self._handler
        left_s = self._limit_s(request.patience_s) - (handler.clock() - request.began)
        future = asyncio.get_running_loop().run_in_executor(handler.parsing, without_traceback, work)
        try:
            return await asyncio.wait_for(future, left_s)
        except TimeoutError:
            raise DeadlinePassed("the deadline passed before the message was read") from None


async def _answer_of(request: AwaitedRequest) -> Reply:
    """The reply. If the caller goes, the request is cancelled."""
    try:
        return await request.answer
    except asyncio.CancelledError:
        request.give_up()
        raise


def _no_room() -> QueueFull:
    return QueueFull("the server holds as many bytes of requests as it may")


async def abort(context: Context, reply: Reply) -> None:
    """End a call with the error of a reply."""
    await context.abort(*refusal_of(reply))
