"""Takes versions out of service: finishes their accepted requests and frees their memory."""

import asyncio
import ctypes
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence

from service.engine.execution.device import Device
from service.metrics.meters import Metrics
from service.models.entry import EVICTED, UNLOADED, Model, Served, State, VersionEntry

logger = logging.getLogger("sluice.registry")


def report_serving(metrics: Metrics, model: Served, *, serves: bool, on_demand: bool = False) -> None:
    """Set the metrics of a version: whether it serves, where it runs, and the bytes of its weights.

    One that is loaded ``on_demand`` counts as ready, because its requests are answered.
    """
    labels = (model.name, model.version)
    metrics.numbers("sluice_model_ready", labels).set(int(serves or on_demand))
    if isinstance(model, Model):
        loaded = model.loaded
        weight_bytes = sum(graph.weight_bytes for graph in (loaded, *loaded.graphs.values())) if serves else 0
        metrics.numbers("sluice_model_provider", (*labels, *loaded.session.placement)).set(int(serves))
        metrics.numbers("sluice_model_weight_bytes", labels).set(weight_bytes)


class Retirement:
    """``holders`` are called with each version that goes out of service, and return when they no longer need it."""

    def __init__(
        self, device: Device, metrics: Metrics, holders: Sequence[Callable[[Served], Awaitable[None]]]
    ) -> None:
        self.leaving: dict[Served, None] = {}
        """Versions out of service that are still needed, oldest first: sequences may continue on them."""
        self._device = device
        self._metrics = metrics
        self._holders = holders
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_leave: Callable[[VersionEntry], None] = lambda entry: None
        """Called when a version takes no new requests."""
        self.on_gone: Callable[[VersionEntry], None] = lambda entry: None
        """Called when the memory of a version is free again."""

    def retire(self, entries: Iterable[VersionEntry]) -> None:
        """Take versions out of service. Those that are loaded on demand are no longer loaded."""
        for entry in entries:
            if entry.model is None and entry.on_demand:
                entry.on_demand, entry.reason = False, entry.reason if entry.retry_at else UNLOADED
            if entry.model is not None:
                report_serving(self._metrics, entry.model, serves=False, on_demand=entry.on_demand)
                self.begin(entry, entry.model)

    def forget(self, entries: Iterable[VersionEntry]) -> None:
        """Set the metric of versions that are no longer in the store to NaN: no alert waits for them."""
        for entry in entries:
            self._metrics.numbers("sluice_model_ready", (entry.source.name, str(entry.source.version))).set(math.nan)

    def begin(self, entry: VersionEntry, model: Served) -> None:
        """Give a version no more requests, and drop it when its accepted requests are finished."""
        entry.model, entry.state, entry.reason = None, State.UNLOADING, "requests that it has accepted are finished"
        model.is_closed = entry.on_demand
        self.on_leave(entry)
        self.leaving[model] = None
        task = asyncio.get_running_loop().create_task(self._let_go(entry, [model]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self.on_gone(entry))

    async def end(self) -> None:
        """Return when all these versions are out of service."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _let_go(self, entry: VersionEntry, held: list[Served]) -> None:
        """Wait until a model is no longer needed, and drop it.

        In the end ``held`` has the only reference to it, so that a thread, not the event loop, closes its sessions.
        """
        for holder in self._holders:
            await holder(held[0])
        del self.leaving[held[0]]
        held[0].is_closed = True
        await held[0].drain()
        for dispatcher in held[0].graphs.values():
            self._device.forget(dispatcher)
            dispatcher.queue.next_deadline()  # drops answered requests, which would keep the model in memory
        if held[0].loop is not None:
            self._device.forget(held[0].loop)
        entry.state, entry.reason = State.UNAVAILABLE, EVICTED if entry.on_demand else UNLOADED
        logger.info("%s version %d is out of service", entry.source.name, entry.source.version)
        await asyncio.to_thread(_release, held)


def give_memory_back() -> None:
    """Give freed memory back to the system. Else the C library keeps it in the heap of each thread that loaded."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


def _release(held: list[Served]) -> None:
    held.clear()
    give_memory_back()
