"""Versions that are being loaded, each in a thread of its own.

Rules
- A few load at once. One that takes long gives its place to the next and goes on beside it: it may never end.
- One that takes longer than the settings allow is cancelled. What cannot be stopped, such as a file system that does
  not answer, keeps its thread and nothing else.
- A version whose load may have ended a process is loaded alone; one that did, only when somebody asks for it.
- No thread keeps the process from ending.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from model_store import ModelVersion, StoreError
from model_store.cancellation import Cancellation
from model_store.files.links import tell_why
from service.cores import count_cores
from service.crashes import LoadNotes
from service.errors import NotReady
from service.models.loading import LoadedVersion, load_version
from service.models.retirement import give_memory_back
from service.settings import Settings

logger = logging.getLogger("sluice.registry")

_BYTES_PER_S = 50 << 20
"""A large model takes longer without being suspect of never ending: so fast it is read, checked and opened at least."""
_GRACE_S = 2.0
"""A load that was cancelled ends at the next node of its graph, if at all."""
_STOPPING = "the server is stopping"


@dataclass(slots=True, eq=False)
class _Load:
    """``more_s``: what its size adds to how long others wait for it."""

    version: ModelVersion
    done: asyncio.Future[LoadedVersion]
    cancelled: asyncio.Future[None]
    on_overdue: Callable[[], None]
    cancellation: Cancellation = field(default_factory=Cancellation)
    more_s: float = 0.0
    places: int = 1
    overdue: threading.Timer | None = None


class Loads:
    """Used on the event loop only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._number_of_places = max(2, count_cores())
        self._places = asyncio.Semaphore(self._number_of_places)
        self._alone = asyncio.Lock()
        self._notes = LoadNotes(settings.metrics_dir)
        self._loads: set[_Load] = set()
        self._threads: list[threading.Thread] = []

    async def load(
        self, version: ModelVersion, on_overdue: Callable[[], None], *, is_asked_for: bool = False
    ) -> LoadedVersion:
        """As ``load_version``; raises NotReady for a load that takes longer than ``load_timeout_s`` too, and for one
        that has ended a process, unless somebody asks for it.

        ``on_overdue`` is called where it takes longer than others should wait for it. To cancel the task that waits
        here ends the load.
        """
        limit_s = self._settings.load_timeout_s
        crash = self._notes.find(version.name, version.version)
        if crash is not None and crash.is_certain and not is_asked_for:
            raise NotReady(crash.reason)
        load = self._begin(version, on_overdue, await self._take_places(alone=crash is not None))
        try:
            ends: set[asyncio.Future[Any]] = {load.done, load.cancelled}
            await _wait(ends, limit_s)
            if not load.done.done():
                load.cancellation.cancel(
                    f"it had not loaded after {limit_s:g} s: mend it, or raise SLUICE_LOAD_TIMEOUT_S"
                )
                await _wait({load.done}, _GRACE_S)
                if not load.done.done():
                    raise NotReady(f"{load.cancellation.reason} (what it does cannot be stopped)")
            loaded = load.done.result()
            if load.cancellation.reason is not None:  # when it had ended, but its sessions run nothing any more
                raise NotReady(load.cancellation.reason)
            return loaded
        finally:
            if not load.done.done():  # whoever waited here was cancelled
                load.cancellation.cancel(_STOPPING)
            self._end(load)

    def cancel(self, name: str, number: int | None, reason: str, *, only_overdue: bool = False) -> None:
        """End the loads of a model, or of one version of it."""
        for load in self._loads:
            is_meant = load.version.name == name and number in (None, load.version.version)
            if is_meant and not (only_overdue and load.places):
                load.cancellation.cancel(reason)
                if not load.cancelled.done():
                    load.cancelled.set_result(None)

    def close(self, within_s: float = _GRACE_S) -> bool:
        """End all loads. Returns whether they have ended, after so many seconds at most."""
        ends_at = time.monotonic() + within_s
        for load in self._loads:
            load.cancellation.cancel(_STOPPING)
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))
            if thread.is_alive():
                logger.error("%s: what it does cannot be stopped", thread.name)
        return not any(thread.is_alive() for thread in self._threads)

    async def _take_places(self, *, alone: bool) -> int:
        """Wait for a place, or for all of them; returns how many."""
        if not alone:
            await self._places.acquire()
            return 1
        taken = 0
        try:
            async with self._alone:  # two that have a part each would wait for ever
                while taken < self._number_of_places:
                    await self._places.acquire()
                    taken += 1
        except asyncio.CancelledError:
            self._release(taken)
            raise
        return taken

    def _release(self, places: int) -> None:
        for _ in range(places):
            self._places.release()

    def _begin(self, version: ModelVersion, on_overdue: Callable[[], None], places: int) -> _Load:
        loop = asyncio.get_running_loop()
        load = _Load(version, loop.create_future(), loop.create_future(), on_overdue, places=places)
        load.done.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait any more
        load.overdue = _call_later(loop, self._settings.ready_wait_s, lambda: self._be_overdue(load))
        name = f"load {version.name} version {version.version}"
        alone = places > 1
        thread = threading.Thread(target=self._work, args=(load, loop, alone), name=name, daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        self._loads.add(load)
        thread.start()
        return load

    def _work(self, load: _Load, loop: asyncio.AbstractEventLoop, alone: bool) -> None:
        def tell(settle: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(lambda: None if load.done.done() else settle())

        try:
            load.more_s = _count_bytes(load.version) / _BYTES_PER_S
            with self._notes.loading(load.version.name, load.version.version, alone=alone):
                loaded = load_version(load.version, self._settings, load.cancellation)
            give_memory_back()
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            told = error
            tell(lambda: load.done.set_exception(told))
        else:
            tell(lambda: load.done.set_result(loaded))

    def _be_overdue(self, load: _Load) -> None:
        if load not in self._loads:  # it has just ended
            return
        if load.more_s > 0:
            load.overdue = _call_later(asyncio.get_running_loop(), load.more_s, lambda: self._be_overdue(load))
            load.more_s = 0.0
            return
        logger.warning(
            "%s version %d takes long to load: nothing waits for it any more", load.version.name, load.version.version
        )
        self._give_place(load)
        load.on_overdue()

    def _give_place(self, load: _Load) -> None:
        self._release(load.places)
        load.places = 0

    def _end(self, load: _Load) -> None:
        if load.overdue is not None:
            load.overdue.cancel()
            load.overdue = None  # it holds the load in a circle, and so what was loaded
        self._give_place(load)
        self._loads.discard(load)


async def _wait(futures: set[asyncio.Future[Any]], seconds: float) -> None:
    """Return when one of them is done, or after so many seconds of the clock by which threads work."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    timer = _call_later(loop, seconds, lambda: None if over.done() else over.set_result(None))
    try:
        await asyncio.wait({*futures, over}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()


def _call_later(loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], None]) -> threading.Timer:
    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(call)

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), tell)
    timer.daemon = True
    timer.start()
    return timer


def _count_bytes(version: ModelVersion) -> int:
    """Of all files of a version, as far as they can be seen."""
    total = 0
    for folder, _, files in os.walk(version.folder):
        for file in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(folder, file)).st_size
    return total


def describe_failure(error: Exception, doing: str) -> str:
    """Why a model does not serve, for its owner. What nobody expected goes to the log with where it came from."""
    if isinstance(error, StoreError | NotReady):
        return str(error)
    if isinstance(error, OSError):
        return f"it cannot be read: {tell_why(error)}"
    logger.error("%s failed", doing, exc_info=error)
    if isinstance(error, MemoryError):
        return "there is not enough memory to load it"
    return f"{doing} failed unexpectedly ({type(error).__name__}): see the log"
