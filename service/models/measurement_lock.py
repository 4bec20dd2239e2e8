"""Versions load side by side, but a version is measured only while no other one loads."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from model_store.cancellation import current

_PATIENCE_S = 10.0
"""Nobody waits longer than this for a load or a measurement: it may never end."""


class MeasurementLock:
    """``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._loading: dict[int, float] = {}
        """The threads that load, and until when a measurement waits for each."""
        self._measuring: dict[int, float] = {}
        """The same for threads that measure: one at a time, unless it takes too long."""

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Load beside others, but not while somebody measures. Raises LoadCancelled."""
        try:
            self._enter(self._loading, self._measuring)
            yield
        finally:
            self._leave(self._loading)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Within ``shared``: measure while no other thread loads or measures. Raises LoadCancelled."""
        until = self._loading[threading.get_ident()]
        self._leave(self._loading)
        try:
            self._enter(self._measuring, self._loading, self._measuring)
            yield
        finally:
            with self._changed:
                self._loading[threading.get_ident()] = until
                self._leave(self._measuring)

    def _enter(self, group: dict[int, float], *others: dict[int, float]) -> None:
        """Add this thread to a group, once ``others`` are empty or have taken too long."""
        with current().stopping(self._wake), self._changed:
            while (rest_s := max((t for each in others for t in each.values()), default=0.0) - self._clock()) > 0:
                self._changed.wait(rest_s)
                current().check()
            group[threading.get_ident()] = self._clock() + _PATIENCE_S

    def _leave(self, group: dict[int, float]) -> None:
        with self._changed:
            group.pop(threading.get_ident(), None)
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


measurement_lock = MeasurementLock()
"""Of this process."""
