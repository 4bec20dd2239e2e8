"""Removes versions: given ones, and old ones (``sluice models gc``).

Rules
- The model's folder is locked while the uses of a version are checked, and until the version has a hidden name. Its
  files are read before and deleted afterwards, so that no rollback waits for that.
- First the numbers and aliases are written, then the version gets a hidden name, then its files are deleted. A process
  that dies in between leaves a hidden folder, which the next publisher, `gc` or server start deletes.
- A number is not used again.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from model_store.errors import BadLayout, BadName, NotInStore, StillUsed, StoreError
from model_store.files.aliases import STABLE, find_rollback, read_aliases, read_history, write_aliases, write_history
from model_store.files.staging import Hidden, hide
from model_store.files.writing import explain
from model_store.maintenance.rollouts import without
from model_store.maintenance.uses import PipelineUse, find_pipelines, find_uses
from model_store.rollout import read_rollout, write_rollout
from model_store.store import ModelVersion, Store, read_number


@dataclass(frozen=True, slots=True)
class Removed:
    """A version that was removed, or would be. ``named_by``: the names that went with it, such as aliases."""

    name: str
    version: int
    size_bytes: int
    named_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that ``collect`` kept, and why."""

    name: str
    version: int
    reason: str


def remove(
    store: Store, name: str, versions: Sequence[str] | None, *, force: bool = False, dry_run: bool = False
) -> list[Removed]:
    """Remove versions, given by number or alias; None: all. ``force``: also those that something names.

    With ``dry_run`` nothing changes. Raises StillUsed, NotInStore, BadLayout, NotWritable; then nothing was removed.
    """
    pipelines = find_pipelines(store)
    if not store.folder(name).is_dir():
        store.versions(name)  # raises an error that names what is there
    if dry_run:
        return _plan(store, name, versions, force, pipelines)
    with store.changing(name) as folder:
        removed = _plan(store, name, versions, force, pipelines)
        chosen = [each.version for each in removed]
        _drop_names(folder, chosen)
        hidden = _hide(folder, chosen)
    _delete(store, name, hidden)
    return removed


def collect(
    store: Store, names: Sequence[str], keep: int, *, dry_run: bool = False
) -> tuple[list[Removed], list[Kept]]:
    """Remove old versions of models: all except the newest ``keep`` undamaged ones and those that something names.

    The version to which a rollback would go is kept too. Damaged versions are neither counted nor removed. Returns
    what was removed, or would be with ``dry_run``, and what was kept besides the newest. Raises StoreError.
    """
    if keep < 1:
        raise BadName(f"versions to keep: expected 1 or more, got {keep}")
    pipelines = find_pipelines(store)
    removed: list[Removed] = []
    kept: list[Kept] = []
    for name in names:
        versions = {each.version: each for each in store.versions(name)}
        reasons = _find_reasons(store, name, versions, pipelines)
        whole, damaged = _count_whole(versions, keep, reasons)  # without the lock, because it may read many files
        if dry_run:
            old, needed = choose_old(whole, keep, reasons)
            removed += _describe(store, name, old)
        else:
            with store.changing(name) as folder:
                there = {each.version for each in store.versions(name)}
                reasons = _find_reasons(store, name, there, pipelines)
                old, needed = choose_old([number for number in whole if number in there], keep, reasons)
                removed += _describe(store, name, old)
                hidden = _hide(folder, old)
            _delete(store, name, hidden)
        kept += [Kept(name, *each) for each in (*needed, *damaged.items())]
    return removed, kept


def choose_old(whole: Sequence[int], keep: int, reasons: Mapping[int, str]) -> tuple[list[int], list[tuple[int, str]]]:
    """Which of the undamaged versions, oldest first, are removed, and which old ones are kept for a reason."""
    older = whole[:-keep]
    return [n for n in older if n not in reasons], [(n, reasons[n]) for n in older if n in reasons]


def measure(path: Path) -> int:
    """The bytes of a file, or of the files in a folder. A link has none."""
    if not path.is_dir() or path.is_symlink():
        return 0 if path.is_symlink() else path.stat().st_size
    return sum((Path(top) / file).lstat().st_size for top, _, files in os.walk(path) for file in files)


def _plan(
    store: Store, name: str, versions: Sequence[str] | None, force: bool, pipelines: Mapping[str, list[PipelineUse]]
) -> list[Removed]:
    """The versions to remove. Raises as ``remove``."""
    there = _find_numbers(store.folder(name))
    chosen = sorted(there) if versions is None else _choose(store, name, there, versions)
    if not chosen:
        raise NotInStore(f"{name!r} has no version to remove")
    uses = find_uses(store, name, pipelines)
    named = {number: uses.versions.get(number, []) for number in chosen}
    if not force:
        _check_unused(name, named, [] if set(there) - set(chosen) else uses.pipelines)
    return _describe(store, name, chosen, named)


def _describe(
    store: Store, name: str, versions: Sequence[int], named: Mapping[int, list[str]] = MappingProxyType({})
) -> list[Removed]:
    folder = store.folder(name)
    return [Removed(name, n, measure(folder / str(n)), tuple(named.get(n, ()))) for n in versions]


def _find_reasons(
    store: Store, name: str, versions: Collection[int], pipelines: Mapping[str, list[PipelineUse]]
) -> dict[int, str]:
    """Why versions are kept although they are not among the newest."""
    uses = find_uses(store, name, pipelines)
    reasons = {number: f"{' and '.join(what)} names it" for number, what in uses.versions.items()}
    target = _find_target(store, name, versions)
    if target is not None:
        reasons.setdefault(target, "a rollback would go to it")
    return reasons


def _find_target(store: Store, name: str, usable: Collection[int]) -> int | None:
    """Where a rollback would go. None if ``stable`` is not set: then it is among the newest, which are kept anyway."""
    current = store.aliases(name).get(STABLE)
    return None if current is None else find_rollback(read_history(store.folder(name)).stable, current, usable)[0]


def _count_whole(
    versions: Mapping[int, ModelVersion], keep: int, reasons: Collection[int]
) -> tuple[list[int], dict[int, str]]:
    """The undamaged versions, oldest first, and the damaged ones with their faults.

    If any version may be removed, the files of the newest are checked until ``keep`` are good: a good version must not
    be removed while damaged ones are kept. Of the others only the manifest is read.
    """
    if all(number in reasons for number in list(versions)[:-keep]):
        return list(versions), {}
    whole: list[int] = []
    damaged: dict[int, str] = {}
    for number, version in reversed(list(versions.items())):
        try:
            if version.is_plain or len(whole) < keep:
                version.check()
            else:
                version.read_manifest()
        except (StoreError, OSError) as error:
            damaged[number] = f"it is damaged: {error}"
        else:
            whole.append(number)
    return sorted(whole), damaged


def _find_numbers(folder: Path) -> list[int]:
    """The numbers of all entries that have one as their name, damaged ones included."""
    numbers = (read_number(entry.name) for entry in os.scandir(folder))
    return [number for number in numbers if number]


def _choose(store: Store, name: str, there: Collection[int], versions: Sequence[str]) -> list[int]:
    chosen = set()
    for text in versions:
        number = read_number(text)
        if number is None:
            number = store.find(name, text).version
        if number not in there:
            store.find(name, number)  # raises an error that names what is there
            raise BadLayout(
                f"version {text} of {name!r} has no folder of its own: remove its files from {store.folder(name)} "
                "by hand"
            )
        chosen.add(number)
    return sorted(chosen)


def _check_unused(name: str, named: Mapping[int, list[str]], pipelines: Sequence[PipelineUse]) -> None:
    used = [f"version {number} of {name!r} is named by {', '.join(what)}" for number, what in named.items() if what]
    if used:
        raise StillUsed(f"{'; '.join(used)}: change that first, or give --force, which removes the names too")
    if pipelines:
        names = ", ".join(sorted({step.pipeline for step in pipelines}))
        raise StillUsed(f"{name!r} would have no version left, and is a step of {names}: remove that, or give --force")


def _drop_names(folder: Path, versions: Collection[int]) -> None:
    """Remove aliases, canary and shadow that name these versions."""
    aliases = read_aliases(folder)
    left = {alias: number for alias, number in aliases.items() if number not in versions}
    if left != aliases:
        write_aliases(folder, left)
    rollout = staying = read_rollout(folder)
    for number in versions:
        staying = without(staying, number)
    if staying != rollout:
        write_rollout(folder, staying)


def _hide(folder: Path, versions: Sequence[int]) -> list[Hidden]:
    """Record the numbers of versions, and hide the versions. The caller holds the lock of the folder."""
    if not versions:
        return []
    history = read_history(folder)
    stable = tuple(number for number in history.stable if number not in versions)
    largest = max(history.largest, *versions)
    if (stable, largest) != (history.stable, history.largest):
        write_history(folder, history.model_copy(update={"stable": stable, "largest": largest}))
    return [hide(folder / str(number)) for number in versions]


def _delete(store: Store, name: str, hidden: Sequence[Hidden]) -> None:
    """Delete hidden versions, without the lock of the folder. Raises NotWritable."""
    try:
        for each in hidden:
            each.delete()
    except OSError as error:
        raise explain(error, store.folder(name)) from error
