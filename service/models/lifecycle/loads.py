"""Loads versions, each in its own thread.

Rules
- A few versions load at once. A load that takes long gives its place to another one, and continues beside it.
- A load that takes longer than the settings allow is cancelled. If it cannot be stopped, for example because a file
  system does not answer, its thread is left running.
- A version whose load may have crashed a worker loads alone. If it certainly crashed one, it loads only on request.
- The threads are daemons: they do not keep the process from ending.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from model_store import ModelVersion, StoreError
from model_store.cancellation import Cancellation
from model_store.files.links import tell_why
from service.cores import count_cores
from service.crashes import LoadNotes
from service.errors import NotReady
from service.models.lifecycle.footprint import count_files
from service.models.lifecycle.retirement import give_memory_back
from service.models.loading import LoadedVersion, load_version
from service.models.pipeline import LoadedPipeline
from service.settings import Settings

logger = logging.getLogger("sluice.registry")

_BYTES_PER_S = 50 << 20
"""The least speed at which a version is read, checked and opened; so others wait longer for a large one."""
_GRACE_S = 2.0
"""How long a cancelled load may take to end. It ends at the next node of its graph, if at all."""
_STOPPING = "the server is stopping"


@dataclass(slots=True, eq=False)
class _Load:
    version: ModelVersion
    done: asyncio.Future[LoadedVersion | LoadedPipeline]
    on_overdue: Callable[[], None]
    places: int
    """How many places it takes: all if it loads alone, none when it is overdue."""
    cancellation: Cancellation = field(default_factory=Cancellation)
    more_s: float = 0.0
    """The extra time that others wait for it because of its size."""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    growth: "Growth | None" = None


@dataclass(slots=True, eq=False)
class Growth:
    """The growth of memory while a version loads alone. ``read`` gives the memory in bytes, and runs in a thread.

    ``grown_bytes`` is None if the version did not load alone to the end, for example because it became overdue.
    """

    read: Callable[[], int]
    grown_bytes: int | None = None


class Loads:
    """Used on the event loop only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._number_of_places = max(2, count_cores())
        self._places = asyncio.Semaphore(self._number_of_places)
        self._taking = asyncio.Lock()
        self._notes = LoadNotes(settings.metrics_dir)
        self._loads: set[_Load] = set()
        self._threads: list[threading.Thread] = []

    async def load(
        self,
        version: ModelVersion,
        on_overdue: Callable[[], None],
        *,
        is_asked_for: bool = False,
        growth: Growth | None = None,
    ) -> LoadedVersion | LoadedPipeline:
        """As ``load_version``. Also raises NotReady for a load that takes longer than ``load_timeout_s``, and for a
        version that has crashed a worker, unless ``is_asked_for``.

        Calls ``on_overdue`` when others should no longer wait for it. Cancelling the task that awaits this ends the
        load. With ``growth`` the version loads alone, and its memory is measured.
        """
        limit_s = self._settings.load_timeout_s
        crash = self._notes.find(version.name, version.version)
        if crash is not None and crash.is_certain and not is_asked_for:
            raise NotReady(crash.reason)
        places = 1 if crash is None and growth is None else self._number_of_places
        await self._take_places(places)
        load = self._begin(version, on_overdue, places, growth)
        reason = f"it had not loaded after {limit_s:g} s: repair it, or raise SLUICE_LOAD_TIMEOUT_S"
        load.timers.append(asyncio.get_running_loop().call_later(limit_s, self._stop, load, reason))
        try:
            loaded = await load.done
        except asyncio.CancelledError:
            load.cancellation.cancel(_STOPPING)
            raise
        finally:
            if growth is not None and not load.places:
                growth.grown_bytes = None
            self._end(load)
        if load.cancellation.reason is not None:  # its sessions no longer run
            raise NotReady(load.cancellation.reason)
        return loaded

    def cancel(self, name: str, number: int | None, reason: str, *, only_overdue: bool = False) -> None:
        """End the loads of a model, or of one of its versions."""
        for load in self._loads:
            is_meant = load.version.name == name and number in (None, load.version.version)
            if is_meant and not (only_overdue and load.places):
                self._stop(load, reason)

    def _stop(self, load: _Load, reason: str) -> None:
        """End a load. If it has not ended after a grace period, it is no longer waited for."""
        load.cancellation.cancel(reason)
        load.timers.append(asyncio.get_running_loop().call_later(_GRACE_S, self._give_up, load))

    @staticmethod
    def _give_up(load: _Load) -> None:
        if not load.done.done():
            load.done.set_exception(NotReady(f"{load.cancellation.reason} (what it does cannot be stopped)"))

    def close(self, within_s: float = _GRACE_S) -> bool:
        """End all loads. Returns whether they have ended within this time."""
        ends_at = time.monotonic() + within_s
        for load in self._loads:
            load.cancellation.cancel(_STOPPING)
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))
            if thread.is_alive():
                logger.error("%s: what it does cannot be stopped", thread.name)
        return not any(thread.is_alive() for thread in self._threads)

    async def _take_places(self, count: int) -> None:
        """Wait for a number of places."""
        taken = 0
        try:
            async with self._taking:  # one at a time: two that hold some places each would wait for ever
                while taken < count:
                    await self._places.acquire()
                    taken += 1
        except asyncio.CancelledError:
            self._release(taken)
            raise

    def _release(self, places: int) -> None:
        for _ in range(places):
            self._places.release()

    def _begin(
        self, version: ModelVersion, on_overdue: Callable[[], None], places: int, growth: Growth | None
    ) -> _Load:
        loop = asyncio.get_running_loop()
        load = _Load(version, loop.create_future(), on_overdue, places, growth=growth)
        load.done.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may not be awaited
        load.timers.append(loop.call_later(self._settings.ready_wait_s, self._check_overdue, load))
        name = f"load {version.name} version {version.version}"
        thread = threading.Thread(target=self._work, args=(load, loop, places > 1), name=name, daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        self._loads.add(load)
        thread.start()
        return load

    def _work(self, load: _Load, loop: asyncio.AbstractEventLoop, alone: bool) -> None:
        def tell(settle: Callable[[], None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: None if load.done.done() else settle())

        try:
            load.more_s = count_files(load.version) / _BYTES_PER_S
            before = 0 if load.growth is None else load.growth.read()
            with self._notes.loading(load.version.name, load.version.version, alone=alone):
                loaded = load_version(load.version, self._settings, load.cancellation)
            give_memory_back()
            if load.growth is not None:
                load.growth.grown_bytes = load.growth.read() - before
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            told = error
            tell(lambda: load.done.set_exception(told))
        else:
            tell(lambda: load.done.set_result(loaded))

    def _check_overdue(self, load: _Load) -> None:
        if load.more_s > 0:
            load.timers.append(asyncio.get_running_loop().call_later(load.more_s, self._check_overdue, load))
            load.more_s = 0.0
            return
        logger.warning("%s version %d takes long to load: others do not wait", load.version.name, load.version.version)
        self._free_places(load)
        load.on_overdue()

    def _free_places(self, load: _Load) -> None:
        self._release(load.places)
        load.places = 0

    def _end(self, load: _Load) -> None:
        for timer in load.timers:
            timer.cancel()
        load.timers.clear()  # they refer to the load: a cycle would keep what was loaded in memory
        self._free_places(load)
        self._loads.discard(load)


def describe_failure(error: Exception, doing: str) -> str:
    """Why a model does not serve, for the owner of the store. An unexpected error is logged with its traceback."""
    if isinstance(error, StoreError | NotReady):
        return str(error)
    if isinstance(error, OSError):
        return f"it cannot be read: {tell_why(error)}"
    logger.error("%s failed", doing, exc_info=error)
    if isinstance(error, MemoryError):
        return "there is not enough memory to load it"
    return f"{doing} failed unexpectedly ({type(error).__name__}): see the log"
