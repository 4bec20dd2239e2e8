"""How a version goes out of service: what it has accepted is finished, and its memory comes back."""

import asyncio
import ctypes
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from service.engine.execution.device import Device
from service.metrics.meters import Metrics
from service.models.entry import UNLOADED, Model, State, VersionEntry

logger = logging.getLogger("sluice.registry")


class Retirement:
    """``holders`` are asked when a version is taken out of service: they return when they do not need it any more."""

    def __init__(self, device: Device, metrics: Metrics, holders: Sequence[Callable[[Model], Awaitable[None]]]) -> None:
        self._device = device
        self._metrics = metrics
        self._holders = holders
        self._tasks: set[asyncio.Task[None]] = set()

    def retire(self, entries: Iterable[VersionEntry]) -> None:
        """Those of them that serve."""
        for entry in entries:
            if entry.model is not None:
                labels = (entry.source.name, str(entry.source.version))
                self._metrics.gauge("sluice_model_ready", labels).set(0)
                self._metrics.gauge("sluice_model_provider", (*labels, entry.model.loaded.session.provider)).set(0)
                self.begin(entry, entry.model)

    def begin(self, entry: VersionEntry, model: Model) -> None:
        """Let nobody find the version any more, and let go of it when those who had found it are done."""
        entry.model, entry.state, entry.reason = None, State.UNLOADING, "requests that it has accepted are finished"
        task = asyncio.get_running_loop().create_task(self._let_go(entry, [model]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Return when all have been let go of."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _let_go(self, entry: VersionEntry, held: list[Model]) -> None:
        """``held`` has the only reference that is left in the end: its sessions are closed in a thread."""
        for holder in self._holders:
            await holder(held[0])
        await drain(held)
        self._forget(held[0])
        entry.state, entry.reason = State.UNAVAILABLE, UNLOADED
        logger.info("%s version %d is out of service", entry.source.name, entry.source.version)
        await asyncio.to_thread(_release, held)

    def _forget(self, model: Model) -> None:
        for dispatcher in model.graphs.values():
            self._device.forget(dispatcher)
            dispatcher.queue.next_deadline()  # lets go of answered requests, which hold the model in a circle
        if model.loop is not None:
            self._device.forget(model.loop)


async def drain(models: Sequence[Model]) -> None:
    """Return when all that they have accepted is answered."""
    await asyncio.gather(*(model.loop.drain() for model in models if model.loop is not None))
    # A loop request may be followed by a run of another graph, so these come last.
    await asyncio.gather(*(dispatcher.drain() for model in models for dispatcher in model.graphs.values()))


def give_memory_back() -> None:
    """What was freed goes back to the system. The C library would keep it: each thread has a heap of its own,
    and every load a thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def _release(held: list[Model]) -> None:
    held.clear()
    give_memory_back()
