"""A worker: makes the device, the registry, the request handler and all else, and starts and stops them."""

import asyncio
import contextlib
import functools
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from service.access.guard import open_guard
from service.api import generate, kserve
from service.api.admin.admin import Administration
from service.api.continuing import Continuations
from service.api.golden import GoldenRequests
from service.api.handler import RequestHandler
from service.api.infer.regions import RegionTransfers
from service.api.infer.v2 import InferHandler
from service.api.info.cards import describe_facts
from service.api.info.info import Information
from service.api.info.metadata import release
from service.api.info.usage import Usage, read_build
from service.api.live.streams import LiveStreams
from service.api.tasks import TaskRunner
from service.compiled import find_stale, is_compiled
from service.cores import count_cores
from service.engine.batching.policy import INLINE_S
from service.engine.execution.device import Device
from service.engine.onnx.providers import NEVER_ON_GPU, choose_device, count_devices, count_lanes, runs_on_cpu
from service.engine.onnx.session import available_providers, host_allocator
from service.metrics.devices import device_memory, read_gpus
from service.metrics.event_loop import LoopWatch
from service.metrics.meters import Metrics
from service.metrics.processes import read_processes
from service.mirroring import Mirroring
from service.models.entry import Model, Served
from service.models.registry import Registry
from service.models.rollout.copies import Copies
from service.models.rollout.rollouts import RETURN, WINDOW, Rollouts
from service.sequences.forwarding import Forwarder
from service.sequences.sequences import Sequences
from service.settings import Settings, SettingsError
from service.settings.store import open_store
from service.shared_memory.regions import Regions
from service.tasks.reconstruction.tiles import MOST_AT_ONCE
from service.tasks.room import PictureRoom
from service.tasks.work import Limits
from service.telemetry.telemetry import Telemetry
from service.transport.open_files import fit_connections

if TYPE_CHECKING:
    from service.transport.grpc.server import GrpcServer

logger = logging.getLogger("sluice")

REPLACE_DRAIN_S = 5.0
"""A stuck worker drains for at most this time, because callers may wait for it in vain."""


class Worker:
    """Made on the event loop that will serve. ``start`` returns at once; models load in the background.

    ``index`` is the place of the worker among those of the server, from 0. While a worker is replaced, two have the
    same place. ``grpc_listener`` is a listening socket; None: the worker opens its own.
    """

    listens_at_start = True
    """Whether ``start`` also calls ``listen``."""

    def __init__(
        self, settings: Settings, index: int | None = None, grpc_listener: socket.socket | None = None
    ) -> None:
        stale = next(find_stale(), None)
        if stale is not None:
            raise SettingsError(
                f"{stale} has changed since it was compiled, and its old code would run: run `make compiled`, or "
                "`make plain` to serve without compiled code"
            )
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_fault)  # because BentoML turns off the logger of asyncio
        settings = settings.replace(max_connections=fit_connections(settings.max_connections))
        self.settings = settings
        self.metrics = Metrics(settings.metrics_dir)
        cores = count_cores()
        # The default executor has a thread for each core of the machine, even for cores that we may not use.
        loop.set_default_executor(ThreadPoolExecutor(max(2, cores), thread_name_prefix="other"))
        available = available_providers(settings.provider)
        on_cpu = runs_on_cpu(settings.provider, available)
        if not on_cpu:
            logger.warning("%s", NEVER_ON_GPU)
            devices = count_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), len(read_gpus()))
            settings = settings.replace(gpu_device=choose_device(settings.gpu_device, index, devices))
        self.device = Device(
            settings.lanes or count_lanes(settings.provider, available, cores),
            loop,
            inline_s=INLINE_S if on_cpu else 0.0,
            splits=on_cpu,
            empty=host_allocator(settings.provider),
            on_stuck=functools.partial(self.replace, "one of its runs does not end"),
        )
        store = open_store(settings)
        self.mirroring = Mirroring(settings) if settings.store_url else None
        self.registry = Registry(settings, store, self.device, self.metrics)
        self.registry.read_remote = self.mirroring.read_status if self.mirroring is not None else None
        self.handler = RequestHandler(settings, self.metrics, loop)
        self.handler.guard = open_guard(settings)
        self.telemetry = Telemetry(settings, self.metrics, loop, self.handler.clock, release())
        self.handler.observer = self.telemetry.observer
        self.sequences = Sequences(settings, loop)
        self.forwarder: Forwarder | None = None
        if (settings.workers > 1 or index is not None) and settings.metrics_dir is not None:
            self.forwarder = Forwarder(self.handler, settings.metrics_dir, settings, loop, index)
        self.regions = Regions(settings) if settings.shared_memory else None
        transfers = RegionTransfers(self.regions, settings)
        self.continuations = Continuations(self.registry, self.sequences, settings.drain_s)
        infer = InferHandler(self.registry, settings, self.sequences, self.forwarder, self.continuations, transfers)
        self.handler.find_max_tensors = infer.find_max_tensors
        limits = Limits(
            max_pixels=settings.max_image_pixels,
            max_steps=settings.max_steps,
            max_generated=settings.max_generated,
            max_samples=settings.max_sound_samples,
            state_key=settings.state_key.get_secret_value().encode() or secrets.token_bytes(32),
            room=PictureRoom(settings.max_held_bytes),
            tiles_at_once=min(self.device.lanes, MOST_AT_ONCE),
        )
        self.tasks = TaskRunner(self.registry, limits, loop, self.handler.threads)
        handler = self.handler
        self.streams = LiveStreams(
            self.registry, self.sequences, settings, self.metrics, handler.threads, handler.parsing, handler.clock
        )
        self.handler.streams = self.streams
        self.registry.prove_pipelines(GoldenRequests(self.registry, self.tasks, self.handler).prove)
        self._let_models_make_room()
        self.registry.holders += [self.continuations.release, self.tasks.release, self.streams.release, infer.forget]
        self.handler.starts.update({**infer.starts(), **self.tasks.starts()})
        self.handler.error_formats = {**generate.ERROR_FORMATS, **kserve.ERROR_FORMATS}
        self.administration = Administration(self.registry, settings, self.regions)
        copies = Copies(self.device, loop, self._is_short_of_memory)
        self.rollouts = Rollouts(store, self.registry.entries, self.metrics, copies, self.administration.workers, loop)
        self.administration.commands |= {WINDOW: self.rollouts.judge, RETURN: self.rollouts.give_back}
        self.registry.holders.append(copies.release)
        self.registry.lifecycle.reconciler.on_rollout = self.rollouts.apply
        self._info = Information(self.registry, store, self.metrics, self.administration, self.device.lanes)
        self.information: ASGIApp = self._info.application()
        self._watch = self._open_watch()
        self.grpc = self._open_grpc(grpc_listener) if settings.grpc_port else None
        self._loading: asyncio.Task[None] | None = None
        self.is_replaced = False
        self._stop_by: float | None = None
        self._stopping_grpc: asyncio.Task[None] | None = None

    def _let_models_make_room(self) -> None:
        """Say which versions must not be unloaded to make room, and which are still in use."""

        def has_sequences(model: Served) -> bool:
            return isinstance(model, Model) and self.sequences.is_needed(model.signature)

        room = self.registry.lifecycle.room
        room.stays += [self.streams.use, has_sequences]
        room.works += [self.tasks.use, lambda model: not model.is_idle]
        room.describe = lambda model: describe_facts(model) if isinstance(model, Model) else {}

    def _is_short_of_memory(self) -> bool:
        budget = self.handler.body_budget
        return budget.held_bytes > budget.max_bytes // 2

    def _open_watch(self) -> LoopWatch:
        """Register what the metrics read, at each scrape and from time to time."""
        if self.mirroring is not None:
            self.metrics.sources.append(self.mirroring.measure)
        usage = Usage(self.handler, self.registry, self.sequences, self.streams)
        self.metrics.levels += [usage.read, lambda: [("process_cpu_seconds", (), time.process_time())]]
        self.metrics.sources += [
            device_memory,
            lambda: read_processes(self.metrics.workers()),
            lambda: read_build(is_compiled()),
            lambda: [("sluice_configured_workers", (), float(self.settings.workers))],
        ]
        return LoopWatch(self._loop, self.metrics)

    def _open_grpc(self, listener: socket.socket | None) -> "GrpcServer":
        try:
            from service.transport.grpc.server import GrpcServer
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"SLUICE_GRPC_PORT={self.settings.grpc_port}: {error.name} is not installed: "
                "pip install 'sluice-serving[grpc]'"
            ) from None
        return GrpcServer(self.handler, self.information, self.metrics, self.settings, listener=listener)

    async def start(self) -> None:
        logger.info("the path of requests is %s", "compiled" if is_compiled() else "interpreted, which is slower")
        self._watch.start()
        await self.administration.workers.open()
        if self.forwarder is not None:
            await self.forwarder.open()
        if self.listens_at_start:
            await self.listen()
        if self.mirroring is None and self.settings.follow:
            await self.registry.follow()
        self._loading = asyncio.create_task(self._load(), name="load models")
        self._loading.add_done_callback(_end_loading)

    async def _load(self) -> None:
        if self.mirroring is not None:  # the copy must be there before it is followed
            await self.mirroring.start()
            if self.settings.follow:
                await self.registry.follow()
        await self.registry.load_all()

    async def listen(self) -> None:
        """Accept calls over gRPC. Raises SettingsError if it cannot listen on its port."""
        if self.grpc is not None:
            await self.grpc.start()

    def when_loaded(self, call: Callable[[], None]) -> None:
        """Call ``call`` when all models of the store have loaded or failed to load."""
        assert self._loading is not None  # noqa: S101  # ``start`` has been called
        self._loading.add_done_callback(lambda _: call())

    async def wait_for_loads(self) -> list[str]:
        """Wait until all models have loaded or failed, even slow ones. Returns the models that do not serve."""
        assert self._loading is not None  # noqa: S101  # ``start`` has been called
        await asyncio.wait([self._loading])
        entries = self.registry.entries
        for name in list(entries):
            async with self.registry.lock(name):  # a load holds this lock
                pass
        is_on_demand = self.registry.lifecycle.demands.is_on_demand
        return [name for name, each in entries.items() if each.serving is None and not is_on_demand(each)]

    def hand_over(self) -> None:
        """A new worker has the place of this one: tell gRPC clients to connect again. Open calls continue."""
        if self.grpc is not None:
            self._stopping_grpc = self._loop.create_task(self.grpc.hand_over(self.drain_s))

    @property
    def is_in_use(self) -> bool:
        """After ``hand_over``: whether this worker still has gRPC calls, or sequences that have not ended."""
        return bool(self.sequences) or (self._stopping_grpc is not None and not self._stopping_grpc.done())

    def announce_stop(self) -> None:
        """Report that this worker is not ready, but keep answering."""
        self._info.is_draining = True
        if self.grpc is not None:
            self.grpc.announce_stop()

    def replace(self, reason: str) -> None:
        """End this worker, because something in it is stuck for ever. The supervisor starts a new one."""
        if self.is_replaced:
            return
        logger.error("this worker is replaced: %s", reason)
        self.is_replaced = True
        os.kill(os.getpid(), signal.SIGTERM)

    def begin_stop(self) -> None:
        """Begin the drain: accepted requests have `drain_s` from now on. gRPC and the engine drain together."""
        self.announce_stop()
        self.streams.begin_stop()
        if self._stop_by is None:
            self._stop_by = self._loop.time() + self.drain_s
            if self.grpc is not None:
                self._stopping_grpc = self._loop.create_task(self.grpc.stop(self.drain_s))

    @property
    def drain_s(self) -> float:
        """Seconds that accepted requests have to finish; fewer if the worker is stuck."""
        return min(self.settings.drain_s, REPLACE_DRAIN_S) if self.is_replaced else self.settings.drain_s

    async def stop(self) -> None:
        """Finish the accepted requests. Threads are not joined, because one may be in a call that never returns."""
        self.begin_stop()
        await self.administration.workers.close()
        if self.mirroring is not None:
            self.mirroring.close()
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
        try:
            async with asyncio.timeout_at(self._stop_by):
                await self.registry.stop_following()
                self.continuations.stop()
                if self._loading is not None:
                    await asyncio.wait([self._loading])
                await self.tasks.drain()
                await self.registry.drain()
        except TimeoutError:
            logger.error("requests were still open after %.1f s and were dropped", self.drain_s)
        if self._stopping_grpc is not None:
            await self._stopping_grpc
        if self.forwarder is not None:
            await self.forwarder.close()
        await self.rollouts.close()
        self.sequences.close()
        if self.regions is not None:
            self.regions.close()
        self._watch.stop()
        await self.telemetry.close()


@contextlib.asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[Worker]:
    """A worker in this process that has loaded its models. At the end of the block it stops, and its threads end."""
    worker = Worker(settings)
    try:
        await worker.start()
        loaded = asyncio.Event()
        worker.when_loaded(loaded.set)
        await loaded.wait()
        yield worker
    finally:
        await worker.stop()
        worker.registry.close()
        worker.handler.close()
        worker.device.close()


def _log_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logger.error("a fault on the event loop: %s", context.get("message"), exc_info=context.get("exception"))


def _end_loading(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("loading the models failed", exc_info=task.exception())
