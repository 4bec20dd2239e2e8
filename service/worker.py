"""The parts of one worker, put together: device, registry, request handler, and their start and stop."""

import asyncio
import gc
import logging
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any

from model_store import Store
from model_store.graphs.configuration import read_default_filename
from service.api import generate, kserve
from service.api.admin.control import Control
from service.api.handler import RequestHandler
from service.api.info.info import Information
from service.api.tasks import TaskRunner
from service.api.v2 import InferHandler
from service.compiled import find_stale, is_compiled
from service.engine.batching.policy import GPU_INLINE_S, INLINE_S
from service.engine.execution.device import Device
from service.engine.onnx.providers import count_lanes, runs_on_cpu
from service.engine.onnx.session import available_providers, host_allocator
from service.metrics.devices import device_memory, worker_memory
from service.metrics.meters import Metrics
from service.models.registry import Registry
from service.sequences.forwarding import Forwarder
from service.sequences.sequences import Sequences
from service.settings import Settings, SettingsError, count_cores
from service.tasks.work import Limits
from service.transport.asgi import ASGIApp

if TYPE_CHECKING:
    from service.transport.grpc.server import GrpcServer

logger = logging.getLogger("sluice")

_SWITCH_S = 100e-6
_STUCK_EXIT = 70
"""How a worker ends that has lost a lane: a fault inside, by `sysexits.h`."""


class Worker:
    """Made on the event loop that will serve. ``start`` returns at once and loads the models behind it."""

    def __init__(self, settings: Settings) -> None:
        loop = asyncio.get_running_loop()
        # Without this nobody would hear of it: the worker that we run in turns asyncio's own logger off.
        loop.set_exception_handler(_tell_of_fault)
        self.settings = settings
        self.metrics = Metrics(settings.metrics_dir)
        # A lane that has run a batch needs the interpreter to say so. Python lets a thread wait for 5 ms by default,
        # and so long would a core be idle while the event loop is busy.
        sys.setswitchinterval(_SWITCH_S)
        available = available_providers(settings.provider)
        on_cpu = runs_on_cpu(settings.provider, available)
        self.device = Device(
            settings.lanes or count_lanes(settings.provider, available, count_cores()),
            loop,
            inline_s=INLINE_S if on_cpu else GPU_INLINE_S,
            splits=on_cpu,
            empty=host_allocator(settings.provider),
            on_stuck=self._begin_end,
        )
        self._ending: asyncio.Task[None] | None = None
        self.metrics.sources += [device_memory, lambda: worker_memory(self.metrics.workers())]
        store = Store(settings.store, follow_links=settings.follow_links, read_default=read_default_filename)
        self.registry = Registry(settings, store, self.device, self.metrics)
        self.handler = RequestHandler(settings, self.metrics, loop, writes=self.device.writes)
        self.sequences = Sequences(settings, loop)
        folder = settings.metrics_dir
        self.forwarder: Forwarder | None = None
        if settings.workers > 1 and folder is not None:
            self.forwarder = Forwarder(self.handler, folder, settings, loop)
        infer = InferHandler(self.registry, settings, self.sequences, self.forwarder)
        self.tasks = TaskRunner(self.registry, _limits(settings), settings.deadline_s, loop, self.handler.threads)
        self.registry.holders += [self.tasks.release, infer.forget]
        self.handler.starts.update({**infer.starts(), **self.tasks.starts()})
        self.handler.error_formats = {**generate.ERROR_FORMATS, **kserve.ERROR_FORMATS}
        self.control = Control(self.registry, settings, settings.metrics_dir)
        self._info = Information(self.registry, self.metrics, self.control, self.device.lanes)
        self.information: ASGIApp = self._info.application()
        self.grpc = self._open_grpc() if settings.grpc_port else None
        self._loading: asyncio.Task[None] | None = None

    def _open_grpc(self) -> "GrpcServer":
        try:
            from service.transport.grpc.server import GrpcServer
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"SLUICE_GRPC_PORT={self.settings.grpc_port}: {error.name} is not installed: "
                "pip install 'sluice-serving[grpc]'"
            ) from None
        return GrpcServer(self.handler, self.information, self.metrics, self.settings)

    async def start(self) -> None:
        _tell_form()
        await self.control.open()
        if self.forwarder is not None:
            await self.forwarder.open()
        if self.grpc is not None:
            await self.grpc.start()
        self._loading = asyncio.create_task(self.registry.load_all(), name="load models")
        self._loading.add_done_callback(_settle_memory)

    def _begin_end(self) -> None:
        """A lane is lost for good: answer what the others can, and end: another worker takes this one's place."""
        if self._ending is None:
            logger.error("this worker ends, for another one to take its place: a run in it does not end")
            self._info.is_draining = True
            self._ending = asyncio.create_task(self._end(), name="end")

    async def _end(self) -> None:
        await self._finish_accepted()
        os._exit(_STUCK_EXIT)  # nothing else ends a thread that runs a graph

    async def stop(self) -> None:
        """Finish what was accepted, then let go of the threads."""
        self._info.is_draining = True
        await self.control.close()
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait([self._loading])
        drain_s = self.settings.drain_s
        # Callers over gRPC wait for the engine: both are drained at once.
        stopping = asyncio.create_task(self.grpc.stop(drain_s)) if self.grpc is not None else None
        await self._finish_accepted()
        if stopping is not None:
            await stopping
        if self.forwarder is not None:
            await self.forwarder.close()
        self.registry.close()
        self.sequences.close()
        self.handler.close()
        self.device.close()

    async def _finish_accepted(self) -> None:
        """Refuse new requests; return when the accepted ones are answered, or their time is over."""
        drain_s = self.settings.drain_s
        try:
            async with asyncio.timeout(drain_s):
                await self.tasks.drain()
                await self.registry.drain()
        except TimeoutError:
            logger.error("requests were still open after %.1f s and were dropped", drain_s)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_pixels=settings.max_image_pixels,
        max_steps=settings.max_steps,
        max_generated=settings.max_generated,
        state_key=settings.state_key.encode() or secrets.token_bytes(32),
    )


def _tell_form() -> None:
    logger.info("the path of requests is %s", "compiled" if is_compiled() else "interpreted, which is slower")
    for source in find_stale():
        logger.warning("%s has changed since it was compiled: run `make compiled` again", source)


def _tell_of_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logger.error("a fault on the event loop: %s", context.get("message"), exc_info=context.get("exception"))


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
