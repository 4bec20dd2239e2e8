"""Chooses the requests that are traced: as their callers have decided, and a share of the others.

The variables ``OTEL_TRACES_SAMPLER`` and ``OTEL_TRACES_SAMPLER_ARG`` take precedence over our setting. As in every SDK
of OpenTelemetry the trace id decides whether a trace is in the share, so several services choose the same traces.

A trace takes 0.2 ms of CPU time, mostly to encode its spans. With 1 % of its requests traced, a busy server would spend
5 % of its time on traces. So a worker begins at most ``MOST_PER_S`` traces a second, unless a variable of OpenTelemetry
sets the share.
"""

import abc
from collections.abc import Callable, Mapping
from random import getrandbits, random
from time import monotonic
from typing import Final

from mypy_extensions import mypyc_attr

from service.metrics.spans import Trace
from service.settings import SettingsError
from service.telemetry.context import TraceContext, read_context
from service.transport.observer import RequestEnd, RequestObserver
from service.transport.request import FORWARDED_INFER

MOST_PER_S: Final = 20
_BITS: Final = 64
_BITS_OF_RANDOM: Final = 53
_ALWAYS: Final = {"always_on": 1.0, "always_off": 0.0}
_PARENT: Final = "parentbased_"
_RATIO: Final = "traceidratio"


class Sampling:
    """Traces a ``share`` of the requests. ``follows_caller``: if the caller has decided, its decision counts instead.

    Of the traces that have no caller, at most ``most_per_s`` begin in a second; 0: no limit. ``clock`` is in seconds.
    """

    def __init__(
        self,
        share: float,
        follows_caller: bool = True,
        most_per_s: int = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.most_per_s = most_per_s
        self._clock = clock
        self._second = -1
        self._begun = 0
        self.share = share
        self.follows_caller = follows_caller
        self._below = round(share * (1 << _BITS))

    def choose(self, caller: TraceContext | None) -> int:
        """The id of the trace that a request belongs to; 0 if it is not traced."""
        if caller is None:
            chance = random()  # noqa: S311  # an id is no secret
            if chance >= self.share or not self._may_begin():
                return 0
            # The lower half of the id must be below the share, by the rule for callers' ids below.
            low = int(chance * 2.0**_BITS_OF_RANDOM) << (_BITS - _BITS_OF_RANDOM)
            return getrandbits(_BITS) << _BITS | low | getrandbits(_BITS - _BITS_OF_RANDOM) or 1
        if self.follows_caller:
            return caller.trace_id if caller.is_sampled else 0
        return caller.trace_id if caller.trace_id % (1 << _BITS) < self._below else 0

    def _may_begin(self) -> bool:
        """Whether one more trace may begin in this second. Counts it."""
        if not self.most_per_s:
            return True
        second = int(self._clock())
        if second != self._second:
            self._second, self._begun = second, 0
        self._begun += 1
        return self._begun <= self.most_per_s


def read_sampling(share: float, environ: Mapping[str, str]) -> Sampling:
    """The sampling that the setting and the variables ask for. Raises SettingsError."""
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if not name:
        return Sampling(share, most_per_s=MOST_PER_S)
    kind = name.removeprefix(_PARENT)
    follows_caller = name.startswith(_PARENT)
    if kind in _ALWAYS:
        return Sampling(_ALWAYS[kind], follows_caller)
    if kind == _RATIO:
        return Sampling(_read_share(environ.get("OTEL_TRACES_SAMPLER_ARG", "")), follows_caller)
    known = ", ".join([*_ALWAYS, _RATIO])
    raise SettingsError(f"OTEL_TRACES_SAMPLER={name}: expected {known}, each also with {_PARENT} before it")


def _read_share(text: str) -> float:
    try:
        share = float(text or 1.0)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsError(f"OTEL_TRACES_SAMPLER_ARG={text}: expected a number from 0 to 1")
    return share


@mypyc_attr(allow_interpreted_subclasses=True)
class SpanSource(abc.ABC):
    """Makes the spans of traced requests."""

    @abc.abstractmethod
    def open_span(self, trace_id: int, caller: TraceContext | None) -> Trace:
        """A request begins that belongs to this trace."""

    @abc.abstractmethod
    def close_span(self, request: RequestEnd) -> None:
        """A request has ended for which a span was opened."""


class SampledRequests(RequestObserver):
    """Passes sampled requests on to a source of spans. It is compiled, so the others cost little."""

    def __init__(self, sampling: Sampling, spans: SpanSource) -> None:
        self._sampling = sampling
        self._spans = spans

    def begin(self, route: str, headers: dict[bytes, bytes]) -> Trace | None:
        caller: TraceContext | None = None
        if b"traceparent" in headers:
            caller = read_context(headers[b"traceparent"], headers.get(b"tracestate", b""))
        elif route == FORWARDED_INFER:  # the worker that has forwarded it has not chosen it
            return None
        trace_id = self._sampling.choose(caller)
        return self._spans.open_span(trace_id, caller) if trace_id else None

    def end(self, request: RequestEnd) -> None:
        if request.trace is not None:
            self._spans.close_span(request)
