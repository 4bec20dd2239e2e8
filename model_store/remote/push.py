"""Copies versions of a local store to a remote store. They keep their numbers."""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import IntegrityError, RemoteError, StoreError
from model_store.files.links import Boundary
from model_store.files.reading import MOST_TEXT_BYTES
from model_store.listing import NUMBER
from model_store.manifest import MANIFEST_FILE
from model_store.remote.contents import RemoteContents, RemoteFile, sort_files
from model_store.remote.stores.remote_store import NotThere, RemoteStore
from model_store.remote.transfers.blobs import Blobs
from model_store.remote.transfers.progress import NoProgress, Progress
from model_store.remote.transfers.transfer import Transfer
from model_store.signing import SIGNATURE_FILE
from model_store.store import ModelVersion, Store

_MOST_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Pushed:
    """Versions by model: those that were sent, and those that were there already; and why others were not sent.

    ``beside``: by model, the files beside its versions that have changed there, such as aliases.
    """

    sent: dict[str, list[int]]
    present: dict[str, list[int]]
    problems: dict[tuple[str, int], str]
    beside: dict[str, list[str]]


def push(
    remote: RemoteStore,
    store: Store,
    models: Mapping[str, Sequence[ModelVersion]],
    progress: Progress,
    *,
    versions_only: bool = False,
    follow_links: bool = False,
) -> Pushed:
    """Send versions that are not there. Each is checked first. It appears there when its manifest has arrived.

    Then the files beside the versions there become those here, aliases last; but not with ``versions_only``, and not if
    a version of the model could not be sent. Raises RemoteError, OSError.
    """
    pushing = _Pushing(remote, Boundary(store.root, follow_links))
    contents = pushing.list_contents(tuple(models))
    pushed = Pushed({}, {}, {}, {})
    missing: list[tuple[ModelVersion, int]] = []
    for version in itertools.chain.from_iterable(models.values()):
        with _noting_faults(pushed, version):
            if pushing.is_there(contents, version):
                pushed.present.setdefault(version.name, []).append(version.version)
            else:
                missing.append((version, pushing.measure(version)))
    if missing:
        progress.begin(len(missing), sum(size for _, size in missing))
        for version, size in missing:
            with _noting_faults(pushed, version):
                pushing.send(version, _find_known(contents, version))
                pushed.sent.setdefault(version.name, []).append(version.version)
            progress.advance(size, time.monotonic())
        progress.end()
    for name in models:
        if not versions_only and not any(of == name for of, _ in pushed.problems):
            pushed.beside[name] = pushing.send_beside(contents, name)
    return pushed


@contextlib.contextmanager
def _noting_faults(pushed: Pushed, version: ModelVersion) -> Iterator[None]:
    """Make a fault of one version its problem, so that the others are sent. Raises RemoteError."""
    try:
        yield
    except RemoteError:
        raise
    except StoreError as error:
        pushed.problems[version.name, version.version] = str(error)


class _Pushing:
    def __init__(self, remote: RemoteStore, boundary: Boundary) -> None:
        self._remote = remote
        self._boundary = boundary
        self._transfer = Transfer(remote, Blobs(boundary.root), NoProgress(), threading.Event())

    def list_contents(self, only: Sequence[str]) -> RemoteContents:
        try:
            return sort_files(self._transfer.retry(lambda: self._remote.list_files(only)))
        except NotThere:  # an empty folder of a bucket does not exist
            return RemoteContents({}, [])

    def is_there(self, contents: RemoteContents, version: ModelVersion) -> bool:
        """Whether the whole version is there. Raises IntegrityError if another version has its number there."""
        model = contents.models.get(version.name)
        there = model.versions.get(version.version) if model else None
        if there is None:
            return False
        files, where = self._list(version), f"{version.name}/{version.version}"
        if MANIFEST_FILE in there.keys() & files.keys():
            found = self._transfer.read_small(there[MANIFEST_FILE], MOST_TEXT_BYTES, f"{where}/{MANIFEST_FILE}")
            is_same = found == files[MANIFEST_FILE].read_bytes()
        else:
            is_same = there.keys() == files.keys() and all(
                there[path].size in (None, file.stat().st_size) for path, file in files.items()
            )
        if not is_same:
            raise IntegrityError(
                f"{where} is another version there than here, but versions never change: publish this one under a new "
                "number"
            )
        return files.keys() <= there.keys() and self._is_signed_alike(there, files, where)

    def _is_signed_alike(self, there: Mapping[str, RemoteFile], files: Mapping[str, Path], where: str) -> bool:
        """Whether the signature there is the one here. Unlike the other files, it may change: for a new key."""
        if SIGNATURE_FILE not in files:
            return True
        found = self._transfer.read_small(there[SIGNATURE_FILE], MOST_TEXT_BYTES, f"{where}/{SIGNATURE_FILE}")
        return found == files[SIGNATURE_FILE].read_bytes()

    def send(self, version: ModelVersion, known: Collection[str]) -> None:
        """Send a version. ``known``: its files that are there. Raises StoreError if it is damaged here, OSError."""
        if not version.is_plain:
            version.verify()
        files = self._list(version)
        self._transfer.retry(lambda: self._remote.publish(version.name, version.version, files, known))

    def measure(self, version: ModelVersion) -> int:
        return sum(path.stat().st_size for path in self._list(version).values())

    def send_beside(self, contents: RemoteContents, name: str) -> list[str]:
        """Send the files beside the versions of a model. Returns the names of those that differed."""
        files = {
            entry.name: self._boundary.read(Path(entry.path), MOST_TEXT_BYTES)
            for entry in os.scandir(self._boundary.root / name)
            if not entry.name.startswith(".") and entry.is_file()
        }
        there = contents.models[name].beside if name in contents.models else {}
        known = {
            file: self._transfer.read_small(found, MOST_TEXT_BYTES, f"{name}/{file}") for file, found in there.items()
        }
        self._transfer.retry(lambda: self._remote.write_beside(name, files, known))
        return sorted(file for file in files.keys() | known.keys() if files.get(file) != known.get(file))

    def _list(self, version: ModelVersion) -> dict[str, Path]:
        """The files of a version by relative path, without hidden ones. Raises BadLayout, IntegrityError."""
        if not NUMBER.fullmatch(version.folder.name):
            raise IntegrityError(
                f"{version.name} has no folder for its version: move its files to {version.name}/{version.version}"
            )
        found: dict[str, Path] = {}
        for folder, folders, names in os.walk(version.folder):
            folders[:] = [each for each in folders if not each.startswith(".")]
            for name in names:
                path = Path(folder) / name
                if not name.startswith("."):
                    found[path.relative_to(version.folder).as_posix()] = self._boundary.resolve(path)
            if len(found) > _MOST_NAMES:
                raise IntegrityError(f"{version.folder} has more than {_MOST_NAMES} files: is it a version?")
        return found


def _find_known(contents: RemoteContents, version: ModelVersion) -> Collection[str]:
    """The files of a version that are there, without its signature, which is sent again."""
    model = contents.models.get(version.name)
    return model.versions.get(version.version, {}).keys() - {SIGNATURE_FILE} if model else ()
