"""Reads the store: its models and versions, entries that cannot serve, and the repository index."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from model_store import ModelVersion, Store
from model_store.errors import BadName, IntegrityError
from model_store.files.links import tell_why
from model_store.graphs.configuration import choose_versions
from model_store.listing import Contents, Unusable
from model_store.manifest import Task
from model_store.rollout import Rollout, read_rollout
from model_store.store import read_number
from service.errors import NotReady, UnknownModel
from service.models.entry import ModelEntry, State, find_number
from service.models.files import StoreScan, VersionFiles, describe_files, scan
from service.models.lifecycle.loads import describe_failure

logger = logging.getLogger("sluice.registry")
T = TypeVar("T")


class StoredModel(NamedTuple):
    """A model in the store. ``chosen`` are the versions that its configuration lets serve; None: it names none."""

    contents: Contents
    versions: list[ModelVersion]
    """Oldest first."""
    aliases: dict[str, int]
    chosen: list[int] | None
    files: dict[int, VersionFiles]
    alias_fault: str = ""
    """Why the file of aliases cannot be used; then ``aliases`` are the previous ones."""
    rollout: Rollout | None = None
    """None if the file cannot be used; then the previous rollout holds."""
    rollout_fault: str = ""
    """Why the file of the rollout cannot be used."""

    @property
    def is_gone(self) -> bool:
        """Whether the store has nothing of this name."""
        return not self.contents.folders and not self.contents.unusable


class StoreReader:
    """Reads the store in its own threads, so that it never waits for a load."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="store")

    def read_store(self, only: Sequence[str]) -> dict[str, Contents]:
        """The models that should serve: those in ``only``, or all. Entries that cannot serve are logged."""
        self._pool.submit(self._sweep)
        found: dict[str, Contents] = {}
        try:
            found = self._store.list_all()
        except OSError as error:
            logger.error("the store cannot be read: %s", error)
        else:
            if not found:
                logger.warning("%s holds no models: expected files <name>/<version>/model.onnx in it", self._store.root)
        for name in sorted(set(only) - set(found)):
            logger.error("SLUICE_MODELS names %r, which is not in %s", name, self._store.root)
        wanted = {name: contents for name, contents in found.items() if not only or name in only}
        for contents in wanted.values():
            for each in contents.unusable:
                what = f"{each.name} version {each.version}" if each.version else each.name
                logger.error("%s is unavailable: %s", what, each.reason)
        return wanted

    def _sweep(self) -> None:
        for path in self._store.sweep():
            logger.info("%s was left by a publisher that was killed, and was removed", path)

    async def _run(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, read)

    async def list_all(self) -> dict[str, Contents]:
        """Raises OSError."""
        return await self._run(self._store.list_all)

    async def read_contents(self, name: str) -> Contents:
        """Raises StoreError, OSError."""
        return await self._run(lambda: self._store.list_model(name))

    async def read_tasks(self, found: Mapping[str, Contents]) -> dict[str, Task]:
        """The task of each model, without loading it. Models that cannot be read are left out: their load fails."""

        def read() -> dict[str, Task]:
            tasks: dict[str, Task] = {}
            for name, contents in found.items():
                with contextlib.suppress(Exception):
                    newest = self._store.versions_of(name, contents)[-1]
                    tasks[name] = "tensors" if newest.is_plain else newest.read_manifest().task
            return tasks

        return await self._run(read)

    async def read(
        self,
        name: str,
        contents: Contents | None = None,
        aliases: Mapping[str, int] | None = None,
        *,
        is_known: bool = False,
    ) -> StoredModel:
        """Read a model. ``contents``: what was already read. Raises whatever reading raises.

        ``aliases`` are those of a model that serves. They stay if the file of aliases cannot be used; without them this
        raises. If a model that ``is_known`` is not there, and the whole store is away, this raises NotReady.
        """

        def read() -> StoredModel:
            found = contents or self._store.list_model(name)
            if is_known and not found.folders and not found.unusable:
                self._check_root()
            versions = self._store.versions_of(name, found)
            files = {version.version: describe_files(version) for version in versions}
            try:
                named, fault = self._store.aliases(name), ""
            except IntegrityError as error:
                if aliases is None:
                    raise
                named, fault = dict(aliases), str(error)
            rollout, rollout_fault = self._read_rollout(name)
            chosen = choose_versions(versions)
            return StoredModel(found, versions, named, chosen, files, fault, rollout, rollout_fault)

        return await self._run(read)

    def _read_rollout(self, name: str) -> tuple[Rollout | None, str]:
        try:
            return read_rollout(self._store.folder(name)), ""
        except IntegrityError as error:
            return None, str(error)

    def _check_root(self) -> None:
        """Raises NotReady if the store is away or empty, like a folder whose file system is not mounted."""
        try:
            if any(self._store.root.iterdir()):
                return
        except OSError as error:
            raise NotReady(f"the store cannot be read: {tell_why(error)}") from None
        raise NotReady("the store is empty")

    async def describe(self, version: ModelVersion) -> VersionFiles:
        """The files of a version as they are now."""
        return await self._run(lambda: describe_files(version))

    async def holds(self, name: str) -> bool:
        """Whether the store has an entry of this name."""
        return await self._run(lambda: os.path.lexists(self._store.root / name))

    async def scan(self, before: StoreScan | None) -> StoreScan:
        """Scan the store. Raises OSError, or NotReady if the store is empty and was not ``before``."""
        found = await self._run(lambda: scan(self._store.root, before))
        if before is not None and before.models and not found.models:
            raise NotReady("the store is empty")
        return found

    async def read_again(self, name: str, why: str, aliases: Mapping[str, int] | None = None) -> StoredModel:
        """The model as it is in the store now. ``why``: why the known one cannot serve, or "".

        ``aliases`` as in ``read``. Raises UnknownModel, NotReady.
        """
        try:
            found = await self.read(name, aliases=aliases, is_known=aliases is not None)
            if found.versions:
                return found
            why = found.contents.why
        except BadName:
            pass
        except Exception as error:  # noqa: BLE001  # any fault is the reason why this model cannot serve
            raise NotReady(f"model {name!r}: {describe_failure(error, f'reading {name}')}") from None
        if why:
            raise NotReady(f"model {name!r:.120} cannot serve: {why}")
        raise UnknownModel(f"no model {name!r:.120} in the store: the index lists them")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class IndexEntry(NamedTuple):
    """A version in the repository index, or another entry of the store, for which ``version`` is ""."""

    name: str
    version: str
    state: State
    reason: str


def make_index(
    found: Mapping[str, Contents], model_entries: Mapping[str, ModelEntry], *, lazy: bool, loaded: bool
) -> list[IndexEntry]:
    """Everything in the store, and all versions in service. ``loaded``: the first load of every model has ended."""
    numbers = {(name, number) for name, contents in found.items() for number in contents.folders}
    numbers |= {(name, number) for name, model_entry in model_entries.items() for number in model_entry.entries}
    index = {
        (name, str(number)): IndexEntry(name, str(number), *_find_state(number, model_entries.get(name), lazy, loaded))
        for name, number in numbers
    }
    for contents in found.values():
        for each in contents.unusable:
            index.setdefault(
                (each.name, each.version), IndexEntry(each.name, each.version, State.UNAVAILABLE, each.reason)
            )
    return sorted(index.values(), key=lambda listed: (listed.name, read_number(listed.version) or 0, listed.version))


def _find_state(number: int, model_entry: ModelEntry | None, lazy: bool, loaded: bool) -> tuple[State, str]:
    """The state of a version, and the reason why it does not serve."""
    reason = "it is not loaded"
    if model_entry is not None:
        entry = model_entry.entries.get(number)
        if entry is not None:
            return entry.state, entry.reason
        if not loaded:
            return State.LOADING, ""
        if model_entry.chosen is not None and number not in model_entry.chosen:
            reason = "the version_policy of config.pbtxt leaves it out"
        elif model_entry.reason:
            reason = model_entry.reason
        elif lazy and not model_entry.entries:
            reason = "the next request loads it"
    return State.UNAVAILABLE, reason


def check_usable(name: str, version: str, unusable: Sequence[Unusable]) -> None:
    """Raises NotReady with the reason if the version is one of the unusable entries."""
    for each in unusable:
        if each.version == version:
            raise NotReady(f"model {name!r} version {version} is not ready: {each.reason}")


def choose_version(name: str, version: str | None, found: StoredModel) -> ModelVersion:
    """The version given as a number or an alias, or the newest. Raises UnknownModel, NotReady."""
    if version is None:
        return found.versions[-1]
    check_usable(name, version, found.contents.unusable)
    number = find_number(name, found.aliases, version)
    for each in found.versions:
        if each.version == number:
            return each
    check_usable(name, str(number), found.contents.unusable)
    have = ", ".join(str(each.version) for each in found.versions)
    raise UnknownModel(f"no version {version!r:.60} of {name!r} in the store: there are {have}")
