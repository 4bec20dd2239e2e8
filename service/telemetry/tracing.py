"""Traces by OpenTelemetry: makes the span of each request that was sampled.

The SDK sends the spans in batches, from a thread of its own. Spans that cannot be sent are dropped, without harm to
requests. The variables ``OTEL_…`` set where the spans go, and under which name.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from service.settings import Settings
from service.telemetry.context import TraceContext
from service.telemetry.sampling import SampledRequests, SpanSource, read_sampling
from service.telemetry.spans import SpanMaker, SpanTrace, make_context, read_parent
from service.transport.observer import RequestEnd

STOP_S = 3.0
"""How long a stop waits for the last spans to be sent."""
_FAILED_FROM = 500
"""Spans of this status and above have failed. 4xx is the caller's fault (semantic conventions of HTTP, "Status")."""
_GRPC = "grpc "


class RequestSpans(SpanSource):
    """``export`` takes spans that have ended. It must not block."""

    def __init__(
        self,
        resource: Resource,
        export: Callable[[ReadableSpan], None],
        clock: Callable[[], float],
        *,
        scheme: str = "http",
        base_path: str = "",
    ) -> None:
        self._maker = SpanMaker(resource, export, clock)
        self._scheme = scheme
        self._base_path = base_path

    def open_span(self, trace_id: int, caller: TraceContext | None) -> SpanTrace:
        parent = None if caller is None else read_parent(caller)
        context = make_context(trace_id, None if parent is None else parent.trace_state)
        return SpanTrace(self._maker, context, parent)

    def close_span(self, request: RequestEnd) -> None:
        trace = request.trace
        if not isinstance(trace, SpanTrace):
            return
        now = self._maker.clock()
        is_call = request.route.startswith(_GRPC)
        self._maker.make(
            request.path[1:] if is_call else f"{request.method} {request.route}",
            trace.context,
            trace.parent,
            min(trace.began, now - request.seconds),  # both are a little late
            now,
            self._describe(request, is_call),
            kind=SpanKind.SERVER,
            links=trace.links,
            is_failed=request.status >= _FAILED_FROM,
        )

    def _describe(self, request: RequestEnd, is_call: bool) -> dict[str, Any]:
        """The attributes: those of the semantic conventions for HTTP or remote calls, and our own."""
        if is_call:
            service, _, method = request.path[1:].partition("/")
            found: dict[str, Any] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        else:
            found = {
                "http.request.method": request.method,
                "http.route": request.route,
                "http.response.status_code": request.status,
                "url.path": (self._base_path if request.is_below_base else "") + request.path,
                "url.scheme": self._scheme,
            }
        if request.client:
            found["client.address"] = request.client
        if request.reason:
            found["error.type"] = request.reason
        if request.has_run:
            found["sluice.batch_rows"] = request.batch_rows
            found["sluice.queue_s"] = request.queue_s
            found["sluice.batch_s"] = request.batch_s
            found["sluice.compute_s"] = request.compute_s
        known = {"model": request.model, "version": request.version, "rows": request.rows, "caller": request.caller}
        return found | {f"sluice.{name}": value for name, value in known.items() if value}


class Exporter:
    """The thread of the SDK that sends spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    def export(self, span: ReadableSpan) -> None:
        self._processor.on_end(span)

    async def close(self) -> None:
        """Send the rest. This takes ``STOP_S`` at most, also if there is no collector."""
        # Not a thread of an executor, because the process would wait for that at its end.
        sending = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, STOP_S)


def open_tracing(
    settings: Settings, clock: Callable[[], float], release: str, environ: Mapping[str, str] = os.environ
) -> tuple[SampledRequests, Exporter]:
    """The observer of requests, and the exporter of its spans. ``release`` is our version. Raises SettingsError."""
    sampling = read_sampling(settings.trace_ratio, environ)
    name = {} if environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "sluice"}
    if SERVICE_NAME in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        name = {}
    resource = Resource.create({**name, "service.version": release, "process.pid": os.getpid()})
    exporter = Exporter()
    scheme = "http" if settings.tls_certificate is None else "https"
    spans = RequestSpans(resource, exporter.export, clock, scheme=scheme, base_path=settings.base_path)
    return SampledRequests(sampling, spans), exporter
