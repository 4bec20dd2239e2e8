"""When an ended worker is restarted, and which worker listens meanwhile. There is no process or clock here."""

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
MAX_FAILURES = 6
"""After so many ends in a row before a worker was ready, the server gives up if no other worker is alive."""
LISTEN_ANYWAY_S = 10.0
"""If no worker is ready after this time, one that still loads listens, to answer probes with 503."""


class Restarts:
    """Counts how often in a row the workers of one place ended before they were ready."""

    failures = 0

    def find_delay_s(self, was_ready: bool) -> float:
        """Seconds until the next start: 0 if the last worker was ready, else 0, 0.5, 1, 2 … 30."""
        self.failures = 0 if was_ready else self.failures + 1
        return 0.0 if self.failures < 2 else float(min(FIRST_DELAY_S * 2 ** (self.failures - 2), MAX_DELAY_S))


@dataclass(eq=False)
class WorkerState:
    """What the supervisor knows of a worker.

    - ``is_first``: it was started with the server.
    - ``has_started``: its event loop runs.
    - ``is_ready``: it has loaded its models and listens.
    - ``waits_long``: it was started more than ``LISTEN_ANYWAY_S`` ago.
    - ``lacking``: the models that do not serve, once every load has ended.
    - ``is_leaving``: another worker has taken its place.
    """

    is_first: bool
    has_started: bool = False
    is_ready: bool = False
    waits_long: bool = False
    listens: bool = False
    lacking: frozenset[str] | None = None
    is_leaving: bool = False


def choose_listener(workers: Sequence[WorkerState]) -> WorkerState | None:
    """The worker that must listen now although it is not ready, because no other one listens.

    When the server starts, one worker answers that models are loading. While a worker restarts, connections wait in
    the socket: waiting for two seconds is better than an error, waiting for ten is not.
    """
    if any(worker.listens for worker in workers):
        return None
    return next((each for each in workers if each.has_started and (each.is_first or each.waits_long)), None)


def choose_paused(workers: Sequence[WorkerState]) -> list[WorkerState]:
    """The workers that must stop listening until they are ready, because another one is ready now."""
    if not any(worker.is_ready for worker in workers):
        return []
    return [worker for worker in workers if worker.listens and not worker.is_ready]
