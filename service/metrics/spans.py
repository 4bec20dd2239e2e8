"""The interfaces of traces: what the engine and the tasks tell of a request whose spans are kept.

A request has a ``Trace`` only if it was sampled. So what is not sampled costs nothing but a look at a field.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RunTimes:
    """A run of a batch: its rows, with and without padding, and times in seconds on the clock of the device."""

    rows: int
    padded_rows: int
    taken_at: float
    started_at: float
    ended_at: float


class RowsTrace(abc.ABC):
    """Rows of a sampled request in the queue of a graph."""

    @abc.abstractmethod
    def ran(self, times: RunTimes, together: Sequence["RowsTrace"]) -> None:
        """A batch has run. It is told to the first of those that were in it; ``together`` are all, this one too."""


class Trace(abc.ABC):
    """The span of a sampled request, or of a step of one. ``header`` is its ``traceparent`` (W3C Trace Context)."""

    header: str

    @abc.abstractmethod
    def follow(self, model: str, version: str, provider: str) -> RowsTrace:
        """The trace of rows that go to a graph of that model."""

    @abc.abstractmethod
    def begin(self, name: str) -> "Trace":
        """A part of it that begins now."""

    @abc.abstractmethod
    def end(self, **facts: str | int | float) -> None:
        """The part ends now. Not for the span of a request, which ends when its observer is told."""
