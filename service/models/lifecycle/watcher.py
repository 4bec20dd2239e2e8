"""Watches a store for changes of models (inotify), in a thread of its own."""

import asyncio
import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

logger = logging.getLogger("sluice.registry")

_STEP_MS = 100
"""Changes are reported when no more have come for this time."""
_MOST_MS = 1000
"""Changes are reported after this time at the latest. Many at once are reported together."""
_TIMEOUT_MS = 1000
"""How often the thread returns from waiting when nothing changes."""


class Watcher:
    """Begins to watch when it is created.

    ``on_watch`` is called when watching has begun, ``on_change`` with the names of changed models, and ``on_end`` with
    the reason if it cannot watch; all on the event loop. The thread is a daemon: it keeps no process from ending.
    """

    def __init__(
        self,
        root: Path,
        loop: asyncio.AbstractEventLoop,
        on_watch: Callable[[], None],
        on_change: Callable[[set[str]], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._root = root
        self._loop = loop
        self._on_watch = on_watch
        self._on_change = on_change
        self._on_end = on_end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch the store", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report nothing more. The thread ends soon."""
        self._stop.set()

    def join(self, within_s: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(within_s)

    def _work(self) -> None:
        try:
            from watchfiles import Change, watch

            logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs every change
            is_first = True
            for changes in watch(
                self._root,
                watch_filter=None,
                debounce=_MOST_MS,
                step=_STEP_MS,
                stop_event=self._stop,
                rust_timeout=_TIMEOUT_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
                force_polling=False,
                ignore_permission_denied=True,
            ):
                if is_first:
                    self._tell(self._on_watch)
                    is_first = False
                if (Change.deleted, str(self._root)) in changes:
                    raise OSError("it was removed")  # a new watcher watches the folder that takes its place
                names = find_models(str(self._root), (path for _, path in changes))
                if names:
                    self._tell(functools.partial(self._on_change, names))
        except Exception as error:  # noqa: BLE001  # whatever it is, the store is scanned from time to time instead
            reason = str(error) or type(error).__name__
            self._tell(lambda: self._on_end(reason))

    def _tell(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda: None if self._stop.is_set() else call())


def find_models(root: str, paths: Iterable[str]) -> set[str]:
    """The models to which changed paths below ``root`` belong. Names that begin with a dot are still being written."""
    names = set()
    prefix = root.rstrip(os.sep) + os.sep
    for path in paths:
        parts = path.removeprefix(prefix).split(os.sep) if path.startswith(prefix) else []
        if parts and not any(part.startswith(".") for part in parts[:2]):
            names.add(parts[0])
    return names
