"""Ends what is done for one version from another thread: reading, opening, runs, an analysis in another process.

The thread that loads a version works within ``Cancellation.active()``. Whatever it does that may take for ever says how
it is stopped (``stopping``), and what comes between such steps asks whether to go on (``check``).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar


class LoadCancelled(BaseException):
    """The load was given up; the text is the reason.

    Not an Exception, for the same reason as asyncio's: who tries many things and takes every error as an answer must
    not take this one for an answer too.
    """


class Cancellation:
    """Of one load. ``cancel`` may be called from any thread; what is to stop must be quick to tell."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it was cancelled; None while it was not."""
        self._lock = threading.Lock()
        self._stops: dict[object, Callable[[], object]] = {}

    def cancel(self, reason: str) -> None:
        """Stop what runs and let nothing more begin; the first reason counts."""
        with self._lock:  # so that nothing is stopped that has ended and serves somebody else
            if self.reason is None:
                self.reason = reason
                for stop in self._stops.values():
                    stop()

    def check(self) -> None:
        """Raises LoadCancelled."""
        if self.reason is not None:
            raise LoadCancelled(self.reason)

    def on_cancel(self, stop: Callable[[], object]) -> None:
        """``cancel`` calls ``stop``, which is called at once where it has been called. It must do no harm later."""
        with self._lock:
            self._stops[object()] = stop
            if self.reason is not None:
                stop()

    @contextlib.contextmanager
    def stopping(self, stop: Callable[[], object]) -> Iterator[None]:
        """``cancel`` calls ``stop`` while the block runs. Raises LoadCancelled before and after it where it has."""
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
        """What this thread does in the block belongs to this load."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_NEVER = Cancellation()
_current: ContextVar[Cancellation] = ContextVar("cancellation", default=_NEVER)


def current() -> Cancellation:
    """Of the load that this thread works for; one that nobody cancels where it works for none."""
    return _current.get()
