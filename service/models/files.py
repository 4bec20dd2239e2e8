"""What the files of a store are now, without reading them: to notice changes, and versions that are half written.

This blocks, so it runs in threads. What cannot be read counts as it is: its fault is told by whoever reads it.
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
"""Of each file of a version: path, inode, size in bytes, and the times in ns when its content changed and when anything
about it did, such as who may read it."""
_MOST_DEPTH = 8
_OF_ALL_VERSIONS = frozenset({"aliases.json", "rollout.json"})
"""Files beside the versions whose change does not change a version."""


class VersionFiles(NamedTuple):
    """The files of a version at some time.

    ``manifest`` is the digest of its manifest, which says what is in the others; "" for a version without one.
    ``is_whole``: every file that the manifest names is there, with its size. Without a manifest nothing says that.
    """

    fingerprint: Fingerprint
    manifest: str = ""
    is_whole: bool = False

    def has_content_of(self, other: "VersionFiles") -> bool:
        """Whether it is the same version with the same content, as far as can be told without reading it."""
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
    """The files of a folder, and of those in it down to ``depth``. Names with a leading dot are left out."""
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
    """The bytes of the manifest, none if it cannot be read: a load will tell why."""
    try:
        return read_regular(version.folder / MANIFEST_FILE, MOST_TEXT_BYTES)
    except OSError:
        return b""


def _is_whole(manifest: bytes, found: list[_File]) -> bool:
    """Every version is asked whenever its model has changed, so the manifest is not checked here."""
    sizes = {path: size for path, _, size, *_ in found}
    try:
        return all(sizes.get(name) == file["size_bytes"] for name, file in json.loads(manifest)["files"].items())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


class StoreLook(NamedTuple):
    """What a look at the root finds. ``identity`` tells one folder at its path from another that takes its place."""

    identity: tuple[int, int]
    models: Mapping[str, object]
    """Something that changes when the entry of that name changes."""


def look(root: Path, before: StoreLook | None = None) -> StoreLook:
    """Look at the entries of a store, and at what is in them. Raises OSError if the root cannot be read.

    A version with a manifest is looked into once: later its folder tells whether files come or go. ``before`` is the
    last look.
    """
    about = os.stat(root)
    known = {} if before is None else before.models
    models: dict[str, object] = {}
    with os.scandir(root) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                models[entry.name] = _look_at(entry, known.get(entry.name))
    return StoreLook((about.st_dev, about.st_ino), models)


def _look_at(entry: "os.DirEntry[str]", before: object) -> object:
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
                    found[each.name] = (now, _look_into(each))
        return found
    except OSError as error:
        return type(error).__name__


def _look_into(entry: "os.DirEntry[str]") -> Fingerprint | None:
    """The files of a folder; None for a file, and for a version with a manifest: its files do not change."""
    if not entry.is_dir() or os.path.exists(os.path.join(entry.path, MANIFEST_FILE)):
        return None
    return tuple(sorted(_walk(entry.path, "", _MOST_DEPTH)))


def _stat(entry: "os.DirEntry[str]") -> tuple[int, int, int]:
    about = entry.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns
