"""Loads and unloads the versions of a model until those serve that should.

Rules
- A new version loads while the old one serves. It takes over when it has passed its checks, and then the old one goes.
- A version that cannot be loaded changes nothing: the old one keeps serving, and the entry of the model has the reason.
- A version that failed is loaded again when its files change.
- A version without a manifest that serves is loaded again too, once its files have not changed for a while. Nothing
  else tells that it is complete.
- An alias names its old version until the new one is in service.
- A version that takes long to load is not waited for. It takes over when it is loaded.
- A version that was evicted, or for which there was no room, is loaded by the next request for it. If its model serves
  and it should be the default, on trial, or what an alias names, it is loaded as soon as others can be evicted for it.
- A version whose folder is removed serves until another one takes its place.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from model_store import ModelVersion
from model_store.rollout import Rollout
from service.models.choice import ByHand, Choice, Facts, Policy, choose, settle_aliases
from service.models.defaults import TaskDefaults
from service.models.entry import UNLOADED, ModelEntry, Served, State, VersionEntry
from service.models.files import UNKNOWN, VersionFiles
from service.models.lifecycle.index import StoredModel
from service.models.lifecycle.retirement import Retirement
from service.models.lifecycle.versions import VersionLoader
from service.settings import Settings

logger = logging.getLogger("sluice.registry")

SETTLE_S = 1.0
"""A version that may still be written is loaded when its files have not changed for this time."""
GONE = "it is not in the store any more"


class Reconciler:
    """Used on the event loop only, with the lock of the model held. ``keep`` keeps a task alive until it is done."""

    def __init__(
        self,
        settings: Settings,
        versions: VersionLoader,
        retirement: Retirement,
        defaults: TaskDefaults,
        keep: Callable[["asyncio.Task[VersionEntry]"], None],
    ) -> None:
        self._versions = versions
        self._retirement = retirement
        self._defaults = defaults
        self._keep = keep
        self.on_rollout: Callable[[str, ModelEntry, Rollout], None] = lambda name, model_entry, rollout: None
        """Called with the rollout.json of a model."""
        self._policy = Policy.parse(settings.versions)
        self._policies = {name: Policy.parse(text) for name, text in settings.model_versions.items()}

    def note(self, name: str, model_entry: ModelEntry, found: StoredModel) -> None:
        """Record what the store has now."""
        model_entry.reason = ""
        model_entry.unusable, model_entry.chosen = found.contents.unusable, found.chosen
        facts = self.facts_of(name, found)
        by_hand = model_entry.facts.by_hand.after(facts.numbers)
        newest = max(facts.numbers, default=0)
        entry = model_entry.entries.get(newest)
        if entry is not None and entry.files != UNKNOWN and not found.files[newest].has_content_of(entry.files):
            by_hand = ByHand()  # another version has taken the number
        tried = model_entry.facts.tried if found.rollout is None else found.rollout.versions
        model_entry.facts = replace(facts, by_hand=by_hand, held=model_entry.aliases, tried=tried)
        if found.rollout is not None:
            self.on_rollout(name, model_entry, found.rollout)

    def facts_of(self, name: str, found: StoredModel) -> Facts:
        """What the store and the settings say about a model."""
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policy if found.chosen is None else Policy(listed=tuple(found.chosen))
        numbers = tuple(version.version for version in found.versions)
        return Facts(numbers, found.aliases, policy, tried=found.rollout.versions if found.rollout else ())

    async def reconcile(
        self,
        name: str,
        model_entry: ModelEntry,
        found: StoredModel,
        *,
        settle: bool = False,
        on_tried: Callable[[], None] = lambda: None,
    ) -> None:
        """Load what should serve, and take the rest out of service. ``settle``: versions may still be written.

        Returns when all loads have ended, or sooner if the model must be read again. ``on_tried`` is called when only
        slow loads have not ended.
        """
        sources = {version.version: version for version in found.versions}
        for number in model_entry.loading.keys() - sources.keys():
            self._versions.loads.cancel(name, number, GONE)
        unsettled = self._find_unsettled(model_entry, found.files) if settle else {}
        model_entry.unsettled = unsettled
        while True:
            self._show_unsettled(model_entry, sources)
            await self._load_wanted(name, model_entry, sources, found.files)
            self._retire(model_entry, sources, found.files)
            self._warn(model_entry, found)
            model_entry.tried.set()
            on_tried()
            if not await self._wait_for_late(model_entry):
                return

    def _find_unsettled(
        self, model_entry: ModelEntry, files: Mapping[int, VersionFiles]
    ) -> dict[int, tuple[VersionFiles, float]]:
        """The versions that may still be written, with their files and since when these have not changed."""
        now = asyncio.get_running_loop().time()
        unsettled = {}
        for number, about in files.items():
            entry = model_entry.entries.get(number)
            if about.is_whole or number in model_entry.loading or (entry is not None and entry.files == about):
                continue
            if entry is not None and entry.model is not None and about.has_content_of(entry.files):
                continue
            seen, since = model_entry.unsettled.get(number, (UNKNOWN, now))
            if seen != about:
                since = now
            if now - since < SETTLE_S:
                unsettled[number] = (about, since)
        return unsettled

    @staticmethod
    def _show_unsettled(model_entry: ModelEntry, sources: Mapping[int, ModelVersion]) -> None:
        for number in model_entry.unsettled:
            if number not in model_entry.entries:
                model_entry.entries[number] = VersionEntry(
                    sources[number], State.LOADING, "its files are still being written"
                )

    async def _load_wanted(
        self,
        name: str,
        model_entry: ModelEntry,
        sources: Mapping[int, ModelVersion],
        files: Mapping[int, VersionFiles],
    ) -> None:
        """Load one version after the other, until each that should serve does, or has failed."""
        tried: set[int] = set()
        while True:
            choice = self._choose(model_entry, files)
            self._apply(name, model_entry, choice)
            missing = next((n for n in choice.wanted if self._must_load(name, model_entry, n, choice, files)), None)
            if missing is None:
                missing = next((n for n in _find_due(model_entry, choice) if n in sources and n not in tried), None)
            if missing is None:
                return
            tried.add(missing)
            await self._load(model_entry, sources[missing], files[missing])

    def _choose(self, model_entry: ModelEntry, files: Mapping[int, VersionFiles]) -> Choice:
        return choose(model_entry.facts, set(self._find_unavailable(model_entry, files)))

    def _find_unavailable(self, model_entry: ModelEntry, files: Mapping[int, VersionFiles]) -> Iterator[int]:
        """Versions that cannot serve with their present files, or do not serve yet."""
        for number, entry in model_entry.entries.items():
            about = files.get(number)
            if entry.model is None and (
                number in model_entry.loading
                or number in model_entry.unsettled
                or (entry.has_failed and about is not None and entry.files == about and not self._may_retry(entry))
            ):
                yield number

    def _may_retry(self, entry: VersionEntry) -> bool:
        """Whether a version that failed when it was loaded again may be tried once more, because a request needs it."""
        return entry.on_demand and self._versions.is_due(entry.source.name, entry)

    def _must_load(
        self, name: str, model_entry: ModelEntry, number: int, choice: Choice, files: Mapping[int, VersionFiles]
    ) -> bool:
        entry = model_entry.entries.get(number)
        if entry is not None and entry.waits_for_room:
            is_asked_for = number == choice.default and model_entry.serving is None
            return is_asked_for and self._versions.is_due(name, entry)
        if entry is None or entry.model is None:
            return True
        if number in model_entry.loading:
            return False
        return number not in model_entry.unsettled and not files[number].has_content_of(entry.files)

    @staticmethod
    def is_behind(model_entry: ModelEntry) -> bool:
        """Whether a version that should answer callers waits for room."""
        failed = {number for number, entry in model_entry.entries.items() if entry.has_failed}
        return any(_find_missed(model_entry, choose(model_entry.facts, failed)))

    async def _load(self, model_entry: ModelEntry, version: ModelVersion, about: VersionFiles) -> None:
        """Load a version. Returns when the load has ended, or is overdue: then an older version may serve."""
        overdue = asyncio.get_running_loop().create_future()
        load = self._versions.load(model_entry, version, on_overdue=lambda: overdue.set_result(None), files=about)
        task = asyncio.create_task(load, name=f"load {version.name} version {version.version}")
        old = model_entry.entries.get(version.version)
        try:
            await asyncio.wait({task, overdue}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            self._end_load(old, about, task)
            return
        self._keep(task)
        model_entry.loading[version.version] = task

        def end(_: object) -> None:
            del model_entry.loading[version.version]
            if not task.cancelled():
                self._end_load(old, about, task)

        task.add_done_callback(end)

    @staticmethod
    def _end_load(old: VersionEntry | None, about: VersionFiles, task: "asyncio.Task[VersionEntry]") -> None:
        """If its new content failed, ``old``, the entry with the content before, keeps serving."""
        if old is not None and old.model is not None and task.result().model is None:
            old.files = about  # so that the new content is not tried again and again
            old.reason = f"its new content cannot serve, so the old one does: {task.result().reason}"
            logger.warning("%s version %d goes on serving its old content", old.source.name, old.source.version)

    def _apply(self, name: str, model_entry: ModelEntry, choice: Choice) -> None:
        """Set the default and the aliases from the versions that are in service."""
        in_service = {
            n for n, e in model_entry.entries.items() if e.model is not None or (e.on_demand and e.has_served)
        }
        model_entry.aliases = settle_aliases(model_entry.facts, in_service)
        model_entry.facts = replace(model_entry.facts, held=model_entry.aliases)
        entry = None if choice.default is None else model_entry.entries.get(choice.default)
        if entry is not None and entry.model is not None and entry.model is not model_entry.serving:
            self.serve(name, model_entry, entry.model)
        elif model_entry.serving is None:
            model_entry.evicted_default = choice.default if entry is not None and entry.on_demand else None
            self.serve(name, model_entry, None)

    def serve(self, name: str, model_entry: ModelEntry, model: Served | None) -> None:
        """Let a version answer requests that name none; None: no version. An evicted model stays the default of its
        task."""
        model_entry.serving = model
        if model is not None:
            model_entry.reason, model_entry.evicted_default = "", None
        elif model_entry.on_demand or not (model_entry.entries or model_entry.reason):  # evicted, or not loaded yet
            return
        self._defaults.note({name: None if model is None else model.manifest.task})

    def _retire(
        self, model_entry: ModelEntry, sources: Mapping[int, ModelVersion], files: Mapping[int, VersionFiles]
    ) -> None:
        """Take versions out of service that are not wanted, and forget those that are not in the store."""
        stay = {*self._choose(model_entry, files).wanted, *model_entry.aliases.values()}
        serving = model_entry.serving
        for number, entry in list(model_entry.entries.items()):
            if entry.model is not None:
                if entry.model is not serving and number not in stay:
                    self._retirement.retire([entry])
            elif entry.waits_for_room and number not in stay:
                self._retirement.retire([entry])
            elif number not in sources and number not in model_entry.loading and entry.state is not State.UNLOADING:
                del model_entry.entries[number]

    @staticmethod
    async def _wait_for_late(model_entry: ModelEntry) -> bool:
        """Wait for slow loads. Returns whether one has ended; False if there are none, or the model has changed."""
        late = set(model_entry.loading.values())
        if not late or model_entry.changed.is_set():
            return False
        changed = asyncio.ensure_future(model_entry.changed.wait())
        try:
            await asyncio.wait({changed, *late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return not model_entry.changed.is_set()

    def _warn(self, model_entry: ModelEntry, found: StoredModel) -> None:
        """Record where what serves differs from the store."""
        warnings = [fault for fault in (found.alias_fault, found.rollout_fault) if fault]
        facts, serving = model_entry.facts, model_entry.serving
        for alias, number in facts.aliases.items():
            means = model_entry.aliases[alias]
            if means != number:
                entry = model_entry.entries.get(number)
                why = GONE if number not in facts.numbers else entry.reason if entry is not None else ""
                warnings.append(
                    f"alias {alias} should mean version {number} and means {means} until that is in service"
                    + (f": {why}" if why else "")
                )
        if serving is not None and int(serving.version) not in facts.numbers:
            warnings.append(f"version {serving.version} serves, but {GONE}")
        model_entry.warnings, model_entry.is_behind = warnings, self.is_behind(model_entry)
        if serving is None:
            reason = self._explain(model_entry, found)
            if found.versions and reason not in ("", UNLOADED, model_entry.reason):
                logger.warning("%s does not serve: %s", found.versions[0].name, reason)
            model_entry.reason = reason

    def _explain(self, model_entry: ModelEntry, found: StoredModel) -> str:
        """Why no version answers by default; "" if the versions have the reasons themselves."""
        if not found.contents.folders:
            return found.contents.why or GONE
        if choose(model_entry.facts).default is not None:
            return ""
        return UNLOADED if model_entry.facts.by_hand.unloaded else self.why_none(found)

    @staticmethod
    def why_none(found: StoredModel) -> str:
        """Why none of the versions in the store may serve."""
        if found.chosen is not None and not found.chosen:
            return "the version_policy of config.pbtxt names none of the versions that are there"
        have = ", ".join(str(version.version) for version in found.versions)
        return f"the policy in SLUICE_VERSIONS or SLUICE_MODEL_VERSIONS names none of its versions: {have}"


def _find_missed(model_entry: ModelEntry, choice: Choice) -> Iterator[int]:
    """Versions for which others answer because there was no room for them."""
    facts, serving = model_entry.facts, model_entry.serving
    answering = set(facts.tried) if serving is not None and model_entry.chooser is not None else set()
    if serving is not None and choice.default is not None:
        answering.add(choice.default)
    if any(entry.model is not None for entry in model_entry.entries.values()):
        answering |= {number for alias, number in facts.aliases.items() if model_entry.aliases.get(alias) != number}
    for number in choice.wanted:
        entry = model_entry.entries.get(number)
        if entry is not None and entry.waits_for_room and number in answering:
            yield number


def _find_due(model_entry: ModelEntry, choice: Choice) -> Iterator[int]:
    """The missed versions that may be tried again now."""
    now = time.perf_counter()
    return (n for n in _find_missed(model_entry, choice) if model_entry.entries[n].retry_at <= now)
