"""The interfaces by which the engine and the tasks report on a traced request.

Only a sampled request has a ``Trace``. For the others, all that is done is to look whether there is one.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RunTimes:
    """The run of a batch: its rows, with and without padding, and times in seconds on the clock of the device."""

    rows: int
    padded_rows: int
    taken_at: float
    started_at: float
    ended_at: float


class RowsTrace(abc.ABC):
    """Rows of a sampled request in the queue of a graph."""

    @abc.abstractmethod
    def ran(self, times: RunTimes, together: Sequence["RowsTrace"]) -> None:
        """A batch has run. ``together`` are the traces of all its rows. Only the first of them gets this call."""


class Trace(abc.ABC):
    """The span of a sampled request, or of a step of one. ``header`` is its ``traceparent`` (W3C Trace Context)."""

    header: str

    @abc.abstractmethod
    def follow(self, model: str, version: str, provider: str) -> RowsTrace:
        """The trace of rows that are sent to a graph of that model."""

    @abc.abstractmethod
    def begin(self, name: str) -> "Trace":
        """Begin a part of this span."""

    @abc.abstractmethod
    def end(self, **facts: str | int | float) -> None:
        """End a part. The span of a whole request is ended by the observer of requests instead."""
