"""Follows the store while the server runs: models that have changed there are read again.

Rules
- The operating system reports changes in a local folder. Every ``SLUICE_POLL_S`` seconds the store is also scanned for
  changes that it does not report: in a network file system, behind links, or if nothing more can be watched.
- Many changes at once count as one. One task at a time refreshes a model; if it changes meanwhile, another one follows.
- If the store is away, or suddenly empty, nothing changes. When it is back, it is watched again.
- Each worker follows the store on its own.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from model_store.files.links import tell_why
from service.errors import NotReady
from service.models.entry import ModelEntry
from service.models.files import StoreScan
from service.models.lifecycle.index import StoreReader
from service.models.lifecycle.reconciler import SETTLE_S
from service.models.lifecycle.watcher import Watcher
from service.settings import Settings

logger = logging.getLogger("sluice.registry")

_JOIN_S = 2.0
_MOST_FAILURES = 5
"""After this many failures a folder is only scanned. One may be due to a subfolder that vanished as watching began."""


class Follower:
    """Used on the event loop only. ``refresh`` reads a model again; ``entries`` are the known models."""

    def __init__(
        self,
        settings: Settings,
        reader: StoreReader,
        entries: Mapping[str, ModelEntry],
        refresh: Callable[[str], Coroutine[Any, Any, None]],
    ) -> None:
        self.fault = ""
        """Why the store cannot be followed now; "" if it can."""
        self._root = settings.store
        self._poll_s = settings.poll_s
        self._reader = reader
        self._entries = entries
        self._refresh = refresh
        self._seen: StoreScan | None = None
        self._watcher: Watcher | None = None
        self._failures = 0
        self._due: set[str] = set()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._must_scan = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow the store: every change after this is noticed."""
        await self._scan()
        self._task = asyncio.create_task(self._run(), name="follow the store")

    async def stop(self) -> None:
        """Stop following. Returns when nothing runs any more."""
        if self._task is None:
            return
        watcher = self._watcher
        self._stop_watching()
        for timer in self._timers.values():
            timer.cancel()
        tasks = [self._task, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        if watcher is not None:
            await asyncio.to_thread(watcher.join, _JOIN_S)

    def note(self, names: Iterable[str]) -> None:
        """Have these models refreshed."""
        self._due.update(names)
        self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        scan_at = loop.time() + self._poll_s
        while True:
            try:
                async with asyncio.timeout_at(scan_at):
                    await self._wake.wait()
            except TimeoutError:
                self._must_scan = True
            self._wake.clear()
            if self._must_scan:
                self._must_scan = False
                try:
                    await self._scan()
                except Exception:  # such as a fault of the file system, which may be gone at the next scan
                    logger.exception("scanning the store failed")
                scan_at = loop.time() + self._poll_s
            due, self._due = self._due, set()
            for name in due:
                self._begin(name)

    async def _scan(self) -> None:
        """Scan the store, and note the models that have changed since the last scan."""
        try:
            found = await self._reader.scan(self._seen)
        except (OSError, NotReady) as error:
            fault = tell_why(error) if isinstance(error, OSError) else str(error)
            if fault != self.fault:
                logger.error("the store %s is not followed, and what serves goes on: %s", self._root, fault)
            self.fault = fault
            self._stop_watching()
            return
        if self.fault:
            logger.info("the store %s is followed again", self._root)
            self.fault = ""
            self._failures = 0
        if self._seen is not None and self._seen.identity != found.identity:
            self._stop_watching()
            self._failures = 0
        if self._watcher is None and self._failures < _MOST_FAILURES:
            loop = asyncio.get_running_loop()
            self._watcher = Watcher(self._root, loop, self._scan_soon, self.note, self._note_unwatched)
        if self._seen is not None:
            before, now = self._seen.models, found.models
            self._due |= {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        self._due |= {name for name, entry in self._entries.items() if entry.has_faults}
        self._seen = found

    def _scan_soon(self) -> None:
        """The store is watched from now on. A scan finds what changed before."""
        self._must_scan = True
        self._wake.set()

    def _note_unwatched(self, reason: str) -> None:
        self._stop_watching()
        self._failures += 1
        if self._failures == _MOST_FAILURES:
            logger.warning("%s cannot be watched, and is scanned every %g s: %s", self._root, self._poll_s, reason)

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def _begin(self, name: str) -> None:
        if name in self._running:
            entry = self._entries.get(name)
            if entry is not None:
                entry.changed.set()  # it must not wait for slow loads
            self._due.add(name)
            return
        task = self._running[name] = asyncio.create_task(self._refresh(name), name=f"refresh {name}")
        task.add_done_callback(lambda done: self._end(name, done))

    def _end(self, name: str, task: "asyncio.Task[None]") -> None:
        del self._running[name]
        if not task.cancelled() and task.exception() is not None:
            logger.error("reading %s again failed", name, exc_info=task.exception())
        if name in self._due:
            self._wake.set()
        entry = self._entries.get(name)
        if entry is not None and entry.unsettled and name not in self._timers:
            self._timers[name] = asyncio.get_running_loop().call_later(SETTLE_S, self._refresh_again, name)

    def _refresh_again(self, name: str) -> None:
        del self._timers[name]
        self.note([name])
