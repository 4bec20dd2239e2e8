"""Which versions serve, and why the others do not.

Life of a version: LOADING (in a thread) -> READY, or UNAVAILABLE with the reason. Of each model the newest version
serves, and every version that an alias points to; if the newest cannot prove itself the next older one is tried, so
that a bad publish does not take the model down.

``load`` and ``unload`` change that while the server runs. A new version is loaded beside the old one; requests go to
the one or the other, and the old one is UNLOADING until the last that it accepted is answered.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from model_store import ModelVersion, Store, StoreError
from model_store.errors import BadName
from model_store.graphs.analyst import analyst
from model_store.graphs.configuration import choose_versions
from model_store.listing import Contents
from model_store.manifest import Task
from service.engine.execution.device import Device
from service.errors import NotReady, StillLoading, UnknownModel
from service.metrics.meters import Metrics, ModelMeter
from service.metrics.tracing import Tracer
from service.models.entry import Model, ModelEntry, State, VersionEntry, find_number
from service.models.index import IndexEntry, check_usable, choose_version, make_index, read_store
from service.models.loading import LoadedVersion, load_version
from service.models.opening import open_model
from service.settings import Settings, count_cores

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
        self.entries: dict[str, ModelEntry] = {}
        """By model. To be read only."""
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
            model_entry = self.entries.setdefault(name, ModelEntry())
            model_entry.unusable, model_entry.reason = contents.unusable, "" if contents.folders else contents.why
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
        ready = [name for name, model_entry in self.entries.items() if model_entry.serving]
        shown = ", ".join(ready[:_NAMES_SHOWN]) + (", …" if len(ready) > _NAMES_SHOWN else "")
        logger.info("%d of %d models serve: %s", len(ready), len(self.entries), shown or "none")

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
        model_entry = self.entries[name]

        def read() -> tuple[Contents, dict[str, int], list[int] | None]:
            found = contents or self._store.list_model(name)
            return found, self._store.aliases(name), choose_versions(self._store.versions_of(name, found))

        async with model_entry.busy:
            try:
                found, model_entry.aliases, chosen = await asyncio.get_running_loop().run_in_executor(self._pool, read)
            except (StoreError, OSError) as error:
                model_entry.reason = str(error)
                logger.error("model %s is unavailable: %s", name, error)
                return
            model_entry.unusable, model_entry.chosen = found.unusable, chosen
            model_entry.reason = "" if found.folders else found.why or "it is not in the store any more"
            versions = self._store.versions_of(name, found)
            for version in [v for v in versions[:-1] if v.version in {*model_entry.aliases.values(), *(chosen or ())}]:
                await self._load_entry(model_entry, version)
            if chosen is not None and not chosen:
                model_entry.reason = "the version_policy of config.pbtxt names none of the versions that are there"
                logger.error("model %s is unavailable: %s", name, model_entry.reason)
            for version in reversed(versions):
                if model_entry.serving is None and (chosen is None or version.version in chosen):
                    model_entry.serving = (await self._load_entry(model_entry, version)).model
            self._note_serving(name, model_entry)

    def _note_serving(self, name: str, model_entry: ModelEntry) -> None:
        """Who serves has changed."""
        if model_entry.serving is not None:
            self._tasks_of[name] = model_entry.serving.manifest.task
        else:
            self._tasks_of.pop(name, None)
        self._set_defaults()

    async def _load_entry(self, model_entry: ModelEntry, version: ModelVersion, again: bool = False) -> VersionEntry:
        """Load a version that has not been tried, or ``again`` one that does not serve or whose files may have changed.

        What serves goes on until the new one takes its place.
        """
        number = version.version
        old = model_entry.entries.get(number)
        serves = old is not None and old.model is not None
        if old is not None and (not again or (serves and not version.is_plain)):
            return old
        entry = VersionEntry(version)
        if not serves:
            model_entry.entries[number] = entry
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
            model_entry.entries[number] = entry
            if old is not None and old.model is not None:
                if model_entry.serving is old.model:
                    model_entry.serving = entry.model
                self._retire(old, old.model)
        return entry

    def _refuse(self, entry: VersionEntry, reason: str, still_serves: bool) -> None:
        entry.state, entry.reason = State.UNAVAILABLE, reason
        if not still_serves:
            self._metrics.gauge("sluice_model_ready", (entry.source.name, str(entry.source.version))).set(0)
        logger.error("%s version %d is unavailable: %s", entry.source.name, entry.source.version, reason)

    def _open(self, source: ModelVersion, loaded: LoadedVersion) -> Model:
        labels = (source.name, str(source.version))
        meter = ModelMeter(self._metrics, *labels, self.tracer.sampler(source.name))
        model = open_model(*labels, loaded, self.settings, self._device, meter)
        self._metrics.gauge("sluice_model_ready", labels).set(1)
        self._metrics.gauge("sluice_model_provider", (*labels, loaded.session.provider)).set(1)
        self._metrics.gauge("sluice_model_load_seconds", labels).set(loaded.load_s)
        logger.info("%s version %s serves on %s, loaded in %.2f s", *labels, loaded.session.provider, loaded.load_s)
        return model

    def _set_defaults(self) -> None:
        by_task: dict[str, list[str]] = {}
        for name, task in self._tasks_of.items():
            by_task.setdefault(task, []).append(name)
        self._tasks = {task: names[0] for task, names in by_task.items() if len(names) == 1}
        self._tasks.update(self.settings.default_models)

    @property
    def is_ready(self) -> bool:
        return self.loaded and (self.settings.lazy or any(model_entry.serving for model_entry in self.entries.values()))

    def names(self) -> list[str]:
        return list(self.entries)

    def model_entry(self, name: str) -> ModelEntry:
        """Raises UnknownModel, or NotReady while the store is being read."""
        found = self.entries.get(name)
        if found is None:
            if not self.loaded:
                raise NotReady("the models are being loaded")
            raise UnknownModel(f"no model {name!r}: there are {', '.join(self.entries) or 'none'}")
        return found

    def find(self, name: str, version: str | None = None) -> Model:
        """The model that answers, by number or alias. Raises UnknownModel, NotReady (with the reason)."""
        model_entry = self.model_entry(name)
        if version is None and model_entry.serving is not None:
            return model_entry.serving
        if name in self._loading or (self.settings.lazy and not model_entry.entries and not model_entry.reason):
            self._load_on_demand(name)
        if version is None:
            raise NotReady(f"model {name!r} is not ready: {model_entry.why}")
        if model_entry.unusable:
            check_usable(name, version, model_entry.unusable)
        entry = model_entry.entries.get(find_number(name, model_entry.aliases, version))
        if entry is None:
            have = ", ".join(map(str, sorted(model_entry.entries))) or "none"
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

    def _load_on_demand(self, name: str) -> None:
        """Begin to load a model that was asked for; in a thread, when somebody waits for it. Raises StillLoading."""

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
        if task not in model.tasks:
            does = " and ".join(sorted(model.tasks))
            raise UnknownModel(f"model {name!r} does {does}, not {task}")
        return model

    def models(self) -> Iterator[Model]:
        """Every version in service."""
        for model_entry in self.entries.values():
            yield from (entry.model for entry in model_entry.entries.values() if entry.model is not None)

    async def load(self, name: str, version: str | None = None) -> None:
        """Read a model anew from the store; its newest version serves then, or the one named by number or alias.

        Who serves goes on until that one has proved itself. Then those that neither serve nor have an alias are taken
        out of service. Raises UnknownModel; NotReady with the reason why it cannot serve, and then nothing changes.
        """
        if self.settings.models and name not in self.settings.models:
            raise UnknownModel(f"no model {name!r}: SLUICE_MODELS lets {', '.join(self.settings.models)} serve")
        model_entry = self.entries.get(name) or ModelEntry()
        async with model_entry.busy:
            contents, aliases = await self._read_model(name)
            versions = self._store.versions_of(name, contents)
            chosen = self._choose(versions) if version is None else ()
            found = choose_version(name, version, versions, aliases, contents.unusable)
            self.entries.setdefault(name, model_entry)
            entry = await self._load_entry(model_entry, found, again=True)
            if entry.model is None:
                raise NotReady(f"version {found.version} of {name!r} cannot serve: {entry.reason}")
            model_entry.serving, model_entry.aliases, model_entry.reason = entry.model, aliases, ""
            model_entry.unusable = contents.unusable
            for other in versions:
                if other.version in {*aliases.values(), *chosen} and other is not found:
                    await self._load_entry(model_entry, other)
            stay = {found.version, *aliases.values(), *chosen}
            self._retire_all(entry for number, entry in model_entry.entries.items() if number not in stay)
            self._note_serving(name, model_entry)

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
            if name in self.entries:
                raise NotReady(f"model {name!r:.120} cannot serve: {self.entries[name].why}") from None
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
        model_entry = self.model_entry(name)
        async with model_entry.busy:
            leaving = dict(model_entry.entries)
            if version is None:
                model_entry.reason = "it was unloaded"
            else:
                number = find_number(name, model_entry.aliases, version)
                leaving = {n: entry for n, entry in leaving.items() if n == number}
                if not leaving:
                    have = ", ".join(map(str, sorted(model_entry.entries))) or "none"
                    raise UnknownModel(f"no version {version!r} of {name!r} was loaded: there are {have}")
            if any(entry.model is model_entry.serving for entry in leaving.values()):
                staying = [e.model for n, e in sorted(model_entry.entries.items()) if n not in leaving and e.model]
                model_entry.serving = staying[-1] if staying else None
            self._note_serving(name, model_entry)
            self._retire_all(leaving.values())

    def _retire_all(self, entries: Iterable[VersionEntry]) -> None:
        for entry in entries:
            if entry.model is not None:
                labels = (entry.source.name, str(entry.source.version))
                self._metrics.gauge("sluice_model_ready", labels).set(0)
                self._metrics.gauge("sluice_model_provider", (*labels, entry.model.loaded.session.provider)).set(0)
                self._retire(entry, entry.model)

    def _retire(self, entry: VersionEntry, model: Model) -> None:
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

    async def index(self) -> list[IndexEntry]:
        """All that is in the store, and the versions in service that are not there any more. Raises NotReady."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._pool, self._store.list_all)
        except OSError as error:
            raise NotReady(f"the store cannot be read: {error}") from None
        return make_index(found, self.entries, lazy=self.settings.lazy, loaded=self.loaded)

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
