"""The request handler: answers the POST routes that carry data, for all transports.

``match`` finds the endpoint of a path. ``start`` decompresses the body and passes the request, with a ``Responder``, to
the function of its route, which decodes, checks and queues it. When the batch has run, the answer is rendered,
compressed if the caller accepts that, and sent. Every exception becomes an error reply: a transport never sees one.

A request drops its references when it ends, so that its memory is freed without the garbage collector.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from service.engine.batching.queue import Answer
from service.errors import (
    Cancelled,
    DeadlinePassed,
    ModelFailure,
    NotReady,
    ServiceError,
    StillLoading,
    TryLater,
    UnsupportedCoding,
)
from service.metrics.meters import Metrics
from service.protocol import compression
from service.protocol.compression import choose_coding, deflate, inflate, read_coding
from service.protocol.large_json import without_traceback
from service.protocol.timeout import find_timeout
from service.settings import Settings
from service.transport import sse
from service.transport.cors import Cors
from service.transport.handler import Handler
from service.transport.observer import GONE, end_of, report_end
from service.transport.request import (
    BodyBudget,
    Endpoint,
    Reply,
    Request,
    StreamedRequest,
    Work,
    describe_request,
    match_model,
    render_server_timing,
)
from service.transport.status import DEFAULT_FORMAT, ErrorFormat

logger = logging.getLogger("sluice.http")
Body = bytes | memoryview

_PLAIN_ROUTES: Final = ("/generate",)
"""Routes that refuse compressed bodies: their requests are small."""

T = TypeVar("T")


class Responder(Work):
    """A request in progress, and the only way to answer it.

    The code of a route sets ``model_name``, ``version``, ``rows`` and ``cancel_work``, which stops the work. ``on_end``
    is called once when the request ends. ``late_s``: the seconds between its arrival and the start of the work, for
    example while a model loaded. ``stream``: the request, once its answer is a stream; then an error can no longer be
    the reply. ``gone``: the request has ended.
    """

    model_name = ""
    version = ""
    rows = 0
    cancel_work: Callable[[], object] | None = None
    on_end: Callable[[], None] | None = None
    late_s = 0.0
    stream: StreamedRequest | None = None  # the request, once its streamed answer has begun
    gone = False
    _is_charged = False
    _timer: asyncio.TimerHandle | None = None
    _reserved_bytes = 0  # for a decompressed body, and for tensors in shared memory
    _sent_bytes = 0  # in a stream
    _reason = ""  # of the error that ended the request

    def __init__(self, handler: "RequestHandler", request: Request) -> None:
        self.request = request
        self._handler = handler
        handler.in_flight += 1
        if handler.observer is not None and not request.is_own:
            request.trace = handler.observer.begin(request.endpoint.route, request.headers)

    def allowed_s(self, asked_s: float | None = None) -> float:
        """Seconds that the request may take in all: what it asks for, limited by its caller and by the server."""
        patience_s, handler = self.request.patience_s, self._handler
        timeout_s = asked_s or patience_s or handler.deadline_s
        if patience_s is not None:
            timeout_s = min(timeout_s, patience_s)
        if self.request.exposure is not None and timeout_s < handler.deadline_s:
            self.request.exposure.is_hurried = True
        return min(timeout_s, handler.max_timeout_s)

    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return self._handler.clock() - self.request.began

    def cancel(self) -> None:
        """The caller has disconnected: stop the work and send nothing."""
        if self.gone:
            return
        self._handler.metrics.rejected(self.model_name, Cancelled.reason)
        if self.cancel_work is not None:
            self.cancel_work()
        self._reason = Cancelled.reason
        total_s, bytes_in = self.elapsed_s(), self.request.count_received()
        self._let_go()
        self._tell(GONE, total_s, None, bytes_in, self._sent_bytes)

    def charge(self, rows: int) -> None:
        """Count rows against the limits of the caller's key before they run. Raises RateLimited if too few are left.

        Only the first run of a request can be refused. Later runs belong to work that has begun.
        """
        grant, guard = self.request.grant, self._handler.guard
        if grant is not None and guard is not None:
            guard.charge(grant, rows, may_refuse=not self._is_charged)
            self._is_charged = True

    def wait_at_most(self, seconds: float, what: str = "the request could be looked at") -> None:
        """Answer with DeadlinePassed unless ``stop_waiting`` is called in time."""
        self._timer = self._handler.loop.call_later(seconds, self._expire, what)

    def stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _expire(self, what: str) -> None:
        self._timer = None
        if self.gone:
            return
        if self.cancel_work is not None:
            self.cancel_work()
        self.fail(DeadlinePassed(f"the deadline passed before {what}"))

    def left_s(self, asked_s: float | None = None) -> float:
        """Seconds that are left; negative after the deadline."""
        return self.allowed_s(asked_s) - self.elapsed_s()

    def go_on(self) -> None:
        """Call the function of the route. What it raises becomes the answer."""
        try:
            self._handler.starts[self.request.endpoint.route](self)
        except Exception as error:  # noqa: BLE001
            self.fail_or_wait(error)

    def fail_or_wait(self, error: BaseException) -> None:
        """Answer with an error; but if a model is still loading, wait for it and try again."""
        if isinstance(error, StillLoading):
            self.wait_at_most(max(0.0, self.left_s(find_timeout(self.request.body))))
            self.cancel_work = error.when_loaded(self.go_on_late)
        else:
            self.fail(error)

    def go_on_late(self) -> None:
        """Go on after a wait. The wait counts towards the deadline."""
        if not self.gone:
            self.stop_waiting()
            self.cancel_work = None
            self.late_s = self.elapsed_s()
            self.go_on()

    def run_in_thread(
        self,
        work: Callable[[], T],
        then: Callable[[T], None],
        *,
        is_answered: bool = False,
        holds_interpreter: bool = True,
    ) -> "asyncio.Future[T]":
        """Call ``work`` in a thread, then ``then`` with its result on the event loop, unless the deadline passes first.

        ``is_answered``: the answer is known, and no deadline counts any more. ``holds_interpreter``: the GIL.
        """

        def done(future: asyncio.Future[T]) -> None:
            if future.cancelled() or self.gone:
                return
            self.stop_waiting()
            self.late_s = self.elapsed_s()
            failure = future.exception()  # to raise it here would make a cycle that keeps the body alive
            try:
                if failure is not None:
                    self.fail_or_wait(failure)
                else:
                    then(future.result())
            except Exception as error:  # noqa: BLE001
                self.fail_or_wait(error)

        handler = self._handler
        threads = handler.parsing if holds_interpreter else handler.threads
        future = handler.loop.run_in_executor(threads, without_traceback, work)
        self.cancel_work = future.cancel
        future.add_done_callback(done)
        if not is_answered:
            self.wait_at_most(max(0.0, self.left_s()))
        return future

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        request, handler = self.request, self._handler
        if not isinstance(error, ServiceError):
            logger.error("request %s: a fault of the server", request.request_id, exc_info=error)
            error = ModelFailure("a fault of the server")
        elif isinstance(error, ModelFailure):
            logger.error("request %s: %s", request.request_id, error)
        if isinstance(error, NotReady):
            self.model_name = self.model_name or error.model
        self._reason = error.reason
        handler.metrics.rejected(self.model_name, error.reason)
        told = handler.error_formats.get(request.endpoint.route, DEFAULT_FORMAT)
        reply = told.reply(error, request.request_id)
        if self.stream is not None:  # the status has gone out already
            self.send(sse.render_event(b"".join(reply.chunks), told.event))
            self.finish_stream(reply.status)
        else:
            self.finish(reply, None)

    def send(self, chunk: bytes) -> None:
        """Send a part of a streamed answer."""
        stream = self.stream
        if stream is None:
            request = self.request
            assert isinstance(request, StreamedRequest)  # noqa: S101  # no route of gRPC streams its answer
            stream = self.stream = request
            stream.open(200, [*sse.HEADERS, *describe_request(request, self._handler.guard)])
        self._sent_bytes += len(chunk)
        stream.send(chunk)

    def finish_stream(self, status: int, answer: Answer | None = None) -> None:
        """End a streamed answer."""
        stream = self.stream
        if self.gone or stream is None:
            return
        total_s, bytes_in = self.elapsed_s(), self.request.count_received()
        self._let_go()
        stream.end()
        self._count(status, total_s, answer, bytes_in, self._sent_bytes)

    def finish(self, reply: Reply, answer: Answer | None) -> None:
        """Send an answer, compressed if it is large enough and the caller accepts that."""
        if self.gone:
            return
        accepted = self.request.headers.get(b"accept-encoding")
        coding = choose_coding(accepted) if accepted is not None and reply.is_compressible else None
        if coding is None:
            self._reply(reply, answer)
            return

        def send(body: Body) -> None:
            headers = [*reply.headers, (b"content-encoding", coding.encode())]
            self._reply(Reply(reply.status, [body], headers), answer)

        if reply.size_bytes < compression.DEFLATE_IN_THREAD_FROM_BYTES:
            send(deflate(reply.chunks, coding))
            return
        self.run_in_thread(lambda: deflate(reply.chunks, coding), send, is_answered=True, holds_interpreter=False)

    def _reply(self, reply: Reply, answer: Answer | None) -> None:
        request, bytes_out = self.request, reply.size_bytes
        total_s, bytes_in = self.elapsed_s(), request.count_received()
        stages_s = None if answer is None else (answer.queue_s, answer.batch_s, answer.compute_s)
        timing = render_server_timing(total_s, stages_s, 0 if answer is None else answer.batch_rows)
        reply.headers = (*reply.headers, (b"server-timing", timing), *describe_request(request, self._handler.guard))
        self._let_go()
        request.reply(reply)
        self._count(reply.status, total_s, answer, bytes_in, bytes_out)

    def _count(self, status: int, total_s: float, answer: Answer | None, bytes_in: int, bytes_out: int) -> None:
        """Count the answer in the metrics. Called after it was sent, so that the caller does not wait for this."""
        route = self.request.endpoint.route
        self._handler.metrics.route(route, self.model_name, self.version).answered(status, total_s)
        self._tell(status, total_s, answer, bytes_in, bytes_out)

    def _tell(self, status: int, total_s: float, answer: Answer | None, bytes_in: int, bytes_out: int) -> None:
        """Report the end of the request to the rollout and to the observer."""
        request, observer = self.request, self._handler.observer
        if request.exposure is not None:
            request.exposure.end(status, total_s, self._reason)
        if observer is None or request.is_own:
            return
        end = end_of(request, status, total_s)
        end.model, end.version = self.model_name or end.model, self.version
        end.rows, end.bytes_in, end.bytes_out, end.reason = self.rows, bytes_in, bytes_out, self._reason
        if answer is not None:
            end.has_run, end.batch_rows = True, answer.batch_rows
            end.queue_s, end.batch_s, end.compute_s = answer.queue_s, answer.batch_s, answer.compute_s
        report_end(observer, end)

    def reserve(self, size_bytes: int) -> None:
        """Reserve memory besides that of the body until the request ends. Raises TryLater if there is none."""
        if not self._handler.body_budget.try_replace(self.request.count_received(), size_bytes):
            raise TryLater(f"body: expected room for {size_bytes} more bytes, but others hold it")
        self._reserved_bytes += size_bytes

    def inflate(self, coding: str) -> None:
        """Decompress the body, and go on."""
        work = functools.partial(inflate, self.request.body, coding, self._handler.settings.max_body_bytes)
        if len(self.request.body) < compression.INFLATE_IN_THREAD_FROM_BYTES:
            self._take_inflated(work())
        else:
            self.run_in_thread(work, self._take_inflated, holds_interpreter=False)

    def _take_inflated(self, body: Body) -> None:
        """Replace the compressed body. Raises TryLater."""
        self.request.received_bytes = len(self.request.body)
        self.reserve(len(body))
        self.request.body = body
        self.go_on_late()

    def _let_go(self) -> None:
        self.gone = True
        self._handler.in_flight -= 1
        if self._timer is not None:
            self.stop_waiting()
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()
        self.cancel_work = None
        self.request.work = None
        self.request.body = b""
        if self._reserved_bytes:
            self._handler.body_budget.release(self._reserved_bytes)
            self._reserved_bytes = 0


Start = Callable[[Responder], None]
"""Begins to answer a request. Raises ServiceError; any other exception becomes the error "a fault of the server"."""


class RequestHandler(Handler):
    """``starts``: the function of each route. ``error_formats``: for the routes that have a format of their own.

    ``in_flight`` is the number of requests without an answer.
    """

    in_flight = 0

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = clock
        self.settings = settings
        self.guard = None
        self.cors = Cors(settings.cors_origins) if settings.cors_origins else None
        self.body_budget = BodyBudget(settings.max_held_bytes, settings.max_body_bytes)
        self.metrics = metrics
        self.loop = loop
        self.deadline_s = settings.deadline_s
        self.max_timeout_s = max(settings.max_timeout_s, settings.deadline_s)
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self.parsing = ThreadPoolExecutor(1, thread_name_prefix="parse")
        """One thread for work that holds the GIL: two would only take turns."""
        self.starts: dict[str, Start] = {}
        self.error_formats: Mapping[str, ErrorFormat] = {}

    def match(self, path: str) -> Endpoint | None:
        return Endpoint(path, path=path) if path in self.starts and "{" not in path else match_model(path)

    def start(self, request: Request) -> None:
        request.began = request.began or self.clock()
        responder = Responder(self, request)
        request.work = responder
        try:
            given = request.headers.get(b"content-encoding")
            coding = None if given is None else read_coding(given)
            if coding is None:
                responder.go_on()
                return
            if (route := request.endpoint.route) in _PLAIN_ROUTES:
                raise UnsupportedCoding(f"content-encoding {coding!r}: expected none on {route}", ("identity",))
            responder.inflate(coding)
        except ServiceError as error:
            responder.fail(error)

    def refuse(self, request: Request, error: ServiceError) -> None:
        request.began = self.clock()
        Responder(self, request).fail(error)

    def count_rejected(self, error: type[ServiceError]) -> None:
        self.metrics.rejected("", error.reason)

    def close(self) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)
        self.parsing.shutdown(wait=True, cancel_futures=True)
