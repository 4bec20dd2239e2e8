"""Changes which versions serve: at the start, when the store has changed, and when a caller loads or unloads a model.

``choice.py`` decides which versions should serve, and ``reconciler.py`` loads and unloads them: a new version loads
while the old one serves. Then the old one is UNLOADING until its accepted requests are answered.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from model_store import ModelVersion, Store
from model_store.errors import BadName
from model_store.files.links import tell_why
from model_store.graphs.analyst import analyst
from model_store.listing import Contents
from service.engine.execution.device import Device
from service.errors import NotReady, UnknownModel
from service.metrics.meters import Metrics
from service.metrics.tracing import Tracer
from service.models.choice import ByHand, choose
from service.models.defaults import TaskDefaults
from service.models.entry import UNLOADED, ModelEntry, Served, find_number
from service.models.lifecycle.demand import Demands
from service.models.lifecycle.follower import Follower
from service.models.lifecycle.index import IndexEntry, StoredModel, StoreReader, choose_version, make_index
from service.models.lifecycle.loads import describe_failure
from service.models.lifecycle.reconciler import GONE, Reconciler
from service.models.lifecycle.retirement import Retirement
from service.models.lifecycle.room import Room
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
        """Whether the first load of every model has ended."""
        self.defaults = TaskDefaults(settings.default_models)
        self.retirement = Retirement(device, metrics, holders)
        self.room = Room(settings, metrics, self.retirement, time.perf_counter)
        self.versions = VersionLoader(settings, device, metrics, tracer, self.retirement, self.room)
        is_lazy = settings.lazy or self.room.is_limited
        self.demands = Demands(
            is_lazy, metrics, time.perf_counter, self._load_on_demand, self._load_version, self.room.update
        )
        self.versions.find_demand = self.demands.find
        self.loads = self.versions.loads
        self.started: set[asyncio.Task[Any]] = set()
        """Loads that were not started by a request."""
        self._first_loads: dict[tuple[str, str | None], asyncio.Task[None]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._reader = StoreReader(store)
        self.reconciler = Reconciler(settings, self.versions, self.retirement, self.defaults, self._keep)
        refresh = functools.partial(self.refresh, settle=True)
        self.follower = Follower(settings, self._reader, entries, refresh)

    def lock(self, name: str) -> asyncio.Lock:
        """Held by whoever loads or unloads a model."""
        return self._locks.setdefault(name, asyncio.Lock())

    @property
    def is_loading(self) -> bool:
        """Whether models may come into service without a request for them."""
        return not self.loaded or bool(self.started)

    async def load_all(self) -> None:
        """Load every model of the store, several at a time."""
        # This blocks the event loop, but nothing is served yet, and no request sees a store that is half read.
        found = self._reader.read_store(self.settings.models)
        for name, contents in found.items():
            model_entry = self.entries.setdefault(name, ModelEntry())
            model_entry.unusable, model_entry.reason = contents.unusable, "" if contents.folders else contents.why
        wanted = {name: contents for name, contents in found.items() if contents.folders}
        if self.demands.is_lazy:
            self.defaults.note(await self._reader.read_tasks(wanted))
        if self.settings.lazy and not self.settings.keep_models:
            self.loaded = True
            logger.info("%d models are loaded by their first request", len(wanted))
            return
        self.versions.is_starting = True
        try:
            with analyst.hold():
                if self.demands.is_lazy:
                    await self._load_while_room(wanted)
                else:
                    await asyncio.gather(*(self._begin_load(name, contents) for name, contents in wanted.items()))
        except asyncio.CancelledError:
            await self._end_started()
            raise
        self.versions.is_starting = False
        self.loaded = True
        ready = [name for name, model_entry in self.entries.items() if model_entry.serving]
        shown = ", ".join(ready[:_NAMES_SHOWN]) + (", …" if len(ready) > _NAMES_SHOWN else "")
        logger.info("%d of %d models serve: %s", len(ready), len(self.entries), shown or "none")

    async def _begin_load(self, name: str, contents: Contents) -> None:
        """Load a model. Returns when the load has ended, or takes too long to wait for."""
        self._keep(asyncio.create_task(self._load_model(name, contents), name=f"load {name}"))
        await self.entries[name].tried.wait()

    async def _load_while_room(self, wanted: Mapping[str, Contents]) -> None:
        """Load the models that are kept, then the others in order until the memory is full, unless loading is lazy.

        They load one after the other, because the memory of a version is known only when it has loaded.
        """
        keep = [name for name in self.settings.keep_models if name in wanted]
        for name in sorted(set(self.settings.keep_models) - set(wanted)):
            logger.error("SLUICE_KEEP_MODELS names %r, which is not among the models that serve", name)
        for name in keep:
            await self._begin_load(name, wanted[name])
            if self.entries[name].on_demand:
                logger.error("model %s should stay in memory (SLUICE_KEEP_MODELS), and there is no room for it", name)
        for name in () if self.settings.lazy else [each for each in wanted if each not in keep]:
            await self._begin_load(name, wanted[name])
            if any(entry.on_demand for entry in self.entries[name].entries.values()):
                break
        waiting = sum(self.demands.is_on_demand(each) for each in self.entries.values())
        if waiting:
            logger.info("%d models are loaded by their next request", waiting)

    async def refresh(self, name: str, *, settle: bool = False) -> None:
        """Read a model again from the store, and load and unload versions so that those serve that should.

        ``settle``: versions may still be written. A fault of the model raises nothing: its old versions keep serving,
        and the card has the reason. A model that is loaded on demand is not loaded by this.
        """
        if self.settings.models and name not in self.settings.models:
            return
        model_entry = self.entries.get(name)
        if model_entry is None or (self.settings.lazy and not model_entry.entries):
            await self._note_model(name)
            model_entry = self.entries.get(name)
            if model_entry is None or self.settings.lazy:
                return
        model_entry.changed.set()
        await self._load_model(name, is_known=True, settle=settle)

    async def _note_model(self, name: str) -> None:
        """Record what the store has of a model that is not loaded."""
        try:
            contents = await self._reader.read_contents(name)
        except BadName:  # it is no model
            if not await self._reader.holds(name):
                self._forget(name)
            return
        except Exception as error:  # noqa: BLE001  # any fault is the reason why this model cannot serve
            contents, reason = Contents({}), describe_failure(error, f"reading {name}")
        else:
            reason = "" if contents.folders else contents.why
        if not contents.folders and not reason:  # nothing is there
            self._forget(name)
            return
        model_entry = self.entries.setdefault(name, ModelEntry())
        model_entry.unusable, model_entry.reason = contents.unusable, reason
        if self.demands.is_lazy and contents.folders:
            self.defaults.note(await self._reader.read_tasks({name: contents}))

    def _forget(self, name: str) -> None:
        """Take a model out of service that the store no longer has."""
        model_entry = self.entries.pop(name, None)
        if model_entry is None:
            return
        logger.info("model %s %s", name, GONE)
        self.loads.cancel(name, None, GONE)
        entries = list(model_entry.entries.values())
        self.retirement.retire(entries)
        self.retirement.forget(entries)
        model_entry.reason = GONE
        self.reconciler.serve(name, model_entry, None)

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        """Keep a reference to a task until it is done, and end it when the server stops."""
        self.started.add(task)
        task.add_done_callback(self.started.discard)

    async def _load_model(
        self,
        name: str,
        contents: Contents | None = None,
        *,
        is_known: bool = False,
        settle: bool = False,
        on_tried: Callable[[], None] = lambda: None,
    ) -> None:
        """Load the versions of a model that should serve, as in ``contents``, or as the store has them now.

        A model that ``is_known`` but is no longer there is forgotten. ``on_tried`` as in ``Reconciler.reconcile``.
        """
        model_entry = self.entries[name]
        try:
            async with self.lock(name):
                model_entry.changed.clear()
                before = model_entry.facts.aliases if model_entry.serving is not None else None
                found = await self._reader.read(name, contents, before, is_known=is_known)
                if found.is_gone and is_known:
                    self._forget(name)
                    return
                self.reconciler.note(name, model_entry, found)
                await self.reconciler.reconcile(name, model_entry, found, settle=settle, on_tried=on_tried)
        except Exception as error:  # noqa: BLE001  # the other models serve, whatever is wrong with this one
            reason = describe_failure(error, f"reading {name}")
            if model_entry.serving is None:
                if reason != model_entry.reason:
                    logger.error("model %s is unavailable: %s", name, reason)
                model_entry.reason = reason
            else:
                if [reason] != model_entry.warnings:
                    logger.error("model %s serves as before: %s", name, reason)
                model_entry.warnings = [reason]
        finally:
            model_entry.tried.set()

    async def _load_on_demand(self, name: str) -> None:
        """Load the versions of a model that should serve. Returns when one answers by default; slow ones go on."""
        model_entry = self.entries[name]
        self._interrupt(model_entry)
        answers = asyncio.Event()
        load = asyncio.create_task(
            self._load_model(name, on_tried=lambda: answers.set() if model_entry.serving is not None else None)
        )
        waiting = asyncio.create_task(answers.wait())
        try:
            await asyncio.wait({load, waiting}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            load.cancel()
            raise
        finally:
            waiting.cancel()
        if not load.done():
            self._keep(load)

    @staticmethod
    def _interrupt(model_entry: ModelEntry) -> bool:
        """If slow loads run, let the holder of the model's lock stop waiting for them. Then it must be read again."""
        if model_entry.loading:
            model_entry.changed.set()
        return bool(model_entry.loading)

    async def _load_version(self, name: str, model_entry: ModelEntry, number: int) -> None:
        """Load an evicted version again."""
        was_interrupted = self._interrupt(model_entry)
        try:
            await self._load_evicted(name, model_entry, number)
        finally:
            if was_interrupted:
                self._keep(asyncio.create_task(self._load_model(name), name=f"load {name}"))

    async def _load_evicted(self, name: str, model_entry: ModelEntry, number: int) -> None:
        async with self.lock(name):
            entry = model_entry.entries.get(number)
            if entry is None or not entry.on_demand:
                return
            files = await self._reader.describe(entry.source)
            loaded = (await self.versions.load(model_entry, entry.source, files=files)).model
            if loaded is not None and model_entry.serving is None and model_entry.evicted_default == number:
                self.reconciler.serve(name, model_entry, loaded)
        if self.reconciler.is_behind(model_entry):
            self.follower.note([name])

    async def load(self, name: str, version: str | None = None) -> None:
        """Read a model again from the store, and load what should serve, or the given version (number or alias).

        The given version answers by default until a newer one appears, unless a policy or the alias ``stable`` names
        another. The old version serves until the new one has passed its checks. Then versions that are no longer
        wanted go out of service. Raises UnknownModel, or NotReady with the reason: then nothing has changed. Callers
        that ask for the first load of a model at the same time share it.
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
            known = self.entries.get(name, ModelEntry())
            aliases = known.facts.aliases if known.serving is not None else None
            found = await self._reader.read_again(name, known.why if name in self.entries else "", aliases)
            model_entry = self.entries.setdefault(name, ModelEntry())
            wanted = self._choose(name, version, found)
            files = found.files[wanted.version]
            entry = model_entry.entries.get(wanted.version)
            is_new = not served and model_entry.serving is not None  # another call loaded it while this one waited
            # A version without a manifest is loaded again even if its files look the same.
            is_same = entry is not None and bool(files.manifest) and files.has_content_of(entry.files)
            if entry is None or entry.model is None or not (is_new or is_same):
                entry = await self.versions.load(model_entry, wanted, again=True, files=files)
            if entry.model is None:
                raise NotReady(f"version {wanted.version} of {name!r} cannot serve: {entry.reason}")
            self.reconciler.note(name, model_entry, found)
            facts = model_entry.facts
            by_hand = ByHand() if version is None else facts.by_hand.load(wanted.version, facts.numbers)
            model_entry.facts = replace(facts, by_hand=by_hand)
            await self.reconciler.reconcile(name, model_entry, found)

    def _choose(self, name: str, version: str | None, found: StoredModel) -> ModelVersion:
        """The version that a caller asks to load. Raises UnknownModel, NotReady."""
        if version is not None:
            return choose_version(name, version, found)
        default = choose(self.reconciler.facts_of(name, found)).default
        for each in found.versions:
            if each.version == default:
                return each
        raise NotReady(f"model {name!r}: {self.reconciler.why_none(found)}")

    async def unload(self, name: str, version: str | None = None) -> None:
        """Take a model out of service, or one of its versions (number or alias).

        Accepted requests are finished. The newest remaining version serves. What was unloaded stays unloaded until a
        caller loads it or a newer version appears. Raises UnknownModel.
        """
        model_entry = self.entries[name]
        # Before the lock is taken, because a load holds it until it ends.
        number = None if version is None else find_number(name, model_entry.aliases, version)
        self.loads.cancel(name, number, UNLOADED)
        async with self.lock(name):
            if number is None:
                leaving = list(model_entry.entries.values())
                model_entry.reason = UNLOADED
            else:
                leaving = [model_entry.find(name, str(number))]
            facts = model_entry.facts
            numbers = {entry.source.version for entry in leaving} | (set(facts.numbers) if number is None else set())
            by_hand = facts.by_hand.unload(numbers, {*facts.numbers, *model_entry.entries})
            model_entry.facts = replace(facts, by_hand=by_hand)
            if any(entry.model is model_entry.serving for entry in leaving):
                staying = {n: e.model for n, e in sorted(model_entry.entries.items()) if e.model and e not in leaving}
                newest = next(reversed(staying.values()), None)
                model_entry.serving = staying.get(choose(model_entry.facts).default or 0, newest)
            for entry in leaving:
                entry.has_failed = False  # it may have failed only because this ended its load
            self.retirement.retire(leaving)
            if model_entry.evicted_default is not None and (number is None or number == model_entry.evicted_default):
                model_entry.evicted_default = None
            self.reconciler.serve(name, model_entry, model_entry.serving)

    async def index(self) -> list[IndexEntry]:
        """Everything in the store, and all versions in service. Raises NotReady."""
        try:
            found = await self._reader.list_all()
        except OSError as error:
            raise NotReady(f"the store cannot be read: {tell_why(error)}") from None
        return make_index(found, self.entries, lazy=self.demands.is_lazy, loaded=self.loaded)

    async def end_loads(self) -> None:
        """Stop following the store, end the loads that no request started, and wait for the others."""
        await self.follower.stop()
        await self._end_started()
        await self.demands.end()

    async def _end_started(self) -> None:
        for task in list(self.started):
            task.cancel()
        await asyncio.gather(*self.started, return_exceptions=True)

    def close(self) -> bool:
        """End the remaining loads. Returns whether they have ended: some cannot be stopped."""
        self._reader.close()
        return self.loads.close()
