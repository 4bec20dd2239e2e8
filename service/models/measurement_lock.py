"""Versions load side by side, but what is measured for one is measured while no other keeps a core busy."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from model_store.cancellation import current

_PATIENCE_S = 10.0
"""A load or a measurement that takes longer is not waited for: it may never end."""


class MeasurementLock:
    """``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._busy: dict[int, float] = {}
        """Until when the load of each thread is waited for."""
        self._measures: dict[int, float] = {}
        """The same of whoever measures: one, if none takes too long."""

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Load beside others, and while nobody measures. Raises LoadCancelled."""
        me = threading.get_ident()
        try:
            with self._waiting(), self._changed:
                self._wait(lambda: self._until(self._measures))
                self._busy[me] = self._clock() + _PATIENCE_S
            yield
        finally:
            with self._changed:
                self._busy.pop(me, None)
                self._changed.notify_all()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Within ``shared``: wait until the others have loaded or wait for the same, and go on alone."""
        me = threading.get_ident()
        waited_for = self._busy[me]
        try:
            with self._waiting(), self._changed:
                del self._busy[me]
                self._changed.notify_all()
                self._wait(lambda: max(self._until(self._busy), self._until(self._measures)))
                self._measures[me] = self._clock() + _PATIENCE_S
            yield
        finally:
            with self._changed:
                self._measures.pop(me, None)
                self._busy[me] = waited_for
                self._changed.notify_all()

    @staticmethod
    def _until(those: dict[int, float]) -> float:
        return max(those.values(), default=0.0)

    def _wait(self, until: Callable[[], float]) -> None:
        while (rest_s := until() - self._clock()) > 0:
            self._changed.wait(rest_s)
            current().check()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        def wake() -> None:
            with self._changed:
                self._changed.notify_all()

        with current().stopping(wake):
            yield


measurement_lock = MeasurementLock()
"""Of this process."""
