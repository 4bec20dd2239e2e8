"""A lane: a thread that runs batches, and how its run is ended. Not compiled: mypyc lacks thread-local values."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from service.engine.tensors import BatchBuffer

logger = logging.getLogger("sluice.engine")
R = TypeVar("R")


class Stop:
    """Ends a run, at the next node of the graph.

    Whoever runs the graph attaches the function that ends it. If ``ask`` was called before, it is called at once.
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
"""For runs on the event loop, which cannot be ended."""


class LaneThread(threading.local):
    """``stop`` ends the current run of this thread; None if it cannot be ended, as on the event loop and at load."""

    stop: Stop | None = None


lane_thread = LaneThread()


class Lane(Generic[R]):
    """A thread that runs one batch after another, and the buffer in which it assembles them.

    It is not an executor, because the event loop chooses the lane. The thread starts with the first run, and survives
    whatever a run raises.
    """

    def __init__(self, number: int, buffer: BatchBuffer) -> None:
        self.buffer = buffer
        self.run: R | None = None
        self.free_at = 0.0
        """When its run is expected to end."""
        self._todo: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._worker = threading.Thread(target=self._work, name=f"lane_{number}", daemon=True)

    def do(self, work: Callable[[], None]) -> None:
        if not self._worker.ident:
            self._worker.start()
        self._todo.put(work)

    def close(self, within_s: float) -> bool:
        """Run no more. Returns whether the current run has ended within ``within_s``."""
        self._todo.put(None)
        if self._worker.ident:
            self._worker.join(within_s)
        return not self._worker.is_alive()

    def _work(self) -> None:
        while (work := self._todo.get()) is not None:
            try:
                work()
            except Exception:  # the event loop was closed meanwhile
                logger.exception("a run ended after the event loop was closed")
