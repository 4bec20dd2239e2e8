"""The spans of sampled requests. They are made at their end, from times that the engine measures anyway.

Spans and their links
- A request (kind server): from its body to its answer. Its parent is the span of the caller, if there is one.
- A batch: from when its rows are taken from the queue to its end. Its parent is the first of its sampled requests. It
  is linked to all of them, and they are linked to it.
- A step of a pipeline, and the loop of a model: their parent is the request.

Times are on the clock of the handler. They are turned into times of day when a span is made.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from service.metrics.spans import RowsTrace, RunTimes, Trace
from service.telemetry.context import TraceContext, render_context

_COMPARE_EVERY_S = 60.0
"""How often the clocks are compared. If it were done for each span, spans of one request could change their order."""
_TRIES = 5
MOST_LINKS = 128
"""The most links of a span: OpenTelemetry's default limit."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("sluice")


class SpanMaker:
    """Makes spans and gives them to ``export``. ``clock`` is that of the handler, in seconds."""

    def __init__(self, resource: Resource, export: Callable[[ReadableSpan], None], clock: Callable[[], float]) -> None:
        self._resource = resource
        self._export = export
        self.clock = clock
        self._compare_at = -math.inf
        self._to_day = 0.0

    def _compare(self) -> float:
        """What to add to a time on the clock to get the time of day. The try with the fewest interruptions counts."""
        tries = []
        for _ in range(_TRIES):
            before, day, after = self.clock(), time.time(), self.clock()
            tries.append((after - before, day - (before + after) / 2))
        return min(tries)[1]

    def make(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        began: float,
        ended: float,
        attributes: dict[str, Any],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        events: Sequence[tuple[str, float]] = (),
        is_failed: bool = False,
    ) -> None:
        """``began`` and ``ended`` are on the clock, as are the times of ``events``."""
        if ended >= self._compare_at:
            self._compare_at, self._to_day = ended + _COMPARE_EVERY_S, self._compare()
        to_day = self._to_day

        def as_ns(at: float) -> int:
            return round((at + to_day) * 1e9)

        span = ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            events=[Event(what, timestamp=as_ns(at)) for what, at in events],
            links=links[:MOST_LINKS],
            kind=kind,
            status=Status(StatusCode.ERROR) if is_failed else Status(),
            start_time=as_ns(began),
            end_time=as_ns(ended),
            instrumentation_scope=_SCOPE,
        )
        self._export(span)


def make_context(trace_id: int, state: TraceState | None = None) -> SpanContext:
    """The context of a new span."""
    return SpanContext(trace_id, random.getrandbits(64) or 1, False, _SAMPLED, state)


def read_parent(caller: TraceContext) -> SpanContext:
    """The span of a caller."""
    state = TraceState.from_header([caller.state]) if caller.state else None
    flags = TraceFlags(TraceFlags.SAMPLED if caller.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(caller.trace_id, caller.span_id, True, flags, state)


class SpanTrace(Trace):
    """An open span. ``links`` lead to the batches of its rows."""

    def __init__(self, maker: SpanMaker, context: SpanContext, parent: SpanContext | None, name: str = "") -> None:
        self.header = render_context(context.trace_id, context.span_id)
        self.context = context
        self.parent = parent
        self.links: list[Link] = []
        self.began = maker.clock()
        self._maker = maker
        self._name = name

    def follow(self, model: str, version: str, provider: str) -> "SpanRows":
        return SpanRows(self._maker, self, model, version, provider)

    def begin(self, name: str) -> "SpanTrace":
        context = make_context(self.context.trace_id, self.context.trace_state)
        return SpanTrace(self._maker, context, self.context, name)

    def end(self, **facts: str | int | float) -> None:
        attributes: dict[str, Any] = {f"sluice.{name}": value for name, value in facts.items() if value != ""}
        reason = attributes.pop("sluice.reason", None)
        if reason is not None:
            attributes["error.type"] = reason
        now = self._maker.clock()
        self._maker.make(
            self._name,
            self.context,
            self.parent,
            self.began,
            now,
            attributes,
            links=self.links,
            is_failed=reason is not None,
        )


class SpanRows(RowsTrace):
    """Rows of a request that wait for a batch of a model."""

    def __init__(self, maker: SpanMaker, trace: SpanTrace, model: str, version: str, provider: str) -> None:
        self.trace = trace
        self._maker = maker
        self._about = {"sluice.model": model, "sluice.version": version, "sluice.provider": provider}

    def ran(self, times: RunTimes, together: Sequence[RowsTrace]) -> None:
        above = self.trace.context
        context = make_context(above.trace_id, above.trace_state)
        traces = [rows.trace for rows in together if isinstance(rows, SpanRows)]
        for trace in traces:
            if len(trace.links) < MOST_LINKS:
                trace.links.append(Link(context))
        self._maker.make(
            f"batch {self._about['sluice.model']}",
            context,
            above,
            times.taken_at,
            times.ended_at,
            {**self._about, "sluice.rows": times.rows, "sluice.padded_rows": times.padded_rows},
            links=[Link(trace.context) for trace in traces],
            events=[("run", times.started_at)],
        )
