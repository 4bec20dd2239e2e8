"""The parts of one worker, put together: device, registry, data plane, and their start and stop."""

import asyncio
import gc
import logging

from model_store import Store
from service.engine.device import GPU_INLINE_S, INLINE_S, Device
from service.engine.providers import count_lanes, runs_on_cpu
from service.engine.session import available_providers, host_allocator
from service.gpu import device_memory, worker_memory
from service.http.information import Information
from service.http.plane import DataPlane
from service.metrics import Metrics
from service.registry import Registry
from service.settings import Settings, count_cores

logger = logging.getLogger("sluice")


class Runtime:
    """Made on the event loop that will serve. ``start`` returns at once and loads the models behind it."""

    def __init__(self, settings: Settings) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.metrics = Metrics(settings.metrics_dir)
        available = available_providers(settings.provider)
        on_cpu = runs_on_cpu(settings.provider, available)
        self.device = Device(
            settings.lanes or count_lanes(settings.provider, available, count_cores()),
            loop,
            inline_s=INLINE_S if on_cpu else GPU_INLINE_S,
            splits=on_cpu,
            empty=host_allocator(settings.provider),
        )
        self.metrics.sources += [device_memory, lambda: worker_memory(self.metrics.workers())]
        self.registry = Registry(settings, Store(settings.store), self.device, self.metrics)
        self.plane = DataPlane(self.registry, settings, self.metrics, loop)
        self.information = Information(self.registry, self.metrics)
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loading = asyncio.create_task(self.registry.load_all(), name="load models")
        self._loading.add_done_callback(_settle_memory)

    async def stop(self) -> None:
        """Finish what was accepted, then let go of the threads."""
        self.information.is_draining = True
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait([self._loading])
        try:
            async with asyncio.timeout(self.settings.drain_s):
                await self.plane.errands.drain()
                await self.registry.drain()
        except TimeoutError:
            logger.error("requests were still open after %.1f s and were dropped", self.settings.drain_s)
        self.registry.close()
        self.plane.close()
        self.device.close()


def _settle_memory(task: asyncio.Task[None]) -> None:
    """What was loaded stays for good: the garbage collector need not look at it again.

    Requests leave no cycles, so it may also come less often; with the defaults it took a quarter of the time of a small
    model at 64 clients.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    if not task.cancelled() and task.exception() is not None:
        logger.error("loading the models failed", exc_info=task.exception())
