"""The registry: which versions serve, and why the others do not.

A version is LOADING (in a thread), then READY, or UNAVAILABLE with the reason. The newest version of a model serves,
and every version that an alias points to. If the newest cannot prove itself the next older one is tried, so that a bad
publish does not take the model down.

``load`` and ``unload`` change this while the server runs. A new version loads while the old one serves. After that the
old one is UNLOADING until its accepted requests are answered.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any
from weakref import WeakValueDictionary

from model_store import ModelVersion, Store, StoreError
from model_store.files.links import tell_why
from model_store.graphs.analyst import analyst
from model_store.listing import Contents
from model_store.manifest import Task
from service.engine.execution.device import Device
from service.errors import NotReady, StillLoading, UnknownModel
from service.metrics.meters import Metrics, ModelMeter
from service.metrics.tracing import Tracer
from service.models.defaults import TaskDefaults
from service.models.entry import UNLOADED, Model, ModelEntry, Served, State, VersionEntry, find_number
from service.models.index import IndexEntry, StoreReader, check_usable, choose_version, make_index
from service.models.loading import LoadedVersion
from service.models.loads import Loads, describe_failure
from service.models.pipeline import LoadedPipeline, Pipeline
from service.models.retirement import Retirement, tell_serving
from service.settings import Settings

logger = logging.getLogger("sluice.registry")

_NAMES_SHOWN = 20


class Registry:
    """Changed on the event loop only. Versions load in threads."""

    def __init__(self, settings: Settings, store: Store, device: Device, metrics: Metrics) -> None:
        self.settings = settings
        self.loaded = False
        """Whether every model was tried."""
        self.tracer = Tracer()
        self.holders: list[Callable[[Served], Awaitable[None]]] = []
        """Called with a version that goes out of service; they return when they no longer need it."""
        self.prove: Callable[[Pipeline], Awaitable[None]] | None = None
        """Sends a pipeline its golden requests. Raises NotReady if it answers otherwise."""
        self._device = device
        self._metrics = metrics
        self.entries: dict[str, ModelEntry] = {}
        """The models by name, for others to read."""
        self._defaults = TaskDefaults(settings.default_models)
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._retirement = Retirement(device, metrics, self.holders)
        self._started: set[asyncio.Task[Any]] = set()
        self._first_loads: dict[tuple[str, str | None], asyncio.Task[None]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loads = Loads(settings)
        self._reader = StoreReader(store)

    def lock(self, name: str) -> asyncio.Lock:
        """Held by whoever loads or unloads a model."""
        return self._locks.setdefault(name, asyncio.Lock())

    async def load_all(self) -> None:
        """Load every model of the store, several at a time."""
        # This blocks the event loop, before anything is served: no request finds a store that is half read.
        found = self._reader.read_store(self.settings.models)
        for name, contents in found.items():
            model_entry = self.entries.setdefault(name, ModelEntry())
            model_entry.unusable, model_entry.reason = contents.unusable, "" if contents.folders else contents.why
        wanted = {name: contents for name, contents in found.items() if contents.folders}
        if self.settings.lazy:
            self._defaults.note(await self._reader.read_tasks(wanted))
            self.loaded = True
            logger.info("%d models serve when they are asked for", len(wanted))
            return
        for name, contents in wanted.items():
            self._keep(asyncio.create_task(self._load_model(name, contents), name=f"load {name}"))
        try:
            with analyst.hold():
                await asyncio.gather(*(self.entries[name].tried.wait() for name in wanted))
        except asyncio.CancelledError:
            await self._end_started()
            raise
        self.loaded = True
        ready = [name for name, model_entry in self.entries.items() if model_entry.serving]
        shown = ", ".join(ready[:_NAMES_SHOWN]) + (", …" if len(ready) > _NAMES_SHOWN else "")
        logger.info("%d of %d models serve: %s", len(ready), len(self.entries), shown or "none")

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        """Hold a task until it is done, and end it when the server stops."""
        self._started.add(task)
        task.add_done_callback(self._started.discard)

    async def _load_model(self, name: str, contents: Contents | None = None) -> None:
        """Load the versions of a model that should serve, from ``contents`` or from what the store has now."""
        model_entry = self.entries[name]
        try:
            async with self.lock(name):
                await self._load_versions(name, model_entry, contents)
        except Exception as error:  # noqa: BLE001  # the other models serve, whatever is wrong with this one
            model_entry.reason = describe_failure(error, f"reading {name}")
            logger.error("model %s is unavailable: %s", name, model_entry.reason)
        finally:
            model_entry.tried.set()

    async def _load_versions(self, name: str, model_entry: ModelEntry, contents: Contents | None) -> None:
        """Raises what reading the store raises."""
        found, versions, model_entry.aliases, chosen = await self._reader.read(name, contents)
        model_entry.unusable, model_entry.chosen = found.unusable, chosen
        model_entry.reason = "" if found.folders else found.why or "it is not in the store any more"
        if chosen is not None and not chosen:
            model_entry.reason = "the version_policy of config.pbtxt names none of the versions that are there"
            logger.error("model %s is unavailable: %s", name, model_entry.reason)
        late: list[asyncio.Task[VersionEntry]] = []
        for version in reversed(versions):
            if model_entry.serving is None and (chosen is None or version.version in chosen):
                task = await self._load_until_overdue(model_entry, version)
                if task.done():
                    model_entry.serving = task.result().model
                else:
                    late.append(task)
        self._note_serving(name, model_entry)
        stay = {*model_entry.aliases.values(), *(chosen or ())}
        for version in versions[:-1]:
            if version.version in stay:
                await self._load_entry(model_entry, version)
        model_entry.tried.set()
        for task in reversed(late):
            model = (await task).model
            if model is not None:
                self._serve(name, model_entry, model, stay)

    async def _load_until_overdue(self, model_entry: ModelEntry, version: ModelVersion) -> "asyncio.Task[VersionEntry]":
        """Start to load a version. Returns the task when it is done, or overdue: then an older version may serve."""
        overdue = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._load_entry(model_entry, version, False, lambda: overdue.set_result(None)))
        try:
            await asyncio.wait({task, overdue}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            self._keep(task)
        return task

    def _serve(self, name: str, model_entry: ModelEntry, model: Served, stay: Collection[int]) -> None:
        """Let a version serve. Others go out of service, but for those that ``stay``."""
        model_entry.serving = model
        leaving = [e for number, e in model_entry.entries.items() if number not in {int(model.version), *stay}]
        self._retirement.retire(leaving)
        self._note_serving(name, model_entry)

    def _note_serving(self, name: str, model_entry: ModelEntry) -> None:
        """Note that another version serves, or none."""
        self._defaults.note({name: None if model_entry.serving is None else model_entry.serving.manifest.task})

    async def _load_entry(
        self,
        model_entry: ModelEntry,
        version: ModelVersion,
        again: bool = False,
        on_overdue: Callable[[], None] | None = None,
    ) -> VersionEntry:
        """Load a version that was not tried yet; ``again``: also one that does not serve, or whose files may change.

        If the version serves already, it goes on until the new one takes its place.
        """
        number, labels = version.version, (version.name, str(version.version))
        old = model_entry.entries.get(number)
        serves = old is not None and old.model is not None
        if old is not None and (not again or (serves and not self._may_change(version))):
            return old
        entry = VersionEntry(version)
        if not serves:
            model_entry.entries[number] = entry

        def note_overdue() -> None:
            entry.reason = f"it takes long to load, and is given up after {self.settings.load_timeout_s:g} s"
            (on_overdue or model_entry.tried.set)()

        try:
            loaded = await self._loads.load(version, note_overdue, is_asked_for=again)
            model = self._open(version, loaded)
            if isinstance(model, Pipeline) and self.prove is not None:
                await self.prove(model)
        except Exception as error:  # noqa: BLE001  # a version that breaks the loader must not affect the others
            entry.state = State.UNAVAILABLE
            entry.reason = describe_failure(error, f"loading {labels[0]} version {number}")
            if not serves:
                self._metrics.numbers("sluice_model_ready", labels).set(0)
            logger.error("%s version %s is unavailable: %s", *labels, entry.reason)
        else:
            self._tell_ready(model)
            entry.model = model
            entry.state, entry.reason = State.READY, ""
            model_entry.entries[number] = entry
            if old is not None and old.model is not None:
                if model_entry.serving is old.model:
                    model_entry.serving = entry.model
                self._retirement.begin(old, old.model)
        return entry

    @staticmethod
    def _may_change(version: ModelVersion) -> bool:
        try:
            return version.is_plain
        except StoreError:  # its folder cannot be read any more: the load will tell why
            return True

    def _open(self, source: ModelVersion, loaded: LoadedVersion | LoadedPipeline) -> Served:
        labels = (source.name, str(source.version))
        if isinstance(loaded, LoadedPipeline):
            return Pipeline(*labels, loaded, self._metrics)
        meter = ModelMeter(self._metrics, *labels, self.tracer.sampler(source.name))
        return Model(*labels, loaded, self.settings, self._device, meter)

    def _tell_ready(self, model: Served) -> None:
        labels, load_s = (model.name, model.version), model.loaded.load_s
        tell_serving(self._metrics, model, serves=True)
        self._metrics.numbers("sluice_model_load_seconds", labels).set(load_s)
        where = "through its steps" if isinstance(model, Pipeline) else f"on {model.loaded.session.place}"
        logger.info("%s version %s serves %s, loaded in %.2f s", *labels, where, load_s)

    @property
    def is_ready(self) -> bool:
        return self.loaded and (self.settings.lazy or any(model_entry.serving for model_entry in self.entries.values()))

    def model_entry(self, name: str) -> ModelEntry:
        """Raises UnknownModel, or NotReady while the store is being read."""
        found = self.entries.get(name)
        if found is None:
            if not self.loaded:
                raise NotReady("the models are being loaded")
            raise UnknownModel(f"no model {name!r:.120}: there are {', '.join(self.entries) or 'none'}")
        return found

    def find(self, name: str, version: str | None = None) -> Model:
        """The version that answers, given as a number or an alias. Raises UnknownModel, NotReady with the reason."""
        found = self.find_served(name, version)
        if isinstance(found, Pipeline):
            raise UnknownModel(
                f"model {name!r} is a pipeline, which takes no tensors and does no other task: use /pipeline"
            )
        return found

    def find_served(self, name: str, version: str | None = None) -> Served:
        """As ``find``, but it may be a pipeline."""
        model_entry = self.model_entry(name)
        if version is None and model_entry.serving is not None:
            return model_entry.serving
        if name in self._loading or (self.settings.lazy and not model_entry.entries and not model_entry.reason):
            self._load_on_demand(name)
        if version is None:
            raise NotReady(f"model {name!r} is not ready: {model_entry.why}", model=name)
        if model_entry.unusable:
            check_usable(name, version, model_entry.unusable)
        entry = model_entry.find(name, version)
        if entry.model is None:
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
                error.when_loaded(loaded.set)
            await loaded.wait()

    def _load_on_demand(self, name: str) -> None:
        """Raises StillLoading, and starts the load: at once, or if called from a thread, when somebody waits for it."""

        def begin() -> asyncio.Task[None]:
            task = self._loading.get(name)
            if task is None:
                task = self._loading[name] = asyncio.get_running_loop().create_task(self._load_model(name))
                task.add_done_callback(lambda _: self._loading.pop(name, None))
            return task

        with contextlib.suppress(RuntimeError):  # there is no event loop in a thread
            begin()
        raise StillLoading(
            f"model {name!r} is being loaded", when_loaded=lambda then: begin().add_done_callback(lambda _: then())
        )

    def find_for_task(self, task: Task, name: str | None, version: str | None) -> Model:
        """The model that does a task; without a name the default. Raises UnknownModel, NotReady."""
        model = self.find(name or self.default_of(task), version)
        if task not in model.tasks:
            does = " and ".join(sorted(model.tasks))
            raise UnknownModel(f"model {name!r} does {does}, not {task}")
        return model

    def default_of(self, task: Task) -> str:
        """The name of the model that does a task by default. Raises UnknownModel, NotReady."""
        name = self._defaults.names.get(task)
        if name is None:
            raise self._defaults.refuse(task, not self.loaded or bool(self._started))
        return name

    def models(self) -> Iterator[Model]:
        """Every version in service, but pipelines."""
        for model_entry in self.entries.values():
            yield from (entry.model for entry in model_entry.entries.values() if isinstance(entry.model, Model))

    async def load(self, name: str, version: str | None = None) -> None:
        """Read a model again from the store, and let its newest version serve, or one given as a number or an alias.

        The old version serves until the new one has proved itself. Then versions that neither serve nor have an alias
        go out of service. Raises UnknownModel, or NotReady with the reason: then nothing has changed. Several callers
        that want the first load of a model share it.
        """
        if self.settings.models and name not in self.settings.models:
            raise UnknownModel(f"no model {name!r:.120}: SLUICE_MODELS lets {', '.join(self.settings.models)} serve")
        task = self._first_loads.get((name, version))
        if task is None:
            task = asyncio.create_task(self._load_again(name, version))
            self._keep(task)
            model_entry = self.entries.get(name)
            if model_entry is None or model_entry.serving is None:
                self._first_loads[name, version] = task
                task.add_done_callback(lambda _: self._first_loads.pop((name, version), None))
        await asyncio.shield(task)

    async def _load_again(self, name: str, version: str | None) -> None:
        self._loads.cancel(name, None, "it took long, and another load was asked for", only_overdue=True)
        served = name in self.entries and self.entries[name].serving is not None
        async with self.lock(name):
            found = await self._reader.read_again(name, self.entries[name].why if name in self.entries else "")
            wanted = choose_version(name, version, found)
            model_entry = self.entries.setdefault(name, ModelEntry())
            is_new = not served and model_entry.serving is not None  # somebody loaded it while this waited
            entry = await self._load_entry(model_entry, wanted, again=not is_new)
            if entry.model is None:
                raise NotReady(f"version {wanted.version} of {name!r} cannot serve: {entry.reason}")
            model_entry.aliases, model_entry.reason = found.aliases, ""
            model_entry.unusable = found.contents.unusable
            stay = {*found.aliases.values(), *((found.chosen or ()) if version is None else ())}
            self._serve(name, model_entry, entry.model, stay)
            for other in found.versions:
                if other.version in stay and other is not wanted:
                    await self._load_entry(model_entry, other)

    async def unload(self, name: str, version: str | None = None) -> None:
        """Take a model out of service, or one of its versions, given as a number or an alias.

        Accepted requests are finished. Of the remaining versions the newest serves. Raises UnknownModel.
        """
        model_entry = self.model_entry(name)
        # A load holds the lock until it ends.
        number = None if version is None else find_number(name, model_entry.aliases, version)
        self._loads.cancel(name, number, UNLOADED)
        async with self.lock(name):
            if number is None:
                leaving = list(model_entry.entries.values())
                model_entry.reason = UNLOADED
            else:
                leaving = [model_entry.find(name, str(number))]
            if any(entry.model is model_entry.serving for entry in leaving):
                staying = [e.model for _, e in sorted(model_entry.entries.items()) if e.model and e not in leaving]
                model_entry.serving = staying[-1] if staying else None
            self._note_serving(name, model_entry)
            self._retirement.retire(leaving)

    async def index(self) -> list[IndexEntry]:
        """All that is in the store, and all versions in service. Raises NotReady."""
        try:
            found = await self._reader.list_all()
        except OSError as error:
            raise NotReady(f"the store cannot be read: {tell_why(error)}") from None
        return make_index(found, self.entries, lazy=self.settings.lazy, loaded=self.loaded)

    async def drain(self) -> None:
        """End the loads, and return when accepted requests are answered."""
        await self._end_started()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        await asyncio.gather(*(model.drain() for model in self.models()))
        await self._retirement.end()

    async def _end_started(self) -> None:
        """End the loads that no request has started."""
        for task in list(self._started):
            task.cancel()
        await asyncio.gather(*self._started, return_exceptions=True)

    def close(self) -> bool:
        """End the remaining loads. Returns whether they have ended: some cannot be stopped."""
        self._reader.close()
        return self._loads.close()
