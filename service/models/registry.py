"""Which versions serve, and why the others do not.

Life of a version: LOADING (in a thread) -> READY, or UNAVAILABLE with the reason. Of each model the newest version
serves, and every version that an alias points to; if the newest cannot prove itself the next older one is tried, so
that a bad publish does not take the model down.

``load`` and ``unload`` change that while the server runs. A new version is loaded beside the old one; requests go to
the one or the other, and the old one is UNLOADING until the last that it accepted is answered.
"""

import asyncio
import contextlib
import copy
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from model_store import ModelVersion, Store, StoreError
from model_store.consistency import MAIN
from model_store.errors import BadName
from model_store.graphs.analyst import analyst
from model_store.graphs.configuration import choose_versions
from model_store.listing import Contents
from model_store.manifest import Task
from service.engine.batching.queue import BatchQueue
from service.engine.execution.device import Device
from service.engine.execution.dispatcher import Dispatcher
from service.engine.execution.queued_request import QueuedRequest
from service.engine.loop.continuous_batcher import ContinuousBatcher
from service.engine.loop.slots import SlotTable
from service.errors import NotReady, StillLoading, UnknownModel
from service.metrics.meters import Metrics, ModelMeter
from service.metrics.tracing import Tracer
from service.models.entry import Entry, Model, Shelf, State, find_number
from service.models.index import Listed, check_usable, choose_version, make_index, read_store
from service.models.loading import Loaded, Proven, load_version
from service.settings import Settings, count_cores

__all__ = ["Entry", "Listed", "Model", "Registry", "Shelf", "State"]

logger = logging.getLogger("sluice.registry")

_NAMES_SHOWN = 20


class Registry:
    """Changed on the event loop only; loading itself runs in threads."""

    def __init__(self, settings: Settings, store: Store, device: Device, metrics: Metrics) -> None:
        self.settings = settings
        self.loaded = False
        """Whether every model has been tried."""
        self.tracer = Tracer()
        self.holders: list[Callable[[Model], Awaitable[None]]] = []
        """Asked when a version is taken out of service: they return when they do not need it any more."""
        self._store = store
        self._device = device
        self._metrics = metrics
        self._shelves: dict[str, Shelf] = {}
        self._tasks: dict[str, str] = {}
        self._tasks_of: dict[str, str] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(max(2, count_cores()), thread_name_prefix="load")

    async def load_all(self) -> None:
        """Load every model of the store, several at a time."""
        # Before anything is served, so on the event loop: whoever asks finds the models, or that they are being loaded.
        found = read_store(self._store, self.settings.models)
        for name, contents in found.items():
            shelf = self._shelves.setdefault(name, Shelf())
            shelf.unusable, shelf.reason = contents.unusable, "" if contents.folders else contents.why
        wanted = {name: contents for name, contents in found.items() if contents.folders}
        if self.settings.lazy:
            self._tasks_of = await asyncio.get_running_loop().run_in_executor(self._pool, self._read_tasks, wanted)
            self._set_defaults()
            self.loaded = True
            logger.info("%d models serve when they are asked for", len(wanted))
            return
        with analyst.hold():
            await asyncio.gather(*(self._load_model(name, contents) for name, contents in wanted.items()))
        self.loaded = True
        ready = [name for name, shelf in self._shelves.items() if shelf.serving]
        shown = ", ".join(ready[:_NAMES_SHOWN]) + (", …" if len(ready) > _NAMES_SHOWN else "")
        logger.info("%d of %d models serve: %s", len(ready), len(self._shelves), shown or "none")

    def _read_tasks(self, found: Mapping[str, Contents]) -> dict[str, str]:
        """What each model does, without loading it. One that cannot be read says so when it is asked for."""
        tasks: dict[str, str] = {}
        for name, contents in found.items():
            with contextlib.suppress(StoreError, OSError):
                newest = self._store.versions_of(name, contents)[-1]
                tasks[name] = "tensors" if newest.is_plain else newest.read_manifest().task
        return tasks

    async def _load_model(self, name: str, contents: Contents | None = None) -> None:
        """Load what serves of a model: of ``contents``, or of what the store has now."""
        shelf = self._shelves[name]

        def read() -> tuple[Contents, dict[str, int], list[int] | None]:
            found = contents or self._store.list_model(name)
            return found, self._store.aliases(name), choose_versions(self._store.versions_of(name, found))

        async with shelf.busy:
            try:
                found, shelf.aliases, chosen = await asyncio.get_running_loop().run_in_executor(self._pool, read)
            except (StoreError, OSError) as error:
                shelf.reason = str(error)
                logger.error("model %s is unavailable: %s", name, error)
                return
            shelf.unusable, shelf.chosen = found.unusable, chosen
            shelf.reason = "" if found.folders else found.why or "it is not in the store any more"
            versions = self._store.versions_of(name, found)
            for version in [v for v in versions[:-1] if v.version in {*shelf.aliases.values(), *(chosen or ())}]:
                await self._load_entry(shelf, version)
            if chosen is not None and not chosen:
                shelf.reason = "the version_policy of config.pbtxt names none of the versions that are there"
                logger.error("model %s is unavailable: %s", name, shelf.reason)
            for version in reversed(versions):
                if shelf.serving is None and (chosen is None or version.version in chosen):
                    shelf.serving = (await self._load_entry(shelf, version)).model
            self._note_task(name, shelf)

    def _note_task(self, name: str, shelf: Shelf) -> None:
        """Who serves has changed."""
        if shelf.serving is not None:
            self._tasks_of[name] = shelf.serving.manifest.task
        else:
            self._tasks_of.pop(name, None)
        self._set_defaults()

    async def _load_entry(self, shelf: Shelf, version: ModelVersion, again: bool = False) -> Entry:
        """Load a version that has not been tried, or ``again`` one that does not serve or whose files may have changed.

        What serves goes on until the new one takes its place.
        """
        number = version.version
        old = shelf.entries.get(number)
        serves = old is not None and old.model is not None
        if old is not None and (not again or (serves and not version.is_plain)):
            return old
        entry = Entry(version)
        if not serves:
            shelf.entries[number] = entry
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(self._pool, load_version, version, self.settings)
        except (StoreError, NotReady, OSError) as error:
            self._refuse(entry, str(error), serves)
        except Exception:  # a version that breaks the loader must not take the others with it
            logger.exception("loading %s version %d failed", version.name, version.version)
            self._refuse(entry, "loading failed unexpectedly: see the log", serves)
        else:
            entry.model = self._open(version, loaded)
            entry.state = State.READY
            shelf.entries[number] = entry
            if old is not None and old.model is not None:
                if shelf.serving is old.model:
                    shelf.serving = entry.model
                self._retire(old, old.model)
        return entry

    def _refuse(self, entry: Entry, reason: str, still_serves: bool) -> None:
        entry.state, entry.reason = State.UNAVAILABLE, reason
        if not still_serves:
            self._metrics.gauge("sluice_model_ready", (entry.source.name, str(entry.source.version))).set(0)
        logger.error("%s version %d is unavailable: %s", entry.source.name, entry.source.version, reason)

    def _open(self, source: ModelVersion, loaded: Loaded) -> Model:
        labels = (source.name, str(source.version))
        overrides = loaded.manifest.batching
        wait_s = self.settings.max_wait_s if overrides.max_wait_s is None else overrides.max_wait_s
        meter = ModelMeter(self._metrics, *labels, self.tracer.sampler(source.name))

        def dispatch(graph: Proven) -> Dispatcher:
            most = loaded.queueing.max_requests if loaded.queueing else (None, None)
            queue: BatchQueue[QueuedRequest] = BatchQueue(graph.max_rows, self.settings.max_queue_rows, wait_s, most)
            return Dispatcher(
                graph.session,
                graph.signature,
                self._device,
                queue,
                cost=graph.cost,
                pad=graph.pad,
                all_cores=graph.all_cores,
                observer=meter,
            )

        graphs = {MAIN: dispatch(loaded), **{name: dispatch(graph) for name, graph in loaded.graphs.items()}}
        self._metrics.gauge("sluice_model_ready", labels).set(1)
        self._metrics.gauge("sluice_model_provider", (*labels, loaded.session.provider)).set(1)
        self._metrics.gauge("sluice_model_load_seconds", labels).set(loaded.load_s)
        logger.info("%s version %s serves on %s, loaded in %.2f s", *labels, loaded.session.provider, loaded.load_s)
        return Model(*labels, loaded, graphs[MAIN], graphs, self._open_loop(loaded, meter))

    def _open_loop(self, loaded: Loaded, meter: ModelMeter) -> ContinuousBatcher | None:
        loop = loaded.manifest.loop
        if loop is None:
            return None
        return ContinuousBatcher(
            loaded.session,
            loaded.signature,
            loop.carries,
            self._device,
            SlotTable(self.settings.max_slots, self.settings.max_queue_rows),
            max_rows=loaded.max_rows,
            cost=copy.deepcopy(loaded.cost),  # steps and single runs of the same graph cost different amounts around it
            pad=loaded.pad,
            observer=meter,
        )

    def _set_defaults(self) -> None:
        by_task: dict[str, list[str]] = {}
        for name, task in self._tasks_of.items():
            by_task.setdefault(task, []).append(name)
        self._tasks = {task: names[0] for task, names in by_task.items() if len(names) == 1}
        self._tasks.update(self.settings.default_models)

    @property
    def is_ready(self) -> bool:
        return self.loaded and (self.settings.lazy or any(shelf.serving for shelf in self._shelves.values()))

    def names(self) -> list[str]:
        return list(self._shelves)

    def shelf(self, name: str) -> Shelf:
        """Raises UnknownModel, or NotReady while the store is being read."""
        found = self._shelves.get(name)
        if found is None:
            if not self.loaded:
                raise NotReady("the models are being loaded")
            raise UnknownModel(f"no model {name!r}: there are {', '.join(self._shelves) or 'none'}")
        return found

    def find(self, name: str, version: str | None = None) -> Model:
        """The model that answers, by number or alias. Raises UnknownModel, NotReady (with the reason)."""
        shelf = self.shelf(name)
        if version is None and shelf.serving is not None:
            return shelf.serving
        if name in self._loading or (self.settings.lazy and not shelf.entries and not shelf.reason):
            self._load_for_a_call(name)
        if version is None:
            raise NotReady(f"model {name!r} is not ready: {shelf.why}")
        if shelf.unusable:
            check_usable(name, version, shelf.unusable)
        entry = shelf.entries.get(find_number(name, shelf.aliases, version))
        if entry is None:
            have = ", ".join(map(str, sorted(shelf.entries))) or "none"
            raise UnknownModel(f"no version {version!r} of {name!r} serves: there are {have}")
        if entry.model is None:
            raise NotReady(f"model {name!r} version {version} is not ready: {entry.reason or 'it is being loaded'}")
        return entry.model

    async def find_when_loaded(self, name: str, version: str | None = None) -> Model:
        """``find``, waiting while the model is loaded because it was asked for."""
        while True:
            try:
                return self.find(name, version)
            except StillLoading as error:
                loaded = asyncio.Event()
                error.when_loaded(loaded.set)
            await loaded.wait()

    def _load_for_a_call(self, name: str) -> None:
        """Begin to load a model that was asked for. Raises StillLoading."""
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.get_running_loop().create_task(self._load_model(name))
            task.add_done_callback(lambda _: self._loading.pop(name, None))
        raise StillLoading(
            f"model {name!r} is being loaded", when_loaded=lambda then: task.add_done_callback(lambda _: then())
        )

    def find_for_task(self, task: Task, name: str | None, version: str | None) -> Model:
        """The model for a task route; without a name the task's default. Raises UnknownModel, NotReady."""
        if name is None:
            name = self._tasks.get(task)
            if name is None:
                if not self.loaded:
                    raise NotReady("the models are being loaded")
                able = [n for n, does in self._tasks_of.items() if does == task]
                if not able:
                    raise UnknownModel(f"no model that serves does {task}: /models lists them")
                raise UnknownModel(f"several models do {task}: name one in 'model', there are {', '.join(able)}")
        model = self.find(name, version)
        if task not in model.manifest.tasks:
            does = " and ".join(sorted(model.manifest.tasks))
            raise UnknownModel(f"model {name!r} does {does}, not {task}")
        return model

    def models(self) -> Iterator[Model]:
        """Every version in service."""
        for shelf in self._shelves.values():
            yield from (entry.model for entry in shelf.entries.values() if entry.model is not None)

    async def load(self, name: str, version: str | None = None) -> None:
        """Read a model anew from the store; its newest version serves then, or the one named by number or alias.

        Who serves goes on until that one has proved itself. Then those that neither serve nor have an alias are taken
        out of service. Raises UnknownModel; NotReady with the reason why it cannot serve, and then nothing changes.
        """
        if self.settings.models and name not in self.settings.models:
            raise UnknownModel(f"no model {name!r}: SLUICE_MODELS lets {', '.join(self.settings.models)} serve")
        shelf = self._shelves.get(name) or Shelf()
        async with shelf.busy:
            contents, aliases = await self._read_model(name)
            versions = self._store.versions_of(name, contents)
            chosen = self._choose(versions) if version is None else ()
            found = choose_version(name, version, versions, aliases, contents.unusable)
            self._shelves.setdefault(name, shelf)
            entry = await self._load_entry(shelf, found, again=True)
            if entry.model is None:
                raise NotReady(f"version {found.version} of {name!r} cannot serve: {entry.reason}")
            shelf.serving, shelf.aliases, shelf.reason = entry.model, aliases, ""
            shelf.unusable = contents.unusable
            for other in versions:
                if other.version in {*aliases.values(), *chosen} and other is not found:
                    await self._load_entry(shelf, other)
            stay = {found.version, *aliases.values(), *chosen}
            self._retire_all(entry for number, entry in shelf.entries.items() if number not in stay)
            self._note_task(name, shelf)

    @staticmethod
    def _choose(versions: Sequence[ModelVersion]) -> Sequence[int]:
        """Those that a version policy lets serve besides. Raises NotReady."""
        try:
            return choose_versions(versions) or ()
        except (StoreError, OSError) as error:
            raise NotReady(f"the configuration cannot be read: {error}") from None

    async def _read_model(self, name: str) -> tuple[Contents, dict[str, int]]:
        """The versions and aliases that the store has now. Raises UnknownModel, NotReady."""

        def read() -> tuple[Contents, dict[str, int]]:
            return self._store.list_model(name), self._store.aliases(name)

        try:
            contents, aliases = await asyncio.get_running_loop().run_in_executor(self._pool, read)
        except BadName:
            if name in self._shelves:
                raise NotReady(f"model {name!r:.120} cannot serve: {self._shelves[name].why}") from None
            raise UnknownModel(f"no model {name!r:.120} in the store: the index lists them") from None
        except (StoreError, OSError) as error:
            raise NotReady(f"model {name!r} cannot be read: {error}") from None
        if not contents.folders and contents.unusable:
            raise NotReady(f"model {name!r} cannot serve: {contents.why}")
        if not contents.folders:
            raise UnknownModel(f"no model {name!r:.120} in the store: the index lists them")
        return contents, aliases

    async def unload(self, name: str, version: str | None = None) -> None:
        """Take a model out of service, or one version of it, by number or alias; what it has accepted is finished.

        Of the versions that are left the newest serves. Raises UnknownModel.
        """
        shelf = self.shelf(name)
        async with shelf.busy:
            leaving = dict(shelf.entries)
            if version is None:
                shelf.reason = "it was unloaded"
            else:
                number = find_number(name, shelf.aliases, version)
                leaving = {n: entry for n, entry in leaving.items() if n == number}
                if not leaving:
                    have = ", ".join(map(str, sorted(shelf.entries))) or "none"
                    raise UnknownModel(f"no version {version!r} of {name!r} was loaded: there are {have}")
            if any(entry.model is shelf.serving for entry in leaving.values()):
                staying = [e.model for n, e in sorted(shelf.entries.items()) if n not in leaving and e.model]
                shelf.serving = staying[-1] if staying else None
            self._retire_all(leaving.values())
            self._note_task(name, shelf)

    def _retire_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.model is not None:
                labels = (entry.source.name, str(entry.source.version))
                self._metrics.gauge("sluice_model_ready", labels).set(0)
                self._metrics.gauge("sluice_model_provider", (*labels, entry.model.loaded.session.provider)).set(0)
                self._retire(entry, entry.model)

    def _retire(self, entry: Entry, model: Model) -> None:
        """Let nobody find the version any more, and let go of it when those who had found it are done."""
        entry.model, entry.state, entry.reason = None, State.UNLOADING, "requests that it has accepted are finished"

        async def let_go() -> None:
            for holder in self.holders:
                await holder(model)
            await self._drain([model])
            for dispatcher in model.graphs.values():
                self._device.forget(dispatcher)
            if model.loop is not None:
                self._device.forget(model.loop)
            entry.state, entry.reason = State.UNAVAILABLE, "it was unloaded"
            logger.info("%s version %s is out of service", model.name, model.version)

        task = asyncio.get_running_loop().create_task(let_go())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def index(self) -> list[Listed]:
        """All that is in the store, and the versions in service that are not there any more. Raises NotReady."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._pool, self._store.list_all)
        except OSError as error:
            raise NotReady(f"the store cannot be read: {error}") from None
        return make_index(found, self._shelves, lazy=self.settings.lazy, loaded=self.loaded)

    async def drain(self) -> None:
        """Refuse new requests; return when the accepted ones are answered."""
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        await self._drain(list(self.models()))
        await asyncio.gather(*self._retiring, return_exceptions=True)

    @staticmethod
    async def _drain(models: Sequence[Model]) -> None:
        await asyncio.gather(*(model.loop.drain() for model in models if model.loop is not None))
        # A loop request may be followed by a run of another graph, so these come last.
        await asyncio.gather(*(dispatcher.drain() for model in models for dispatcher in model.graphs.values()))

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
