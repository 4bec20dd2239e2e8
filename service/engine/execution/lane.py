"""A lane: a thread, and the runs that it was given."""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from service.engine.execution.stop import Stop
from service.engine.tensors import BatchBuffer

logger = logging.getLogger("sluice.engine")


class LaneRun:
    """What a lane must know of a run: how to end it."""

    stop: Stop


R = TypeVar("R", bound=LaneRun)


class Lane(Generic[R]):
    """A thread that runs one batch after the other, and the buffer that it assembles them in.

    An executor is not used because the event loop chooses the lane. The thread starts with the first run, and survives
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
        """Tell the current run to end. Returns whether it has ended within so many seconds."""
        if self.run is not None:
            self.run.stop.ask()
        self._todo.put(None)
        if self._worker.ident:
            self._worker.join(within_s)
        return not self._worker.is_alive()

    def _work(self) -> None:
        while (work := self._todo.get()) is not None:
            try:
                work()
            except Exception:  # the event loop has been closed meanwhile
                logger.exception("a run ended after the event loop was closed")
