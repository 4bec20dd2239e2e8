"""ModelInfer and ModelStreamInfer: requests for the handler that came over gRPC.

A caller that goes away, or whose deadline passes, cancels the task that waits here, and this the request: it leaves the
engine wherever it is. In a stream the answers go out in the order in which they are ready.
"""

import asyncio
from typing import Any

import grpc

from service.errors import Draining, QueueFull, ServiceError
from service.transport.awaited_request import AwaitedRequest
from service.transport.grpc.codes import metadata_of, refusal_of
from service.transport.grpc.translation import read_message, write_answer, write_body, write_streamed
from service.transport.handler import Handler
from service.transport.request import GRPC_INFER, GRPC_STREAM_INFER, Endpoint, Reply, request_id_of
from service.transport.status import error_reply

Context = Any
"""``grpc.aio.ServicerContext`` of bytes: grpcio has no types."""

MAX_STREAM_REQUESTS = 256
"""Requests of one stream under way; the next is read when one of them is answered and its answer taken."""
_IN_THREAD_FROM_BYTES = 64 << 10
"""Typed contents may be read element by element, a million in 30 ms: larger messages are translated in a thread."""


class InferenceServicer:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._is_draining = False
        self._readers: set[asyncio.Task[None]] = set()

    def drain(self) -> None:
        """Read no further in the streams: they end when what was read is answered."""
        self._is_draining = True
        for reader in self._readers:
            reader.cancel()

    async def infer(self, content: bytes, context: Context) -> bytes:
        """ModelInfer: the message, to its answer."""
        body_budget = self._handler.body_budget
        request = self._open(GRPC_INFER, content, context)
        if not body_budget.try_admit(len(content)):
            self._handler.refuse(request, _no_room())
            reply = request.answer.result()
        else:
            try:
                reply, _ = await self._answer(request)
            finally:
                body_budget.release(len(content))
        if reply.status != 200:
            await abort(context, reply)
        context.set_trailing_metadata(metadata_of(reply))
        return write_answer(reply)

    async def stream(self, _: object, context: Context) -> None:
        """ModelStreamInfer: any number of messages, each to its answer."""
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(context, tasks))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
            if self._is_draining:
                reader.cancel()
        if self._is_draining:
            await abort(context, error_reply(Draining("the server is stopping"), ""))

    async def _read(self, context: Context, tasks: asyncio.TaskGroup) -> None:
        """Begin a request for each message, as long as there is room for it."""
        body_budget = self._handler.body_budget
        room = asyncio.Semaphore(MAX_STREAM_REQUESTS)
        writing = asyncio.Lock()

        async def answer(content: bytes, held_bytes: int, refusal: ServiceError | None) -> None:
            try:
                request = self._open(GRPC_STREAM_INFER, content, context)
                reply, given_id = await self._answer(request, is_streamed=True, refusal=refusal)
                async with writing:
                    await context.write(write_streamed(reply, given_id))
            finally:
                body_budget.release(held_bytes)
                room.release()

        while (content := await context.read()) is not grpc.aio.EOF:
            await room.acquire()
            if await self._wait_for_room(len(content), context.time_remaining()):
                tasks.create_task(answer(content, len(content), None))
            else:
                tasks.create_task(answer(content, 0, _no_room()))

    async def _wait_for_room(self, size_bytes: int, patience_s: float | None) -> bool:
        """Whether there was room for a message before the caller's time, or that of the server, was over."""
        body_budget, retry = self._handler.body_budget, asyncio.Event()
        limit_s = self._handler.limits.room_timeout_s
        try:
            async with asyncio.timeout(limit_s if patience_s is None else min(limit_s, patience_s)):
                while not body_budget.admit(size_bytes, retry.set):
                    await retry.wait()
                    retry.clear()
        except TimeoutError:
            body_budget.withdraw(retry.set)
            return False
        return True

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
        return request

    async def _answer(
        self, request: AwaitedRequest, *, is_streamed: bool = False, refusal: ServiceError | None = None
    ) -> tuple[Reply, str]:
        """The reply to a request whose body is the message, and the id that the caller has given in it."""
        handler = self._handler
        given_id = ""
        try:
            message = read_message("ModelInferRequest", bytes(request.body))
            given_id = message.id
            if is_streamed and given_id:  # the id of the stream would be that of all its requests
                request.request_id = request_id_of({b"x-request-id": given_id.encode()})
            if refusal is not None:
                raise refusal
            request.endpoint = Endpoint(request.endpoint.route, message.model_name, message.model_version or None)
            if len(request.body) < _IN_THREAD_FROM_BYTES or message.raw_input_contents:
                body, header_bytes = write_body(message, handler.max_body_bytes)
            else:
                body, header_bytes = await asyncio.to_thread(write_body, message, handler.max_body_bytes)
            request.body = body
            request.headers = {b"inference-header-content-length": b"%d" % header_bytes}
        except ServiceError as error:
            handler.refuse(request, error)
        else:
            handler.start(request)
        try:
            return await request.answer, given_id
        except asyncio.CancelledError:
            request.give_up()
            raise


def _no_room() -> QueueFull:
    return QueueFull("the server holds as many bytes of requests as it may")


async def abort(context: Context, reply: Reply) -> None:
    """End a request with the error that a reply tells."""
    await context.abort(*refusal_of(reply))
