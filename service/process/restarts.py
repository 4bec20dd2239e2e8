"""When a worker that has ended is restarted, and which worker listens meanwhile. No process or clock here."""

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
MAX_FAILURES = 6
"""The server gives up when a worker has ended so often in a row before it was ready, and no other one lives."""
LISTEN_ANYWAY_S = 10.0
"""If no worker is ready, a new one listens after so long although it still loads, to answer probes with 503."""


class Restarts:
    """Counts how often a worker, and those started after it in its place, ended before they were ready."""

    failures = 0

    def find_delay_s(self, was_ready: bool) -> float:
        """Seconds until the next start: 0 if the last worker was ready, else 0, 0.5, 1, 2 … 30."""
        self.failures = 0 if was_ready else self.failures + 1
        return 0.0 if self.failures < 2 else float(min(FIRST_DELAY_S * 2 ** (self.failures - 2), MAX_DELAY_S))


@dataclass(eq=False)
class WorkerState:
    """What the supervisor knows of a worker. ``is_first``: the server began with it.

    ``has_started``: its event loop runs. ``is_ready``: it has loaded its models, and listens. ``lacking``: the models
    that do not serve, once every load has ended. ``is_leaving``: another worker has its place.
    """

    is_first: bool
    has_started: bool = False
    is_ready: bool = False
    waits_long: bool = False
    listens: bool = False
    lacking: frozenset[str] | None = None
    is_leaving: bool = False


def choose_listener(workers: Sequence[WorkerState]) -> WorkerState | None:
    """The worker that has to listen now although it is not ready, if no other one listens.

    When the server starts, one worker answers that models are loading. While a worker restarts, connections wait in
    the socket: two seconds of waiting are better than an error, ten are not.
    """
    if any(worker.listens for worker in workers):
        return None
    return next((each for each in workers if each.has_started and (each.is_first or each.waits_long)), None)


def choose_paused(workers: Sequence[WorkerState]) -> list[WorkerState]:
    """The workers that have to stop listening until they are ready, because another one is ready now."""
    if not any(worker.is_ready for worker in workers):
        return []
    return [worker for worker in workers if worker.listens and not worker.is_ready]
