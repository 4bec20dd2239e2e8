"""The interface of what observes the engine, for metrics."""

from collections.abc import Sequence
from typing import Protocol

from service.metrics.times import Tally, Times


class Observer(Protocol):
    """Must be cheap and must not raise.

    queued    how long each request of a run has waited for its first batch
    ran       a batch has run
    answered  the requests that a run has completed
    traced    each of these requests, while ``traces`` is true
    failed    a request without an answer: refused for lack of time or room, failed, expired or cancelled
    tokens    the number of tokens of a request's texts, and of padding
    """

    @property
    def traces(self) -> bool: ...

    def queued(self, waits_s: Sequence[float]) -> None: ...
    def ran(self, rows: int, batch_s: float, compute_s: float, output_s: float = 0.0) -> None: ...
    def answered(self, tally: Tally) -> None: ...
    def failed(self, seconds: float = 0.0) -> None: ...
    def traced(self, times: Times) -> None: ...
    def tokens(self, count: int, padding: int) -> None: ...


class NullObserver(Observer):
    """An observer that does nothing."""

    traces = False
