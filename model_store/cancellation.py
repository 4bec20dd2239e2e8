"""Stops the load of a version from another thread: reading, opening, runs, an analysis in another process.

The thread that loads a version works within ``Cancellation.active()``. Each step that may take forever registers how to
stop it (``stopping``). Between such steps, ``check`` raises if the load was cancelled.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar


class LoadCancelled(BaseException):
    """The load was cancelled; the text is the reason.

    A BaseException, like asyncio's CancelledError, so that code that catches every Exception does not catch it.
    """


class Cancellation:
    """The cancellation of one load. ``cancel`` may be called from any thread; what it calls must return quickly."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it was cancelled; None if it was not."""
        self._lock = threading.Lock()
        self._stops: dict[object, Callable[[], object]] = {}

    def cancel(self, reason: str) -> None:
        """Stop what runs, and let nothing more begin. Only the first reason counts."""
        with self._lock:  # so that no step is stopped that has just ended and may serve another load
            if self.reason is None:
                self.reason = reason
                for stop in self._stops.values():
                    stop()

    def check(self) -> None:
        """Raises LoadCancelled."""
        if self.reason is not None:
            raise LoadCancelled(self.reason)

    def on_cancel(self, stop: Callable[[], object]) -> None:
        """Let ``cancel`` call ``stop``, or call it now if the load was already cancelled. ``stop`` may also be called
        when nothing is left to stop."""
        with self._lock:
            self._stops[object()] = stop
            if self.reason is not None:
                stop()

    @contextlib.contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """Let ``cancel`` call ``stop`` while the block runs. Raises LoadCancelled if the load was cancelled before the
        block or in it."""
        key = object()
        with self._lock:
            self.check()
            self._stops[key] = stop
        try:
            yield
        except Exception:
            self.check()  # it failed because it was stopped
            raise
        finally:
            with self._lock:
                del self._stops[key]
        self.check()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Let everything that this thread does in the block belong to this load."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_NEVER = Cancellation()
_current: ContextVar[Cancellation] = ContextVar("cancellation", default=_NEVER)


def current() -> Cancellation:
    """The cancellation of the load of this thread. Outside a load, one that is never cancelled."""
    return _current.get()
