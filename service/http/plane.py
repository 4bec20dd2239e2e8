"""The data plane: the POST routes that carry tensors, for whichever door a request came in by.

Life of a call: ``match`` finds the endpoint, ``start`` decodes, validates and queues; the answer is rendered when the
batch is done and goes out by ``call.reply``, once. Whatever goes wrong on the way becomes an error reply, so a door
never sees an exception.

What a call refers to is let go of when it ends: without reference cycles memory is free at once, and the garbage
collector, which would stop everybody, has nothing to find.
"""

import asyncio
import functools
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl

from service.engine.dispatcher import Answer
from service.engine.tensors import Arrays
from service.errors import Cancelled, InvalidInput, ModelFailure, ServiceError, StillLoading, UnsupportedMedia
from service.http.calls import JSON, Call, Endpoint, Reply
from service.http.intake import Intake
from service.http.status import error_reply
from service.metrics import Metrics
from service.protocol.images import MEDIA_TYPES
from service.protocol.text import parse_object, render_json
from service.protocol.v2 import Header, parse_infer, render_infer
from service.registry import Model, Registry
from service.settings import Settings
from service.tasks.classify import ClassifyOptions, predictions
from service.tasks.rows import image_rows, read_rows

logger = logging.getLogger("sluice.http")

INFER = "/v2/models/{model}/infer"
CLASSIFY = "/classify"
PLANE_STATE = "sluice.plane"
"""Where the ASGI door leaves the data plane in the lifespan's state, which uvicorn hands to its protocols."""
_INFER_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_SLOW_DECODE_BYTES = 32 << 10
"""Pictures in bodies larger than this are decoded in a thread: they would hold up everybody else."""
_BINARY = (b"content-type", b"application/octet-stream")

Render = Callable[[Call, Model, Answer], Reply]


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
        self.intake = Intake(settings.max_held_bytes)
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._loop = loop
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._begin: Mapping[str, Callable[[Call], None]] = {INFER: self._infer, CLASSIFY: self._classify}

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def match(path: str) -> Endpoint | None:
        """The endpoint of a path, or None where it is not one of the data plane's."""
        if path == CLASSIFY:
            return Endpoint(CLASSIFY)
        found = _INFER_PATH.fullmatch(path)
        return Endpoint(INFER, found[1], found[2]) if found else None

    def start(self, call: Call) -> None:
        """Begin a call whose body is complete. The reply may come before this returns."""
        call.began = call.began or self.clock()
        try:
            encoding = call.headers.get(b"content-encoding")
            if encoding is not None and encoding != b"identity":
                raise UnsupportedMedia(f"content-encoding {encoding.decode('latin-1')!r}: expected none")
            self._begin[call.endpoint.route](call)
        except StillLoading as error:
            error.when_loaded(lambda: None if call.gone else self.start(call))
        except Exception as error:  # noqa: BLE001  # whatever a step raises becomes the answer of the call
            self._fail(call, error)

    def refuse(self, call: Call, error: ServiceError) -> None:
        """Answer a call with an error that a door has found before the body was there."""
        call.began = self.clock()
        self._fail(call, error)

    def cancel(self, call: Call) -> None:
        """The caller has gone: take the call out of wherever it is. Its reply will not come."""
        if call.gone:
            return
        self._metrics.rejected(call.model.name if call.model else "", Cancelled.reason)
        if call.model is not None and call.job is not None:
            call.model.dispatcher.cancel(call.job)
        self._let_go(call)

    def close(self) -> None:
        self._decoders.shutdown(wait=True)

    def _infer(self, call: Call) -> None:
        model = call.model = self._registry.find(call.endpoint.model, call.endpoint.version)
        deadline_s = self._settings.deadline_s

        def admit(header: Header) -> None:
            # Before tensors are decoded: a server that is asked for too much has no time to lose on what it refuses.
            shape = header.inputs[0].shape
            rows = shape[0] if shape and model.signature.batches else 1
            model.dispatcher.admit(rows, header.timeout_s or deadline_s)

        header, inputs = parse_infer(call.body, _header_bytes(call.headers), admit)
        call.details = header
        if header.outputs is not None and not header.outputs.keys() <= model.signature.outputs.keys():
            name = next(name for name in header.outputs if name not in model.signature.outputs)
            have = ", ".join(model.signature.outputs)
            raise InvalidInput(f"outputs: no output {name!r:.60} in model {model.name!r}, there are {have}")
        self._submit(call, model, inputs, self._render_infer, header.timeout_s, header.priority)

    @staticmethod
    def _render_infer(call: Call, model: Model, answer: Answer) -> Reply:
        header: Header = call.details
        chunks, header_bytes = render_infer(model.name, model.version, header, answer.outputs)
        if header_bytes is None:
            return Reply(200, chunks, [JSON])
        return Reply(200, chunks, [_BINARY, (b"inference-header-content-length", b"%d" % header_bytes)])

    def _classify(self, call: Call) -> None:
        media_type = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        rows: Any = None
        if media_type.startswith("image/"):
            if media_type not in MEDIA_TYPES:
                raise UnsupportedMedia(f"content-type {media_type}: expected {' or '.join(MEDIA_TYPES)}")
            options = ClassifyOptions.parse_query(dict(parse_qsl(call.query.decode("latin-1"))))
        else:
            fields: dict[str, Any] = parse_object(call.body)
            rows = fields.pop("inputs", None)
            if rows is None:
                raise InvalidInput("inputs: expected an array of rows, got nothing")
            options = ClassifyOptions.parse(fields)
        call.details = options
        version = None if options.version is None else str(options.version)
        model = call.model = self._registry.find_for_task("classify", options.model, version)
        limit = self._settings.max_image_pixels

        def decode() -> Arrays:
            if rows is None:
                return image_rows(bytes(call.body), model.manifest, limit)
            return read_rows(rows, model.manifest, limit)

        has_pictures = rows is None or (isinstance(rows, list) and any(isinstance(row, dict) for row in rows))
        if has_pictures and len(call.body) > _SLOW_DECODE_BYTES:
            self._decode_aside(call, decode, lambda inputs: self._submit(call, model, inputs, self._render_classify))
        else:
            self._submit(call, model, decode(), self._render_classify)

    @staticmethod
    def _render_classify(call: Call, model: Model, answer: Answer) -> Reply:
        options: ClassifyOptions = call.details
        found = predictions(model.manifest, answer.outputs, options.top_k)
        return Reply(200, [render_json({"model": model.name, "version": model.version, "predictions": found})], [JSON])

    def _decode_aside(self, call: Call, decode: Callable[[], Arrays], then: Callable[[Arrays], None]) -> None:
        """Decode in a thread and go on with the call on the loop."""

        def decoded(result: asyncio.Future[Arrays]) -> None:
            if call.gone:
                return
            try:
                then(result.result())
            except Exception as error:  # noqa: BLE001  # whatever decoding raises becomes the answer of the call
                self._fail(call, error)

        self._loop.run_in_executor(self._decoders, decode).add_done_callback(decoded)

    def _submit(
        self,
        call: Call,
        model: Model,
        inputs: Arrays,
        render: Render,
        timeout_s: float | None = None,
        priority: int = 1,
    ) -> None:
        rows = model.signature.check(inputs)

        def done(outcome: Answer | ServiceError) -> None:
            if isinstance(outcome, ServiceError):
                self._fail(call, outcome)
                return
            try:
                reply = render(call, model, outcome)
            except Exception as error:  # noqa: BLE001  # such as FP16 asked for as JSON
                self._fail(call, error)
            else:
                self._finish(call, reply, outcome)

        call.job = model.dispatcher.submit(
            rows, done, timeout_s=timeout_s or self._settings.deadline_s, priority=priority
        )

    def _fail(self, call: Call, error: Exception) -> None:
        if not isinstance(error, ServiceError):
            logger.error("request %s: a fault of the server", call.request_id, exc_info=error)
            error = ModelFailure("a fault of the server")
        elif isinstance(error, ModelFailure):
            logger.error("request %s: %s", call.request_id, error)
        self._metrics.rejected(call.model.name if call.model else "", error.reason)
        self._finish(call, error_reply(error, call.request_id), None)

    def _finish(self, call: Call, reply: Reply, answer: Answer | None) -> None:
        if call.gone:
            return
        total_s = self.clock() - call.began
        meter = self._metrics.route(call.endpoint.route, call.model.name if call.model else "")
        meter.answered(reply.status, total_s)
        reply.headers.append((b"x-request-id", call.request_id.encode()))
        reply.headers.append((b"server-timing", _server_timing(total_s, answer)))
        self._let_go(call)
        call.reply(reply)

    @staticmethod
    def _let_go(call: Call) -> None:
        call.gone = True
        call.model = call.job = call.details = None
        call.body = b""


def _header_bytes(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(b"inference-header-content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 18:
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
