"""Traces of a load test: some requests carry a W3C trace context, and their spans are sent by OpenTelemetry.

So a trace begins at the generator and goes through the server to the batch. Where the spans go say the variables
``OTEL_…``. Without the packages of OpenTelemetry the context is sent all the same, and the server has its spans.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SERVICE = "sluice-loadtest"


@dataclass
class Span:
    """A request that is under way. ``headers`` are to be sent with it, none if it is not traced."""

    headers: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""


class Traces:
    """``share`` of the requests are traced."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._processor: Any = None
        self._resource: Any = None
        if share:
            self._open()

    def _open(self) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            return
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        # The variables OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are those of the server in many shells.
        self._resource = Resource({"service.name": SERVICE})

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        """A request from here to the end of the block."""
        if not self._share or random.random() >= self._share:
            yield Span()
            return
        trace_id, span_id = random.getrandbits(128) or 1, random.getrandbits(64) or 1
        span = Span({"traceparent": f"00-{trace_id:032x}-{span_id:016x}-01"})
        began_ns = time.time_ns()
        try:
            yield span
        finally:
            self._send(name, span, trace_id, span_id, began_ns)

    def _send(self, name: str, span: Span, trace_id: int, span_id: int, began_ns: int) -> None:
        if self._processor is None:
            return
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        ended = ReadableSpan(
            name,
            context=SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.SAMPLED)),
            resource=self._resource,
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR, span.failure) if span.failure else Status(),
            start_time=began_ns,
            end_time=time.time_ns(),
        )
        self._processor.on_end(ended)

    def close(self) -> None:
        """Send what is left."""
        if self._processor is not None:
            self._processor.shutdown()
