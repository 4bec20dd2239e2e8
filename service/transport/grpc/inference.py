"""ModelStreamInfer: inference requests in a stream. Answers are sent as soon as they are ready, in any order.

When a caller goes or its deadline passes, the connection cancels the task that waits here, and the task cancels the
request. (`infer_call.py` answers ModelInfer.)
"""

import asyncio
import functools

from service.errors import DeadlinePassed, Draining, ServiceError
from service.protocol.large_json import without_traceback
from service.transport.awaited_request import AwaitedRequest
from service.transport.concurrency import StreamConcurrency
from service.transport.grpc.contexts import EOF, Aborted, CallContext
from service.transport.grpc.framing import no_room
from service.transport.grpc.known_messages import Translation
from service.transport.grpc.messages import FULL_NAME
from service.transport.grpc.translation import find_known, is_slow, read_infer, translate_now, write_streamed
from service.transport.handler import Handler
from service.transport.request import GRPC_STREAM_INFER, Endpoint, Reply, request_id_of
from service.transport.status import error_reply

_PATH = f"/{FULL_NAME}/ModelStreamInfer"


class InferenceServicer:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._is_draining = False
        self._readers: set[asyncio.Task[Aborted | None]] = set()

    def drain(self) -> None:
        """Read no more from the streams. They end when the requests read so far are answered."""
        self._is_draining = True
        for reader in self._readers:
            reader.cancel()

    async def stream(self, _: object, context: CallContext) -> None:
        """Answer each message of a stream."""
        limit = StreamConcurrency(context.concurrency)
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(context, tasks, limit))
                self._readers.add(reader)
                reader.add_done_callback(self._readers.discard)
                if self._is_draining:
                    reader.cancel()
        finally:
            limit.close()
        if not reader.cancelled() and (fault := reader.result()) is not None:
            raise fault
        if self._is_draining:
            context.refuse(error_reply(Draining("the server is stopping"), ""))

    async def _read(self, context: CallContext, tasks: asyncio.TaskGroup, limit: StreamConcurrency) -> Aborted | None:
        """Begin a request for each message of a stream. Returns the fault of one that cannot be read."""
        body_budget = self._handler.body_budget
        beginning, writing = asyncio.Lock(), asyncio.Lock()

        async def answer(content: bytes, is_inflated: bool) -> None:
            if not is_inflated:
                is_admitted = await self._wait_for_room(len(content), context.time_remaining())
            elif not (is_admitted := body_budget.try_admit(len(content))):
                content = b""  # only its compressed size was counted, and it may be a thousand times larger
            try:
                request = self._open(content, context)
                refusal = self._admit_again(request) if is_admitted else no_room()
                given_id = await self._begin(request, refusal)
                beginning.release()
                reply = await _answer_of(request)
                limit.note(reply.size_bytes)
                async with writing:
                    await context.write(write_streamed(reply, given_id))
            finally:
                body_budget.release(len(content) if is_admitted else 0)
                limit.end()

        # Each message is read after the one before it has begun, which keeps the order of a sequence. A stop cancels
        # this task while it waits, so it must not wait after it has read a message.
        while True:
            await limit.begin()
            await beginning.acquire()
            try:
                content = await context.read()
            except Aborted as fault:  # if raised here, the task group would wrap it
                return fault
            if content is EOF:
                break
            tasks.create_task(answer(content, context.is_inflated))
        return None

    def _admit_again(self, request: AwaitedRequest) -> ServiceError | None:
        """Why the key of a stream does not allow one more request; None if it does."""
        guard = self._handler.guard
        if request.grant is None or guard is None:
            return None
        try:
            request.grant = guard.admit_again(request.grant)
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

    def _open(self, content: bytes, context: CallContext) -> AwaitedRequest:
        request = AwaitedRequest(Endpoint(GRPC_STREAM_INFER), b"", dict(context.headers))
        request.path, request.client = _PATH, context.client
        request.received_bytes = len(content)
        request.began = self._handler.clock()
        request.patience_s = context.time_remaining()
        request.body = content
        if context.grant is not None:
            request.grant, request.caller = context.grant, context.grant.name
        return request

    async def _begin(self, request: AwaitedRequest, refusal: ServiceError | None) -> str:
        """Translate the message in the body, and begin the request. Returns the caller's id of the request."""
        handler = self._handler
        given_id = ""
        try:
            found = await self._translate(request, bytes(request.body))
            given_id = found.id
            if given_id:  # the stream has one header for all its requests
                request.request_id = request_id_of({b"x-request-id": given_id.encode()})
            if refusal is not None:
                raise refusal
            request.endpoint = Endpoint(request.endpoint.route, found.model_name, found.model_version or None)
            if found.refusal is not None:
                raise found.refusal
            request.body = found.body
            request.headers[b"inference-header-content-length"] = b"%d" % found.header_bytes
        except ServiceError as error:
            handler.refuse(request, error)
        except asyncio.CancelledError:
            handler.lose(request)
            raise
        else:
            handler.start(request)
        return given_id

    async def _translate(self, request: AwaitedRequest, content: bytes) -> Translation:
        """Translate a message, in a thread if it is slow. Raises InvalidInput, DeadlinePassed."""
        max_bytes = self._handler.settings.max_body_bytes
        known = find_known(content)
        if known is not None:
            return known
        if not is_slow(content):
            return translate_now(content, max_bytes)
        # It is parsed in the thread too: a parsed message is larger, and many may wait for the thread.
        handler = self._handler
        work = functools.partial(read_infer, content, handler.find_max_tensors(), max_bytes)
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
