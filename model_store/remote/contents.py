"""The contents of a remote store: its files, sorted by models and versions. Pure.

The names are not trusted: only those that the layout of a store allows are accepted.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from model_store.errors import RemoteError, escape
from model_store.files.aliases import ALIASES_FILE
from model_store.files.reading import MOST_TEXT_BYTES
from model_store.listing import NAME, NUMBER
from model_store.manifest import MANIFEST_FILE
from model_store.plain import is_onnx

MOST_FILES = 1_000_000
"""The most files of a store. A remote store that lists more is refused before its list fills the memory."""
_MOST_VERSION_FILES = 2000
_MOST_BESIDE = 100
_MOST_DEPTH = 4
LAST_FILES = frozenset({ALIASES_FILE, "history.json", "rollout.json"})
"""Files that name versions. They are written after the versions."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a remote store."""

    where: str
    """Where the store that listed it finds it."""
    size: int | None
    """In bytes; None if the list has no sizes."""
    stamp: str
    """A text that changes with the content, such as a time; "" if the list has none."""
    sha256: str = ""
    """The digest, if the list has it."""
    content: bytes | None = None
    """The content, if the list has it."""

    @property
    def mark(self) -> str:
        """A text that is the same while the file is the same."""
        return f"{'' if self.size is None else self.size} {self.stamp}"


@dataclass(slots=True)
class RemoteModel:
    """The versions of a model by number, each with its files by relative path, and the files ``beside`` them, which all
    versions share."""

    versions: dict[int, dict[str, RemoteFile]] = field(default_factory=dict)
    beside: dict[str, RemoteFile] = field(default_factory=dict)


@dataclass(slots=True)
class RemoteContents:
    models: dict[str, RemoteModel]
    complaints: list[str]
    """What was left out, and why, for people."""


def sort_files(files: Mapping[str, RemoteFile]) -> RemoteContents:
    """Sort files, given by their path relative to the root. Files that belong to no model are left out.

    Hidden names are ignored, as in a local store. Raises RemoteError if there are too many files.
    """
    if len(files) > MOST_FILES:
        raise RemoteError(f"expected at most {MOST_FILES} files, got {len(files)}: is this the folder of the store?")
    models: dict[str, RemoteModel] = {}
    complaints: dict[str, None] = {}
    bad: set[tuple[str, int]] = set()
    for path in sorted(files):
        parts = path.split("/")
        if len(parts) < 2 or any(part.startswith(".") and part.strip(".") for part in parts):
            continue
        if not NAME.fullmatch(parts[0]):
            complaints[f"{_show(parts[0])} is no name of a model: it is left out"] = None
            continue
        model = models.setdefault(parts[0], RemoteModel())
        if NUMBER.fullmatch(parts[1]) and len(parts) > 2:
            number = int(parts[1])
            if not all(_FILE.fullmatch(part) for part in parts[2:]) or len(parts) > _MOST_DEPTH:
                bad.add((parts[0], number))
                complaints[f"{parts[0]}/{number} has a file called {_show('/'.join(parts[2:]))}: it is left out"] = None
            else:
                model.versions.setdefault(number, {})["/".join(parts[2:])] = files[path]
        elif len(parts) == 2:
            if fault := _refuse_beside(parts[1], files[path]):
                complaints[f"{parts[0]}/{_show(parts[1])} {fault}"] = None
            else:
                model.beside[parts[1]] = files[path]
    for name, model in models.items():
        _leave_out(name, model, {number for of, number in bad if of == name}, complaints)
    return RemoteContents({name: model for name, model in models.items() if model.versions}, list(complaints))


def _refuse_beside(file: str, found: RemoteFile) -> str:
    """Why a file beside the versions of a model is left out, or ""."""
    if is_onnx(file) or file == MANIFEST_FILE:
        return "lies beside the versions: expected it in the folder of a version, such as 1"
    if not _FILE.fullmatch(file) or NUMBER.fullmatch(file):  # a number is the folder of a version
        return "is no name of a file: it is left out"
    if found.size is not None and found.size > MOST_TEXT_BYTES:
        return f"has {found.size} bytes: expected at most {MOST_TEXT_BYTES}: it is left out"
    return ""


def _leave_out(name: str, model: RemoteModel, bad: set[int], complaints: dict[str, None]) -> None:
    """Remove the ``bad`` versions, and others that cannot be accepted."""
    for number, files in list(model.versions.items()):
        if len(files) > _MOST_VERSION_FILES:
            complaints[f"{name}/{number} has {len(files)} files: expected at most {_MOST_VERSION_FILES}"] = None
            bad.add(number)
        elif twice := _find_file_and_folder(files):
            complaints[f"{name}/{number} has a file and a folder called {_show(twice)}: it is left out"] = None
            bad.add(number)
        elif MANIFEST_FILE in files:
            continue
        elif any(is_golden(file) for file in files) or not any(is_onnx(path.rpartition("/")[2]) for path in files):
            bad.add(number)  # it is being uploaded, and its manifest comes last
        elif any(found.size is None for found in files.values()):
            why = f"has no {MANIFEST_FILE}: expected one, because this store gives no sizes"
            complaints[f"{name}/{number} {why}"] = None
            bad.add(number)
    for number in bad:
        model.versions.pop(number, None)
    for file in sorted(model.beside)[_MOST_BESIDE:]:
        del model.beside[file]


def _find_file_and_folder(files: Collection[str]) -> str:
    """The path of a file that is also the folder of another file, which only a bucket can have; "" if there is none."""
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    return min(folders.intersection(files), default="")


def is_golden(file: str) -> bool:
    """Whether a file is one of golden samples, which only a version with a manifest has."""
    return file.startswith("golden") and file.endswith((".npz", ".json"))


def _show(name: str) -> str:
    return repr(escape(name))[:120]
