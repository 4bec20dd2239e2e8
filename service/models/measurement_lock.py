"""Lets versions load at the same time, but measures one only while no other loads."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from model_store.cancellation import current

_PATIENCE_S = 10.0
"""A load or a measurement is waited for no longer than this, because it may never end."""


class MeasurementLock:
    """``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._loading: dict[int, float] = {}
        """The threads that load, and until when others wait for each."""
        self._measuring: dict[int, float] = {}
        """The same for threads that measure. Usually it is one; more if one takes too long."""

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Load beside other threads, but not while one measures. Raises LoadCancelled."""
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
        """Add this thread to a group when the ``others`` are empty or have taken too long."""
        with current().stopping(self._wake), self._changed:
            while (rest_s := max((t for each in others for t in each.values()), default=0.0) - self._clock()) > 0:
                self._changed.wait(rest_s)
                current().check()
            group[threading.get_ident()] = self._clock() + _PATIENCE_S

    def _leave(self, group: dict[int, float]) -> None:
        with self._changed:
            group.pop(threading.get_ident(), None)
            self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


measurement_lock = MeasurementLock()
"""The lock of this process."""
