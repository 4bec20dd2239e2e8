"""The request handler: the POST routes that carry tensors, for whichever path a request came in by.

Life of a call: ``match`` finds the endpoint, ``start`` inflates, decodes, validates and queues; the answer is rendered
when the batch is done, compressed if the caller asks for it, and goes out by ``call.reply``, once. Whatever goes wrong
on the way becomes an error reply, so a path never sees an exception.

What a call refers to is let go of when it ends: without reference cycles memory is free at once, and the garbage
collector, which would stop everybody, has nothing to find.
"""

import asyncio
import functools
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from service.api.generate import GENERATE_STREAM
from service.api.kserve import FORECAST, forecast_error_reply
from service.api.tasks import OPENERS, Errand, Errands
from service.api.v2 import BINARY, ROUTES, Inference
from service.engine.execution.queued_request import Answer
from service.engine.execution.write_coalescer import WriteCoalescer
from service.errors import (
    Cancelled,
    ModelFailure,
    ServiceError,
    StillLoading,
    TryLater,
    UnsupportedCoding,
)
from service.metrics.meters import Metrics
from service.models.registry import Registry
from service.protocol.compression import choose_coding, deflate, inflate, read_coding
from service.sequences.sequences import Sequences
from service.settings import Settings
from service.tasks.work import Limits
from service.transport import sse
from service.transport.body_budget import BodyBudget
from service.transport.cors import Cors
from service.transport.request import JSON, Call, Endpoint, Handed, Reply
from service.transport.status import error_reply

if TYPE_CHECKING:
    from service.sequences.forwarding import Relay

logger = logging.getLogger("sluice.http")

HANDLER_STATE = "sluice.handler"
"""Where the ASGI path leaves the request handler in the lifespan's state, which uvicorn hands to its protocols."""
_FIXED_PATHS = frozenset(route for route in OPENERS if "{" not in route)
_V2_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/(infer|generate|generate_stream)")
_V1_PATH = re.compile(r"/v1/models/([^/]+):(predict|explain)")
_PLAIN_ROUTES = ("/generate",)
"""Whose requests are too small to be worth a content coding."""
_COMPRESS_FROM_BYTES = 1024
_INFLATE_ASIDE_FROM_BYTES = 4 << 10
_DEFLATE_ASIDE_FROM_BYTES = 16 << 10
"""Larger bodies are inflated and compressed in a thread; up to there it took 3 ms, for a bomb, and 0.15 ms."""


class RequestHandler:
    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
        writes: WriteCoalescer | None = None,
    ) -> None:
        self.clock = clock
        self.writes = writes or WriteCoalescer()
        self.max_body_bytes = settings.max_body_bytes
        self.base_path = settings.base_path
        self.keep_alive_s = settings.keep_alive_s
        self.cors = Cors(settings.cors_origins) if settings.cors_origins else None
        self.body_budget = BodyBudget(settings.max_held_bytes)
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._loop = loop
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")
        limits = Limits(
            max_pixels=settings.max_image_pixels,
            max_steps=settings.max_steps,
            max_generated=settings.max_generated,
            state_key=settings.state_key.encode() or secrets.token_bytes(32),
        )
        self.sequences = Sequences(settings, loop)
        self.relay: Relay | None = None
        self.errands = Errands(self, registry, limits, settings.deadline_s, loop, self._decoders)
        self._begin: Mapping[str, Callable[[Call], None]] = {
            **dict.fromkeys(ROUTES, Inference(self, registry, settings).start),
            **dict.fromkeys(OPENERS, self.errands.start),
        }

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def match(path: str, base_path: str = "") -> Endpoint | None:
        """The endpoint of a path below ``base_path``, or None where it is not one of the request handler's."""
        if not path.startswith(base_path):
            return None
        path = path[len(base_path) :]
        if path in _FIXED_PATHS:
            return Endpoint(path)
        if found := _V2_PATH.fullmatch(path):
            return Endpoint(f"/v2/models/{{model}}/{found[3]}", found[1], found[2])
        found = _V1_PATH.fullmatch(path)
        return Endpoint(f"/v1/models/{{model}}:{found[2]}", found[1]) if found else None

    def start(self, call: Call) -> None:
        """Begin a call whose body is complete. The reply may come before this returns."""
        call.began = call.began or self.clock()
        if b"content-encoding" not in call.headers:
            self._go_on(call)
        else:
            self._inflate(call, call.headers[b"content-encoding"])

    def _go_on(self, call: Call) -> None:
        try:
            self._begin[call.endpoint.route](call)
        except StillLoading as error:
            error.when_loaded(lambda: self._go_on_late(call))
        except Exception as error:  # noqa: BLE001  # whatever a step raises becomes the answer of the call
            self.fail(call, error)

    def _go_on_late(self, call: Call) -> None:
        """Go on with a call that had to wait, if its caller still does: that time is over too."""
        if not call.gone:
            call.late_s = self.clock() - call.began
            self._go_on(call)

    def _inflate(self, call: Call, encoding: bytes) -> None:
        """Go on with the body as it was before its content coding."""

        def go_on(body: bytes) -> None:
            # Bodies under way are bounded in all, and this one has grown since a path let it in.
            if self.body_budget.held_bytes <= len(call.body):  # there is no other
                self.body_budget.grow(len(body))
            elif not self.body_budget.try_admit(len(body)):
                self.fail(call, TryLater(f"body: expected room for {len(body)} more bytes, but others hold it"))
                return
            call.inflated_bytes = len(body)
            call.body = body
            self._go_on_late(call)

        try:
            coding = read_coding(encoding)
            if coding is None:
                self._go_on(call)
                return
            if call.endpoint.route in _PLAIN_ROUTES:
                raise UnsupportedCoding(
                    f"content-encoding {coding!r}: expected none on {call.endpoint.route}", ("identity",)
                )
            work = functools.partial(inflate, call.body, coding, self.max_body_bytes)
            if len(call.body) < _INFLATE_ASIDE_FROM_BYTES:
                go_on(work())
            else:
                self._do_aside(call, work, go_on)
        except ServiceError as error:
            self.fail(call, error)

    def _do_aside(self, call: Call, work: Callable[[], bytes], then: Callable[[bytes], None]) -> None:
        """Do what takes long in a thread, and then go on with the call if its caller is still there."""

        def done(future: asyncio.Future[Any]) -> None:
            error = future.exception()
            if call.gone:
                return
            if isinstance(error, Exception):
                self.fail(call, error)
            else:
                then(future.result())

        self._loop.run_in_executor(self._decoders, work).add_done_callback(done)

    def refuse(self, call: Call, error: ServiceError) -> None:
        """Answer a call with an error that a path has found before the body was there."""
        call.began = self.clock()
        self.fail(call, error)

    def cancel(self, call: Call) -> None:
        """The caller has gone: take the call out of wherever it is. Its reply will not come."""
        if call.gone:
            return
        self._metrics.rejected(call.model.name if call.model else "", Cancelled.reason)
        job = call.job
        if isinstance(job, Errand | Handed):
            job.cancel()
        elif call.model is not None and job is not None:
            call.model.dispatcher.cancel(job)
        self._let_go(call)

    def close(self) -> None:
        self.sequences.close()
        self._decoders.shutdown(wait=True)

    def fail(self, call: Call, error: Exception) -> None:
        if not isinstance(error, ServiceError):
            logger.error("request %s: a fault of the server", call.request_id, exc_info=error)
            error = ModelFailure("a fault of the server")
        elif isinstance(error, ModelFailure):
            logger.error("request %s: %s", call.request_id, error)
        self._metrics.rejected(call.model.name if call.model else "", error.reason)
        make = forecast_error_reply if call.endpoint.route == FORECAST else error_reply
        reply = make(error, call.request_id)
        if call.opened:  # the status has gone out: what is left is to say it in the stream
            name = None if call.endpoint.route == GENERATE_STREAM else "error"
            call.send(sse.event(b"".join(reply.chunks), name))
            self.finish_stream(call, reply.status)
        else:
            self.finish(call, reply, None)

    def finish_stream(self, call: Call, status: int) -> None:
        """End an answer that was sent in pieces."""
        if call.gone:
            return
        self._note(call, status)
        self._let_go(call)
        call.end()

    def _note(self, call: Call, status: int) -> float:
        """Count an answer; returns how long it took, in seconds."""
        total_s = self.clock() - call.began
        meter = self._metrics.route(call.endpoint.route, call.model.name if call.model else "")
        meter.answered(status, total_s)
        return total_s

    def finish(self, call: Call, reply: Reply, answer: Answer | None) -> None:
        """Send an answer, in the coding that its caller asks for where that is worth it."""
        if call.gone:
            return
        coding = _coding_of(call, reply) if b"accept-encoding" in call.headers else None
        if coding is None:
            self._reply(call, reply, answer)
            return

        def send(body: bytes) -> None:
            headers = [*reply.headers, (b"content-encoding", coding.encode())]
            self._reply(call, Reply(reply.status, [body], headers), answer)

        if reply.size_bytes < _DEFLATE_ASIDE_FROM_BYTES:
            send(deflate(reply.chunks, coding))
            return
        call.job = None  # the engine has done its part
        self._do_aside(call, functools.partial(deflate, reply.chunks, coding), send)

    def _reply(self, call: Call, reply: Reply, answer: Answer | None) -> None:
        total_s = self._note(call, reply.status)
        timing = _server_timing(total_s, answer)
        reply.headers = (
            *reply.headers,
            (b"x-request-id", call.request_id.encode()),
            (b"server-timing", timing),
        )
        self._let_go(call)
        call.reply(reply)

    def _let_go(self, call: Call) -> None:
        call.gone = True
        place, call.place = call.place, None
        if place is not None:
            place.leave()
        call.model = call.job = call.details = None
        call.body = b""
        if call.inflated_bytes:
            self.body_budget.release(call.inflated_bytes)
            call.inflated_bytes = 0


def _coding_of(call: Call, reply: Reply) -> str | None:
    """The content coding for a reply; pictures are compressed already, and short ones would not get shorter."""
    if reply.size_bytes < _COMPRESS_FROM_BYTES:
        return None
    return (
        choose_coding(call.headers[b"accept-encoding"])
        if any(header in reply.headers for header in (JSON, BINARY))
        else None
    )


def _server_timing(total_s: float, answer: Answer | None) -> bytes:
    """Milliseconds of each stage. W3C Server Timing."""
    if answer is None:
        return b"total;dur=" + _milliseconds(total_s)
    return b"".join(
        [
            b"queue;dur=",
            _milliseconds(answer.queue_s),
            b", batch;dur=",
            _milliseconds(answer.batch_s),
            b", compute;dur=",
            _milliseconds(answer.compute_s),
            b", total;dur=",
            _milliseconds(total_s),
        ]
    )


_MILLISECONDS = [b"%d.%03d" % divmod(us, 1000) for us in range(10_000)]
"""By microseconds. To format the four of an answer took a thirtieth of a tiny model's request."""


def _milliseconds(seconds: float) -> bytes:
    us = int(seconds * 1e6 + 0.5)
    return _MILLISECONDS[us] if 0 <= us < len(_MILLISECONDS) else b"%.3f" % (seconds * 1e3)
