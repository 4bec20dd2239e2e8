"""How a run that is under way is ended from another thread. Not compiled: a thread's own values cannot be."""

import threading
from collections.abc import Callable


class Stop:
    """Ends a run; it takes effect at the next node of the graph.

    Whoever runs the graph says how, by ``attach``. What is attached after ``ask`` ends at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._end: Callable[[], None] | None = None

    def attach(self, end: Callable[[], None]) -> None:
        self._end = end
        if self.asked:
            end()

    def ask(self) -> None:
        self.asked = True
        if self._end is not None:
            self._end()


NEVER = Stop()
"""Of runs on the event loop, which nobody can end."""


class LaneThread(threading.local):
    """``stop`` ends the run that this thread makes; None where nothing does, on the event loop and at load."""

    stop: Stop | None = None


lane_thread = LaneThread()
