"""Background runs, for which nobody waits, such as copies of requests for a shadow version. They use idle lanes.

Rules
- There is one such run at a time, and none begins while others have something to run.
- It leaves an idle lane for others, if the device has more than one.
- If others need its lane nevertheless, its requests fail and it is told to end.
"""

from collections import deque
from typing import Any, Generic, Protocol, TypeVar

from service.engine.execution.lane import Stop


class BackgroundUser(Protocol):
    """A user of lanes that runs in the background."""

    running: int

    @property
    def has_work(self) -> bool: ...
    def take(self, now: float, idle_lanes: int = 1) -> Any: ...
    def give_way(self, run: Any) -> None: ...


class BackgroundRun(Protocol):
    taken_at: float
    needs_lane: bool
    stop: Stop

    @property
    def dispatcher(self) -> BackgroundUser: ...


U = TypeVar("U", bound=BackgroundUser)
R = TypeVar("R", bound=BackgroundRun)


class Background(Generic[U, R]):
    """``users`` have work. ``again`` has the halves of failed batches. ``run`` is the current run, which the device
    resets to None."""

    def __init__(self, lanes: int) -> None:
        self.users: dict[U, None] = {}
        self.again: deque[R] = deque()
        self.run: R | None = None
        self._least_idle = min(2, lanes)

    def take(self, now: float, idle_lanes: int) -> R | None:
        """The next run; None if none is due. Call it only if others have nothing to run."""
        if self.run is not None or idle_lanes < self._least_idle:
            return None
        found: R | None = None
        if self.again:
            found = self.again.popleft()
            found.taken_at = now
        while found is None and self.users:
            user = next(iter(self.users))
            del self.users[user]
            found = user.take(now)
            if user.has_work:
                self.users[user] = None  # after the others
            if found is not None:
                user.running += 1
                found.needs_lane = True
        self.run = found
        return found

    def make_way(self) -> bool:
        """Others need the lane of the run: tell it to end. False if there is none, or if it was told already."""
        run = self.run
        if run is None or run.stop.asked:
            return False
        run.dispatcher.give_way(run)
        run.stop.ask()
        return True
