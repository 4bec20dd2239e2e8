"""ModelStreamInfer: inference requests in a stream. (`infer_call.py` answers ModelInfer.)

When a caller goes or its deadline passes, the connection cancels the task that waits here, and the task cancels the
request. The answers of a stream are sent when they are ready, in any order.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import TypeVar

from service.errors import DeadlinePassed, Draining, ServiceError
from service.protocol.large_json import without_traceback
from service.transport.awaited_request import AwaitedRequest
from service.transport.grpc.contexts import EOF, Aborted, CallContext
from service.transport.grpc.framing import no_room
from service.transport.grpc.known_messages import Translation
from service.transport.grpc.messages import FULL_NAME
from service.transport.grpc.translation import find_known, is_slow, read_infer, translate_now, write_streamed
from service.transport.handler import Handler
from service.transport.pace import StreamPace
from service.transport.request import GRPC_STREAM_INFER, Endpoint, Reply, request_id_of
from service.transport.status import error_reply

_PATH = f"/{FULL_NAME}/ModelStreamInfer"
T = TypeVar("T")


class InferenceServicer:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._is_draining = False
        self._readers: set[asyncio.Task[Aborted | None]] = set()

    def drain(self) -> None:
        """Stop reading the streams. They end when what was read is answered."""
        self._is_draining = True
        for reader in self._readers:
            reader.cancel()

    async def stream(self, _: object, context: CallContext) -> None:
        """ModelStreamInfer: an answer to each message."""
        pace = StreamPace(context.pace)
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(context, tasks, pace))
                self._readers.add(reader)
                reader.add_done_callback(self._readers.discard)
                if self._is_draining:
                    reader.cancel()
        finally:
            pace.close()
        if not reader.cancelled() and (fault := reader.result()) is not None:
            raise fault
        if self._is_draining:
            context.refuse(error_reply(Draining("the server is stopping"), ""))

    async def _read(self, context: CallContext, tasks: asyncio.TaskGroup, pace: StreamPace) -> Aborted | None:
        """Begin a request for each message of a stream. Returns the fault of one that cannot be read."""
        body_budget = self._handler.body_budget
        beginning, writing = asyncio.Lock(), asyncio.Lock()

        async def answer(content: bytes, is_inflated: bool) -> None:
            if not is_inflated:
                is_admitted = await self._wait_for_room(len(content), context.time_remaining())
            elif not (is_admitted := body_budget.try_admit(len(content))):
                content = b""  # what waits is counted as it came, and this may be a thousand times larger
            try:
                request = self._open(content, context)
                refusal = self._admit_again(request) if is_admitted else no_room()
                given_id = await self._begin(request, refusal)
                beginning.release()
                reply = await _answer_of(request)
                pace.note(reply.size_bytes)
                async with writing:
                    await context.write(write_streamed(reply, given_id))
            finally:
                body_budget.release(len(content) if is_admitted else 0)
                pace.end()

        # A message is read when the one before it has begun, which keeps the order of a sequence. A stop cancels what
        # waits here, so nothing waits here with a message in hand.
        while True:
            await pace.begin()
            await beginning.acquire()
            try:
                content = await context.read()
            except Aborted as fault:  # raised here, it would be one of a group
                return fault
            if content is EOF:
                break
            tasks.create_task(answer(content, context.is_inflated))
        return None

    def _admit_again(self, request: AwaitedRequest) -> ServiceError | None:
        """Why the key that opened a stream does not allow one more request; None if it does."""
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
        """Translate the message that is the body, and begin the request. Returns the id that the caller gave it."""
        handler = self._handler
        given_id = ""
        try:
            found = await self._translate(request, bytes(request.body))
            given_id = found.id
            if given_id:  # the header is the same for all requests of the stream
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
        """Translate a message, in a thread if that takes long. Raises InvalidInput, DeadlinePassed."""
        max_bytes = self._handler.settings.max_body_bytes
        known = find_known(content)
        if known is not None:
            return known
        if not is_slow(content):
            return translate_now(content, max_bytes)
        # Parsed in the thread too: a parsed message is larger, and many may wait for the thread.
        read = functools.partial(read_infer, content, self._handler.find_max_tensors(), max_bytes)
        return await self._do_in_thread(request, read)

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
