"""Names, sizes and times of the files of a store. They show what has changed, and which versions are half written.

These functions block, so they run in threads. Files that cannot be read raise no error here: a load reports them.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from model_store import ModelVersion
from model_store.files.reading import MOST_TEXT_BYTES, read_regular
from model_store.manifest import MANIFEST_FILE

_File = tuple[str, int, int, int, int]
Fingerprint = tuple[_File, ...]
"""For each file of a version: path, inode, size in bytes, mtime and ctime in ns."""
_MOST_DEPTH = 8
_OF_ALL_VERSIONS = frozenset({"aliases.json", "rollout.json"})
"""Files beside the versions whose change does not change a version."""


class VersionFiles(NamedTuple):
    """The files of a version at some time.

    ``manifest`` is the digest of its manifest; "" for a version without one. ``is_whole``: every file that the manifest
    lists is there, with its size. A version without a manifest is never known to be whole.
    """

    fingerprint: Fingerprint
    manifest: str = ""
    is_whole: bool = False

    def has_content_of(self, other: "VersionFiles") -> bool:
        """Whether both have the same content, as far as manifests, names, sizes and times show."""
        if self.manifest and other.manifest:
            return self.manifest == other.manifest
        return [each[:4] for each in self.fingerprint] == [each[:4] for each in other.fingerprint]


UNKNOWN = VersionFiles(())


def describe_files(version: ModelVersion) -> VersionFiles:
    """The files of a version as they are now."""
    found = list(_walk(version.folder, "", _MOST_DEPTH))
    if any(path == MANIFEST_FILE for path, *_ in found):
        content = _read_manifest(version)
        return VersionFiles(tuple(sorted(found)), hashlib.sha256(content).hexdigest(), _is_whole(content, found))
    if version.folder.name == str(version.version):
        found += _walk(version.folder.parent, "../", 1)
    return VersionFiles(tuple(sorted(each for each in found if each[0].removeprefix("../") not in _OF_ALL_VERSIONS)))


def _walk(folder: Path | str, prefix: str, depth: int) -> Iterator[_File]:
    """The files of a folder and of its subfolders down to ``depth``, without names that begin with a dot."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with contextlib.suppress(OSError):
                if entry.is_dir():
                    if depth > 1:
                        yield from _walk(entry.path, f"{prefix}{entry.name}/", depth - 1)
                else:
                    about = entry.stat()
                    path = f"{prefix}{entry.name}"
                    yield path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _read_manifest(version: ModelVersion) -> bytes:
    """The bytes of the manifest; empty if it cannot be read, which a load will report."""
    try:
        return read_regular(version.folder / MANIFEST_FILE, MOST_TEXT_BYTES)
    except OSError:
        return b""


def _is_whole(manifest: bytes, found: list[_File]) -> bool:
    """Called for every version after each change of its model, so the rest of the manifest is not checked here."""
    sizes = {path: size for path, _, size, *_ in found}
    try:
        return all(sizes.get(name) == file["size_bytes"] for name, file in json.loads(manifest)["files"].items())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


class StoreScan(NamedTuple):
    """The entries of a store at some time. ``identity`` differs when another folder takes the place of the root."""

    identity: tuple[int, int]
    models: Mapping[str, object]
    """By name, a value that differs when the entry has changed."""


def scan(root: Path, before: StoreScan | None) -> StoreScan:
    """Scan the entries of a store and what is in them. Raises OSError if the root cannot be read.

    The files of a version with a manifest are not listed: its folder changes when files come or go. ``before`` is the
    last scan.
    """
    about = os.stat(root)
    known = {} if before is None else before.models
    models: dict[str, object] = {}
    with os.scandir(root) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                models[entry.name] = _scan_entry(entry, known.get(entry.name))
    return StoreScan((about.st_dev, about.st_ino), models)


def _scan_entry(entry: "os.DirEntry[str]", before: object) -> object:
    known: Mapping[str, tuple[object, ...]] = before if isinstance(before, dict) else {}
    try:
        if not entry.is_dir():
            return _stat(entry)
        found: dict[str, tuple[object, ...]] = {}
        with os.scandir(entry.path) as inside:
            for each in inside:
                if each.name.startswith("."):
                    continue
                last = known.get(each.name)
                now = _stat(each)
                if last is not None and last[0] == now and last[1] is None:
                    found[each.name] = last
                else:
                    found[each.name] = (now, _list_files_in(each))
        return found
    except OSError as error:
        return type(error).__name__


def _list_files_in(entry: "os.DirEntry[str]") -> Fingerprint | None:
    """The files of a folder; None for a file, and for a version with a manifest: its files do not change."""
    if not entry.is_dir() or os.path.exists(os.path.join(entry.path, MANIFEST_FILE)):
        return None
    return tuple(sorted(_walk(entry.path, "", _MOST_DEPTH)))


def _stat(entry: "os.DirEntry[str]") -> tuple[int, int, int]:
    about = entry.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns
