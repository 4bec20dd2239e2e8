"""Changes which versions serve: at the start, when the store has changed, and when somebody asks for it.

The newest version of a model serves, and every version that an alias points to. If the newest cannot prove itself the
next older one is tried, so that a bad publish does not take the model down.

A new version loads while the old one serves. After that the old one is UNLOADING until its accepted requests are
answered.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from weakref import WeakValueDictionary

from model_store import ModelVersion, Store
from model_store.files.links import tell_why
from model_store.graphs.analyst import analyst
from model_store.listing import Contents
from model_store.rollout import Rollout
from service.engine.execution.device import Device
from service.errors import NotReady, StillLoading, UnknownModel
from service.metrics.meters import Metrics
from service.metrics.tracing import Tracer
from service.models.defaults import TaskDefaults
from service.models.entry import UNLOADED, ModelEntry, Served, VersionEntry, find_number
from service.models.lifecycle.index import IndexEntry, StoreReader, choose_version, make_index
from service.models.lifecycle.loads import describe_failure
from service.models.lifecycle.retirement import Retirement
from service.models.lifecycle.versions import VersionLoader
from service.settings import Settings

logger = logging.getLogger("sluice.registry")

_NAMES_SHOWN = 20


class Lifecycle:
    """Used on the event loop only. ``entries`` and ``holders`` are the registry's."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        device: Device,
        metrics: Metrics,
        tracer: Tracer,
        entries: dict[str, ModelEntry],
        holders: list[Callable[[Served], Awaitable[None]]],
    ) -> None:
        self.settings = settings
        self.entries = entries
        self.loaded = False
        """Whether every model was tried."""
        self.defaults = TaskDefaults(settings.default_models)
        self.retirement = Retirement(device, metrics, holders)
        self.versions = VersionLoader(settings, device, metrics, tracer, self.retirement)
        self.loads = self.versions.loads
        self.on_rollout: Callable[[str, ModelEntry, Rollout], None] | None = None
        """Told what the rollout.json of a model says."""
        self.started: set[asyncio.Task[Any]] = set()
        """Loads that no request has started."""
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._first_loads: dict[tuple[str, str | None], asyncio.Task[None]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._reader = StoreReader(store)

    def lock(self, name: str) -> asyncio.Lock:
        """Held by whoever loads or unloads a model."""
        return self._locks.setdefault(name, asyncio.Lock())

    @property
    def is_loading(self) -> bool:
        """Whether models may come into service without a request for them."""
        return not self.loaded or bool(self.started)

    async def load_all(self) -> None:
        """Load every model of the store, several at a time."""
        # This blocks the event loop, before anything is served: no request finds a store that is half read.
        found = self._reader.read_store(self.settings.models)
        for name, contents in found.items():
            model_entry = self.entries.setdefault(name, ModelEntry())
            model_entry.unusable, model_entry.reason = contents.unusable, "" if contents.folders else contents.why
        wanted = {name: contents for name, contents in found.items() if contents.folders}
        if self.settings.lazy:
            self.defaults.note(await self._reader.read_tasks(wanted))
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

    async def refresh(self, name: str) -> None:
        """Read a model again from the store, and make what serves equal to what should serve.

        It never raises for a fault of the model: what served goes on serving, and the card says why.
        """
        self.entries.setdefault(name, ModelEntry())
        await self._load_model(name)

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        """Hold a task until it is done, and end it when the server stops."""
        self.started.add(task)
        task.add_done_callback(self.started.discard)

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
        found, versions, model_entry.aliases, chosen, rollout = await self._reader.read(name, contents)
        apart = set() if rollout is None else rollout.versions
        if rollout is None and model_entry.rollout is not None:
            apart = set(model_entry.rollout.versions)
        model_entry.unusable, model_entry.chosen = found.unusable, chosen
        model_entry.reason = "" if found.folders else found.why or "it is not in the store any more"
        if chosen is not None and not chosen:
            model_entry.reason = "the version_policy of config.pbtxt names none of the versions that are there"
            logger.error("model %s is unavailable: %s", name, model_entry.reason)
        late: list[asyncio.Task[VersionEntry]] = []
        newest: Served | None = None
        for version in reversed(versions):
            if (
                newest is None
                and version.version not in apart
                and ("stable" not in model_entry.aliases or version.version == model_entry.aliases["stable"])
                and (chosen is None or version.version in chosen)
            ):
                task = await self._load_until_overdue(model_entry, version)
                if task.done():
                    newest = task.result().model
                else:
                    late.append(task)
        stay = {*model_entry.aliases.values(), *(chosen or ()), *apart}
        if newest is not None and newest is not model_entry.serving:
            self._serve(name, model_entry, newest, stay)
        self._note_serving(name, model_entry)
        for version in versions:
            if version.version in stay:
                await self.versions.load(model_entry, version)
        self._apply_rollout(name, model_entry, rollout)
        model_entry.tried.set()
        for task in reversed(late):
            model = (await task).model
            if model is not None:
                self._serve(name, model_entry, model, stay)

    async def _load_until_overdue(self, model_entry: ModelEntry, version: ModelVersion) -> "asyncio.Task[VersionEntry]":
        """Start to load a version. Returns the task when it is done, or overdue: then an older version may serve."""
        overdue = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self.versions.load(model_entry, version, False, lambda: overdue.set_result(None)))
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
        self.retirement.retire(leaving)
        self._note_serving(name, model_entry)

    def _note_serving(self, name: str, model_entry: ModelEntry) -> None:
        """Note that another version serves, or none."""
        self.defaults.note({name: None if model_entry.serving is None else model_entry.serving.manifest.task})

    def check_loading(self, name: str, model_entry: ModelEntry) -> None:
        """Raises StillLoading for a model that is loaded on demand. The load starts: at once, or if this is called from
        a thread, when somebody waits for it."""
        if name not in self._loading and not (
            self.settings.lazy and not model_entry.entries and not model_entry.reason
        ):
            return

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
        self.loads.cancel(name, None, "it took long, and another load was asked for", only_overdue=True)
        served = name in self.entries and self.entries[name].serving is not None
        async with self.lock(name):
            found = await self._reader.read_again(name, self.entries[name].why if name in self.entries else "")
            wanted = choose_version(name, version, found)
            model_entry = self.entries.setdefault(name, ModelEntry())
            is_new = not served and model_entry.serving is not None  # somebody loaded it while this waited
            entry = await self.versions.load(model_entry, wanted, again=not is_new)
            if entry.model is None:
                raise NotReady(f"version {wanted.version} of {name!r} cannot serve: {entry.reason}")
            model_entry.aliases, model_entry.reason = found.aliases, ""
            model_entry.unusable = found.contents.unusable
            stay = {*found.aliases.values(), *((found.chosen or ()) if version is None else ())}
            stay |= set() if found.rollout is None else found.rollout.versions
            self._serve(name, model_entry, entry.model, stay)
            for other in found.versions:
                if other.version in stay and other is not wanted:
                    await self.versions.load(model_entry, other)
            self._apply_rollout(name, model_entry, found.rollout)

    def _apply_rollout(self, name: str, model_entry: ModelEntry, rollout: Rollout | None) -> None:
        if rollout is not None and self.on_rollout is not None:
            self.on_rollout(name, model_entry, rollout)

    async def unload(self, name: str, version: str | None = None) -> None:
        """Take a model out of service, or one of its versions, given as a number or an alias.

        Accepted requests are finished. Of the remaining versions the newest serves. Raises UnknownModel.
        """
        model_entry = self.entries[name]
        # A load holds the lock until it ends.
        number = None if version is None else find_number(name, model_entry.aliases, version)
        self.loads.cancel(name, number, UNLOADED)
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
            self.retirement.retire(leaving)

    async def index(self) -> list[IndexEntry]:
        """All that is in the store, and all versions in service. Raises NotReady."""
        try:
            found = await self._reader.list_all()
        except OSError as error:
            raise NotReady(f"the store cannot be read: {tell_why(error)}") from None
        return make_index(found, self.entries, lazy=self.settings.lazy, loaded=self.loaded)

    async def end_loads(self) -> None:
        """End the loads that no request has started, and wait for the others."""
        await self._end_started()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)

    async def _end_started(self) -> None:
        for task in list(self.started):
            task.cancel()
        await asyncio.gather(*self.started, return_exceptions=True)

    def close(self) -> bool:
        """End the remaining loads. Returns whether they have ended: some cannot be stopped."""
        self._reader.close()
        return self.loads.close()
