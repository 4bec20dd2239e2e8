"""Copies versions of a remote store into a local store. They keep their numbers."""

import contextlib
import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import NotInStore
from model_store.files.aliases import ALIASES_FILE
from model_store.files.reading import MOST_CONFIG_BYTES
from model_store.remote.contents import RemoteModel, sort_files
from model_store.remote.folder import Folder
from model_store.remote.plan import make_plan
from model_store.remote.state import State
from model_store.remote.stores.remote_store import RemoteStore
from model_store.remote.synchronizer import Synchronizer
from model_store.remote.transfers.progress import Progress
from model_store.remote.transfers.retries import Backoff
from model_store.remote.transfers.transfer import Transfer
from model_store.store import read_number

SIDE = ".pull"
"""The folder for what is not whole yet. After an interruption the next pull continues with what is there."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """Versions by model: those that were fetched, and those that were here already; and why others cannot be had."""

    fetched: dict[str, list[int]]
    present: dict[str, list[int]]
    problems: dict[tuple[str, int], str]


def pull(
    remote: RemoteStore,
    root: Path,
    progress: Progress,
    *,
    model: str | None = None,
    version: str | None = None,
    versions_only: bool = False,
) -> Pulled:
    """Copy a version, a model, or all. Files that are here are checked, and damaged ones are replaced.

    A model comes with its aliases, unless ``versions_only``. Raises NotInStore, RemoteError, OSError.
    """
    folder = Folder(root, root / SIDE)
    transfer = Transfer(remote, folder.blobs, progress, threading.Event())
    only = (model,) if model else ()
    with folder.locked():
        found = sort_files(transfer.retry(lambda: remote.list_files(only))).models
        if model is not None:
            found = {model: _choose(transfer, found, model, version)}
        if versions_only:
            found = {name: RemoteModel(each.versions) for name, each in found.items()}
        here, state, backoff = folder.list_versions(), State(), Backoff(0.0)
        plan = make_plan(found, here, state, backoff, time.time(), drops=False, again=True)
        before = {name: set(numbers) for name, numbers in here.items()}
        synchronizer = Synchronizer(transfer, folder, found, here, state, backoff, time.time(), verifies=True)
        folder.sweep()
        synchronizer.carry_out(plan)
        if not synchronizer.problems:
            shutil.rmtree(folder.side, ignore_errors=True)
    fetched = {name: sorted(numbers) for name, numbers in sorted(synchronizer.changed.items()) if numbers}
    present = {
        name: sorted(each.versions.keys() & before.get(name, set()) - synchronizer.changed.get(name, set()))
        for name, each in sorted(found.items())
    }
    for name, number in synchronizer.problems:
        present[name] = [each for each in present[name] if each != number]
    return Pulled(fetched, {name: numbers for name, numbers in present.items() if numbers}, synchronizer.problems)


def _choose(transfer: Transfer, found: dict[str, RemoteModel], model: str, version: str | None) -> RemoteModel:
    """The model, or one version of it without the files beside it. Raises NotInStore, RemoteError."""
    there = found.get(model)
    if there is None:
        raise NotInStore(f"no model {model!r:.120} there: expected its name, and the address of the folder that has it")
    if version is None:
        return there
    number = read_number(version)
    if number is None and ALIASES_FILE in there.beside:
        content = transfer.read_small(there.beside[ALIASES_FILE], MOST_CONFIG_BYTES, f"{model}/{ALIASES_FILE}")
        with contextlib.suppress(ValueError, RecursionError):  # then it has no aliases
            aliases = json.loads(content)
            number = aliases.get(version) if isinstance(aliases, dict) else None
    if not isinstance(number, int) or number not in there.versions:
        have = ", ".join(map(str, sorted(there.versions)))
        raise NotInStore(f"no version {version!r:.60} of {model!r} there: there are {have}")
    return RemoteModel({number: there.versions[number]})
