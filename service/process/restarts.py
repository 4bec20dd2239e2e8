"""When a worker that has ended is started again, and who listens meanwhile. Pure: the supervisor brings the facts."""

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
MAX_FAILURES = 6
"""So often in a row may a worker end before it is ready, while no other lives, before the server gives up."""
LISTEN_ANYWAY_S = 10.0
"""After so long a new worker listens although it is not ready, where no other is: probes must hear of it."""


class Restarts:
    """Of one place: a worker, and the next one when that has ended."""

    def __init__(self) -> None:
        self.failures = 0

    def find_delay_s(self, was_ready: bool) -> float:
        """Seconds until the next start: none after a worker that was ready, then none, 0.5, 1, 2 … 30."""
        self.failures = 0 if was_ready else self.failures + 1
        if self.failures < 2:
            return 0.0
        return float(min(FIRST_DELAY_S * 2 ** (self.failures - 2), MAX_DELAY_S))


@dataclass
class WorkerState:
    """What the supervisor knows of a worker. ``is_first``: nobody was in its place before.

    ``has_started``: its event loop runs. ``is_ready``: it has loaded its models, and listens since then.
    """

    is_first: bool
    has_started: bool = False
    is_ready: bool = False
    waits_long: bool = False
    listens: bool = False


def choose_listener(workers: Sequence[WorkerState]) -> WorkerState | None:
    """Who has to listen now although it is not ready: one, while nobody else does.

    Of the workers that the server began with the first one says that they load. For one that comes back connections
    wait in the socket: two seconds of waiting are better than an error; but not for long.
    """
    if any(worker.listens for worker in workers):
        return None
    return next((each for each in workers if each.has_started and (each.is_first or each.waits_long)), None)


def choose_paused(workers: Sequence[WorkerState]) -> list[WorkerState]:
    """Those who have to listen no more until they are ready: from now on another one is, and would answer."""
    if not any(worker.is_ready for worker in workers):
        return []
    return [worker for worker in workers if worker.listens and not worker.is_ready]
