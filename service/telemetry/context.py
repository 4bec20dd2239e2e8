"""Trace contexts in HTTP headers: W3C Trace Context, level 1, and ``traceresponse`` of level 2."""

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_MOST_STATE_BYTES = 512
"""A longer ``tracestate`` may be dropped (section 3.3.1.5)."""


class TraceContext(NamedTuple):
    """The span of the caller. Ids are numbers of 128 and 64 bits, never 0."""

    trace_id: int
    span_id: int
    is_sampled: bool
    state: str = ""


def read_context(header: bytes, state: bytes = b"") -> TraceContext | None:
    """The context in a ``traceparent``; None if it is not valid. Then the request is treated as one without it."""
    found = _TRACEPARENT.fullmatch(header.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more):
        return None
    context = TraceContext(
        int(trace_id, 16),
        int(span_id, 16),
        bool(int(flags, 16) & _SAMPLED),
        state.decode("latin-1") if len(state) <= _MOST_STATE_BYTES else "",
    )
    return context if context.trace_id and context.span_id else None


def render_context(trace_id: int, span_id: int) -> str:
    """The ``traceparent`` of a sampled span."""
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def trace_id_of(header: bytes) -> str:
    """The trace id in a ``traceparent``, as 32 hexadecimal digits; "" if it is not valid."""
    context = read_context(header)
    return "" if context is None else f"{context.trace_id:032x}"
