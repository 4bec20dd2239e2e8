"""The registry: finds the version that answers a request, or says why none does.

A version is LOADING (in a thread), then READY, or UNAVAILABLE with the reason. The newest version of a model serves,
and so does every version that an alias names. ``lifecycle`` puts versions into service and takes them out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from model_store import Store
from model_store.manifest import Task
from model_store.remote.state import Status
from service.engine.execution.device import Device
from service.errors import NotReady, StillLoading, UnknownModel
from service.metrics.meters import Metrics
from service.metrics.tracing import Tracer
from service.models.entry import Model, ModelEntry, Served
from service.models.lifecycle.index import IndexEntry, check_usable
from service.models.lifecycle.lifecycle import Lifecycle
from service.models.pipeline import Pipeline
from service.settings import Settings
from service.transport.request import Request


class Registry:
    """Changed on the event loop only. Versions load in threads."""

    def __init__(self, settings: Settings, store: Store, device: Device, metrics: Metrics) -> None:
        self.settings = settings
        self.tracer = Tracer()
        self.holders: list[Callable[[Served], Awaitable[None]]] = []
        """Called with each version that goes out of service; they return when they no longer need it."""
        self.entries: dict[str, ModelEntry] = {}
        """The models by name. Others only read it."""
        self.read_remote: Callable[[], Status] | None = None
        """Reads the status of the remote store that the local one copies; None if the store is just a folder."""
        self.lifecycle = Lifecycle(settings, store, device, metrics, self.tracer, self.entries, self.holders)
        self.leaving = self.lifecycle.retirement.leaving
        """Versions that are going out of service and are still needed."""
        self._defaults = self.lifecycle.defaults

    @property
    def loaded(self) -> bool:
        """Whether the first load of every model has ended."""
        return self.lifecycle.loaded

    @property
    def is_ready(self) -> bool:
        serves = any(each.serving or self.lifecycle.demands.is_on_demand(each) for each in self.entries.values())
        return self.loaded and (self.settings.lazy or serves)

    @property
    def loads_on_demand(self) -> bool:
        """Whether a model that was never loaded is loaded by its first request."""
        return self.lifecycle.demands.is_lazy

    def waits_for_demand(self, model_entry: ModelEntry) -> bool:
        """Whether a model does not serve until the next request loads it."""
        return model_entry.serving is None and self.lifecycle.demands.is_on_demand(model_entry)

    def prove_pipelines(self, prove: Callable[[Pipeline], Awaitable[None]]) -> None:
        """``prove`` sends a pipeline its golden requests, and raises NotReady if the answers are wrong."""
        self.lifecycle.versions.prove = prove

    def lock(self, name: str) -> asyncio.Lock:
        """Held by whoever loads or unloads a model."""
        return self.lifecycle.lock(name)

    def model_entry(self, name: str) -> ModelEntry:
        """Raises UnknownModel, or NotReady while the store is being read."""
        found = self.entries.get(name)
        if found is None:
            if not self.loaded:
                raise NotReady("the models are being loaded")
            raise UnknownModel(f"no model {name!r:.120}: there are {', '.join(self.entries) or 'none'}")
        return found

    def find(self, name: str, version: str | None = None, request: Request | None = None) -> Model:
        """The version that answers, given as a number or an alias. Raises UnknownModel, NotReady with the reason.

        Without a version it may be one on trial, for the ``request`` of a caller.
        """
        found = self.find_served(name, version, request)
        if isinstance(found, Pipeline):
            raise UnknownModel(
                f"model {name!r} is a pipeline, which takes no tensors and does no other task: send it to /pipeline"
            )
        return found

    def find_served(self, name: str, version: str | None = None, request: Request | None = None) -> Served:
        """As ``find``, but it may be a pipeline."""
        model_entry = self.model_entry(name)
        found = model_entry.serving
        if version is not None or found is None:
            found = self._find_version(name, model_entry, version)
        elif request is not None and model_entry.chooser is not None:
            found = model_entry.chooser.choose(request) or found
        found.used_at = time.perf_counter()
        if found.is_new:
            self.lifecycle.room.note_use(found)
        return found

    def look_up(self, name: str, version: str | None = None) -> Served | None:
        """As ``find_served``, but this does not count as use, and loads no evicted version: then it is None."""
        model_entry = self.model_entry(name)
        if version is None and model_entry.serving is not None:
            return model_entry.serving
        if model_entry.is_evicted(version, time.perf_counter()):
            return None
        return self._find_version(name, model_entry, version)

    def _find_version(self, name: str, model_entry: ModelEntry, version: str | None) -> Served:
        demands = self.lifecycle.demands
        if version is None or not model_entry.entries:
            demands.check(name, model_entry, None)
        if version is None:
            raise NotReady(f"model {name!r} is not ready: {model_entry.why}", model=name)
        if model_entry.unusable:
            check_usable(name, version, model_entry.unusable)
        try:
            entry = model_entry.find(name, version)
        except UnknownModel:
            if demands.is_open(name):  # it comes into service with the others
                demands.check(name, model_entry, None)
            raise
        if entry.model is None:
            demands.check(name, model_entry, entry.source.version)
            why = entry.reason or "it is being loaded"
            raise NotReady(f"model {name!r} version {version} is not ready: {why}", model=name)
        return entry.model

    async def find_when_loaded(self, name: str, version: str | None = None) -> Served:
        """As ``find_served``, but waits while the model is loaded on demand."""
        while True:
            try:
                return self.find_served(name, version)
            except StillLoading as error:
                loaded = asyncio.Event()
                withdraw = error.when_loaded(loaded.set)
            try:
                await loaded.wait()
            finally:
                withdraw()

    def find_leaving(self, name: str, version: str | None) -> Model | None:
        """A version that is going out of service, by number; None: the one that left last. Sequences and states that
        began on it may continue there."""
        for model in reversed(list(self.leaving)):
            is_meant = model.name == name and version in (None, model.version)
            if is_meant and isinstance(model, Model) and not model.is_closed:
                return model
        return None

    def find_for_task(self, task: Task, name: str | None, version: str | None, request: Request | None = None) -> Model:
        """The model for a task: ``name``, or the default of the task. Raises UnknownModel, NotReady."""
        model = self.find(name or self.default_of(task), version, request)
        if task not in model.tasks:
            does = " and ".join(sorted(model.tasks))
            raise UnknownModel(f"model {name!r} does {does}, not {task}")
        return model

    def default_of(self, task: Task) -> str:
        """The name of the model that does a task by default. Raises UnknownModel, NotReady."""
        name = self._defaults.names.get(task)
        if name is None:
            raise self._defaults.refuse(task, self.lifecycle.is_loading)
        return name

    def models(self) -> Iterator[Model]:
        """Every version in service except pipelines."""
        for model_entry in self.entries.values():
            yield from (entry.model for entry in model_entry.entries.values() if isinstance(entry.model, Model))

    def tell_remote(self, name: str) -> str:
        """Why the local copy of a model is not that of the remote store; "" if it is, as far as is known."""
        return "" if self.read_remote is None else self.read_remote().tell(name)

    @property
    def store_fault(self) -> str:
        """Why the store cannot be followed at present; "" if it can."""
        fault = self.lifecycle.follower.fault
        return f"the store is not followed, and what serves goes on: {fault}" if fault else ""

    async def follow(self) -> None:
        """Follow changes of the store from now on."""
        await self.lifecycle.follower.start()

    async def stop_following(self) -> None:
        """Ignore changes of the store from now on."""
        await self.lifecycle.follower.stop()

    async def load_all(self) -> None:
        """Load every model of the store, several at a time."""
        await self.lifecycle.load_all()

    async def load(self, name: str, version: str | None = None) -> None:
        """As ``Lifecycle.load``."""
        await self.lifecycle.load(name, version)

    async def unload(self, name: str, version: str | None = None) -> None:
        """As ``Lifecycle.unload``."""
        self.model_entry(name)  # raises UnknownModel, NotReady
        await self.lifecycle.unload(name, version)

    async def index(self) -> list[IndexEntry]:
        """Everything in the store, and all versions in service. Raises NotReady."""
        return await self.lifecycle.index()

    async def drain(self) -> None:
        """End the loads, and return when all accepted requests are answered."""
        await self.lifecycle.end_loads()
        await asyncio.gather(*(model.drain() for model in self.models()))
        await self.lifecycle.retirement.end()

    def close(self) -> bool:
        """End the remaining loads. Returns whether they have ended: some cannot be stopped."""
        return self.lifecycle.close()
