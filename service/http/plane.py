"""The data plane: the POST routes that carry tensors, for whichever door a request came in by.

Life of a call: ``match`` finds the endpoint, ``start`` decodes, validates and queues, and gives back a ticket; the
answer is rendered when the batch is done and goes out by ``call.reply``, once. Whatever goes wrong on the way becomes
an error reply, so a door never sees an exception.
"""

import asyncio
import functools
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from service.engine.dispatcher import Answer, Job
from service.engine.tensors import Arrays
from service.errors import CallerError, Cancelled, InvalidInput, ModelFailure, ServiceError, UnsupportedMedia
from service.http.calls import JSON, Call, Reply
from service.http.status import error_reply
from service.metrics import Metrics
from service.protocol.images import MEDIA_TYPES
from service.protocol.text import parse_object, render_json
from service.protocol.v2 import parse_infer, render_infer
from service.registry import Model, Registry
from service.settings import Settings
from service.tasks.classify import ClassifyOptions, predictions
from service.tasks.rows import image_rows, read_rows

logger = logging.getLogger("sluice.http")

INFER = "/v2/models/{model}/infer"
CLASSIFY = "/classify"
_INFER_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_SLOW_DECODE_BYTES = 32 << 10
"""Pictures in bodies larger than this are decoded in a thread: they would hold up everybody else."""

Render = Callable[[Answer], Reply]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path that the data plane answers: the label of its route in metrics, and whom it names."""

    route: str
    model: str | None = None
    version: str | None = None


@dataclass(slots=True)
class Ticket:
    """A call under way. ``cancel`` takes it out of wherever it is; its reply will not come."""

    plane: "DataPlane"
    endpoint: Endpoint
    call: Call
    model: Model | None = None
    job: Job | None = None
    gone: bool = False

    def cancel(self) -> None:
        if self.gone:
            return
        self.gone = True
        self.plane.note_cancelled(self)
        if self.model is not None and self.job is not None:
            self.model.dispatcher.cancel(self.job)


class DataPlane:
    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        metrics: Metrics,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = clock
        self.max_body_bytes = settings.max_body_bytes
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._loop = loop
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._begin: Mapping[str, Callable[[Ticket], None]] = {INFER: self._infer, CLASSIFY: self._classify}

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def match(path: str) -> Endpoint | None:
        """The endpoint of a path, or None where it is not one of the data plane's."""
        if path == CLASSIFY:
            return Endpoint(CLASSIFY)
        found = _INFER_PATH.fullmatch(path)
        return Endpoint(INFER, found[1], found[2]) if found else None

    def start(self, endpoint: Endpoint, call: Call) -> Ticket:
        """Begin a call whose body is complete. The reply may come before this returns."""
        ticket = Ticket(self, endpoint, call)
        self._guard(ticket, self._begin[endpoint.route])
        return ticket

    def refuse(self, endpoint: Endpoint, call: Call, error: ServiceError) -> None:
        """Answer a call with an error that a door has found before the body was there."""
        self._refuse(Ticket(self, endpoint, call), error)

    def close(self) -> None:
        self._decoders.shutdown(wait=True)

    def _guard(self, ticket: Ticket, step: Callable[[Ticket], None]) -> None:
        """Run a step of a call; whatever it raises becomes the call's answer."""
        try:
            encoding = ticket.call.headers.get(b"content-encoding", b"identity")
            if encoding != b"identity":
                raise UnsupportedMedia(f"content-encoding {encoding.decode('latin-1')!r}: expected none")
            step(ticket)
        except ServiceError as error:
            self._refuse(ticket, error)
        except Exception:
            logger.exception("request %s failed before it was queued", ticket.call.request_id)
            self._refuse(ticket, ModelFailure("a fault of the server"))

    def _infer(self, ticket: Ticket) -> None:
        call, endpoint = ticket.call, ticket.endpoint
        model = ticket.model = self._registry.find(endpoint.model or "", endpoint.version)
        request = parse_infer(call.body, _header_bytes(call.headers))
        header = request.header
        for name in header.outputs or ():
            if name not in model.signature.outputs:
                have = ", ".join(model.signature.outputs)
                raise InvalidInput(f"outputs: no output {name!r:.60} in model {model.name!r}, there are {have}")

        def render(answer: Answer) -> Reply:
            encoded = render_infer(model.name, model.version, header, answer.outputs)
            if encoded.header_bytes is None:
                return Reply(200, encoded.chunks, [JSON])
            length = str(encoded.header_bytes).encode()
            headers = [(b"content-type", b"application/octet-stream"), (b"inference-header-content-length", length)]
            return Reply(200, encoded.chunks, headers)

        self._submit(ticket, model, request.inputs, render, header.timeout_s, header.priority)

    def _classify(self, ticket: Ticket) -> None:
        body, headers = ticket.call.body, ticket.call.headers
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        rows: Any = None
        if media_type.startswith("image/"):
            if media_type not in MEDIA_TYPES:
                raise UnsupportedMedia(f"content-type {media_type}: expected {' or '.join(MEDIA_TYPES)}")
            options = ClassifyOptions.parse_query(dict(parse_qsl(ticket.call.query.decode("latin-1"))))
        else:
            fields: dict[str, Any] = parse_object(body)
            if fields.get("inputs") is None:
                raise InvalidInput("inputs: expected an array of rows, got nothing")
            rows = fields.pop("inputs")
            options = ClassifyOptions.parse(fields)
        version = None if options.version is None else str(options.version)
        model = ticket.model = self._registry.find_for_task("classify", options.model, version)

        def render(answer: Answer) -> Reply:
            found = predictions(model.manifest, answer.outputs, options.top_k)
            content = {"model": model.name, "version": model.version, "predictions": found}
            return Reply(200, [render_json(content)], [JSON])

        def work() -> Arrays:
            if rows is None:
                return image_rows(body, model.manifest, self._settings.max_image_pixels)
            return read_rows(rows, model.manifest, self._settings.max_image_pixels)

        has_pictures = rows is None or (isinstance(rows, list) and any(isinstance(row, dict) for row in rows))
        if has_pictures and len(body) > _SLOW_DECODE_BYTES:
            self._decode_aside(ticket, work, lambda inputs: self._submit(ticket, model, inputs, render))
        else:
            self._submit(ticket, model, work(), render)

    def _decode_aside(self, ticket: Ticket, work: Callable[[], Arrays], then: Callable[[Arrays], None]) -> None:
        """Decode in a thread and go on with the call on the loop."""
        future = self._loop.run_in_executor(self._decoders, work)

        def decoded(result: asyncio.Future[Arrays]) -> None:
            if not ticket.gone:
                self._guard(ticket, lambda _: then(result.result()))

        future.add_done_callback(decoded)

    def _submit(
        self,
        ticket: Ticket,
        model: Model,
        inputs: Arrays,
        render: Render,
        timeout_s: float | None = None,
        priority: int = 1,
    ) -> None:
        rows = model.signature.check(inputs)

        def done(outcome: Answer | ServiceError) -> None:
            if isinstance(outcome, ServiceError):
                self._refuse(ticket, outcome)
                return
            try:
                reply = render(outcome)
            except CallerError as error:
                self._refuse(ticket, error)
            except Exception:
                logger.exception("request %s: the answer could not be rendered", ticket.call.request_id)
                self._refuse(ticket, ModelFailure("the answer could not be rendered"))
            else:
                self._finish(ticket, reply, outcome)

        ticket.job = model.dispatcher.submit(
            rows, done, timeout_s=timeout_s or self._settings.deadline_s, priority=priority
        )

    def _refuse(self, ticket: Ticket, error: ServiceError) -> None:
        if isinstance(error, ModelFailure):
            logger.error("request %s: %s", ticket.call.request_id, error)
        self._metrics.rejected(ticket.model.name if ticket.model else "", error.reason)
        self._finish(ticket, error_reply(error, ticket.call.request_id), None)

    def _finish(self, ticket: Ticket, reply: Reply, answer: Answer | None) -> None:
        if ticket.gone:
            return
        ticket.gone = True
        call = ticket.call
        total_s = self.clock() - call.began
        meter = self._metrics.route(ticket.endpoint.route, ticket.model.name if ticket.model else "")
        meter.answered(reply.status, total_s)
        reply.headers.append((b"x-request-id", call.request_id.encode()))
        reply.headers.append((b"server-timing", _server_timing(total_s, answer)))
        call.reply(reply)

    def note_cancelled(self, ticket: Ticket) -> None:
        self._metrics.rejected(ticket.model.name if ticket.model else "", Cancelled.reason)


def _header_bytes(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(b"inference-header-content-length")
    if text is None:
        return None
    if not text.isdigit():
        raise InvalidInput(f"Inference-Header-Content-Length: expected a number, got {text.decode('latin-1')!r:.40}")
    return int(text)


def _server_timing(total_s: float, answer: Answer | None) -> bytes:
    """Milliseconds of each stage. W3C Server Timing."""
    if answer is None:
        return b"total;dur=%.3f" % (total_s * 1e3)
    return b"queue;dur=%.3f, batch;dur=%.3f, compute;dur=%.3f, total;dur=%.3f" % (
        answer.queue_s * 1e3,
        answer.batch_s * 1e3,
        answer.compute_s * 1e3,
        total_s * 1e3,
    )
