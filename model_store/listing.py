"""Lists a store: the versions that can be used, and why other entries cannot.

Only hidden entries (a leading dot), files that are not models, and folders that are not versions and hold no model are
ignored. An entry that cannot be read does not affect the others.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import BadLayout, StoreError, escape
from model_store.files.aliases import HISTORY_FILE
from model_store.files.links import Boundary, tell_why
from model_store.files.reading import MOST_CONFIG_BYTES
from model_store.manifest import MANIFEST_FILE
from model_store.plain import PLAIN_FILE, choose_onnx, find_onnx, is_onnx, list_entries, show_names

logger = logging.getLogger("sluice.store")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NUMBER = re.compile(r"[1-9][0-9]{0,17}")
NAME_RULE = "letters, digits, '.', '_', '-', 100 at most, the first a letter or digit"
CONFIG_FILE = "config.pbtxt"
ReadDefault = Callable[[str, bytes], str | None]
"""Takes the name of a model and the content of its ``config.pbtxt``, and returns the name of its ONNX files, or None.
May raise StoreError."""
_LIKE_A_NUMBER = re.compile(r"[vV]?[0-9][0-9._-]*")
_OF_FILE_SYSTEMS = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True)
class Unusable:
    """An entry that cannot be served. ``version`` is the name of its folder; "" if it belongs to no version."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a model's folder: usable versions by number, oldest first, and entries that cannot be used."""

    folders: Mapping[int, Path]
    unusable: Sequence[Unusable] = ()
    default_filename: str | None = None
    """The name of its ONNX files, if a configuration gives one."""

    @property
    def why(self) -> str:
        """Why entries cannot be used, as one text."""
        return "; ".join(each.reason for each in self.unusable)


def list_store(boundary: Boundary, read_default: ReadDefault | None = None) -> dict[str, Contents]:
    """The contents of a store, by model name. Raises OSError if the store itself cannot be read."""
    if not boundary.root.is_dir():
        return {}
    with os.scandir(boundary.root) as entries:
        names = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    found = {}
    for entry in names:
        if entry.name not in _OF_FILE_SYSTEMS:
            contents = _list_entry(entry, boundary, read_default)
            if contents is not None:
                found[escape(entry.name)] = contents
    return found


def _list_entry(entry: os.DirEntry[str], boundary: Boundary, read_default: ReadDefault | None) -> Contents | None:
    """The contents of one entry of the root; None for a file that is no model, or if all versions were removed."""
    try:
        if not _is_folder(entry, boundary):
            if not is_onnx(entry.name):
                return None
            stem = entry.name[: -len(".onnx")]
            raise BadLayout(
                f"{escape(entry.name)} lies in the store itself: expected the folder of a model: move it to "
                f"{escape(stem)}/1/{PLAIN_FILE}"
            )
        if not NAME.fullmatch(entry.name):
            raise BadLayout(f"the name of a model's folder: expected {NAME_RULE}, got {entry.name!r}: rename it")
        contents = list_model(entry.name, Path(entry.path), boundary, read_default)
        return contents if contents.folders or contents.unusable else None
    except StoreError as error:
        return _refuse(entry.name, str(error))
    except OSError as error:
        return _refuse(entry.name, f"{escape(entry.name)} cannot be read: {tell_why(error)}")
    except Exception:  # whatever is wrong with one model, the others are listed
        logger.exception("%s cannot be listed", escape(entry.name))
        return _refuse(entry.name, f"{escape(entry.name)} cannot be read: listing it failed unexpectedly")


def _refuse(name: str, reason: str) -> Contents:
    return Contents({}, (Unusable(escape(name), "", reason),))


def list_model(name: str, folder: Path, boundary: Boundary, read_default: ReadDefault | None = None) -> Contents:
    """The contents of a model's folder; empty if all its versions were removed by command.

    Raises BadLayout if it cannot be read, and what ``read_default`` raises.
    """
    entries = list_entries(folder, boundary)
    default = None
    if read_default is not None and any(entry.name == CONFIG_FILE for entry in entries):
        default = read_default(name, boundary.read(folder / CONFIG_FILE, MOST_CONFIG_BYTES))
    folders: dict[int, Path] = {}
    unusable: list[Unusable] = []
    for entry in entries:
        try:
            if NUMBER.fullmatch(entry.name):
                _check_version(entry, boundary, default)
                folders[int(entry.name)] = Path(entry.path)
            else:
                _check_other(entry, boundary)
        except BadLayout as error:
            unusable.append(Unusable(name, escape(entry.name), str(error)))
        except OSError as error:
            reason = f"{boundary.where(Path(entry.path))} cannot be read: {tell_why(error)}"
            unusable.append(Unusable(name, escape(entry.name), reason))
    flat = [entry.name for entry in entries if is_onnx(entry.name) or entry.name == MANIFEST_FILE]
    if flat:
        try:
            _check_flat(name, flat, [e.name for e in entries if NUMBER.fullmatch(e.name)])
            find_onnx(folder, boundary, default)
            folders[1] = folder
        except BadLayout as error:
            unusable.append(Unusable(name, "", str(error)))
    removed = any(entry.name == HISTORY_FILE for entry in entries)  # it had versions, which were all removed
    if not folders and not unusable and not removed:
        there = f"holds {show_names(e.name for e in entries)} but no version" if entries else "is empty"
        unusable.append(Unusable(name, "", f"{name} {there}: expected the file {name}/1/{PLAIN_FILE}"))
    return Contents(dict(sorted(folders.items())), tuple(unusable), default)


def _check_version(entry: os.DirEntry[str], boundary: Boundary, default_filename: str | None) -> None:
    """Raise BadLayout if a folder with a number for its name holds no model."""
    if not _is_folder(entry, boundary):
        where = boundary.where(Path(entry.path))
        raise BadLayout(
            f"{where} is a file: expected a folder with {PLAIN_FILE} in it: move the file into such a folder"
        )
    inside = list_entries(entry.path, boundary)
    if any(each.name == MANIFEST_FILE for each in inside):
        return
    if default_filename or choose_onnx(entry.path, inside, boundary).is_dir():
        find_onnx(Path(entry.path), boundary, default_filename)


def _check_other(entry: os.DirEntry[str], boundary: Boundary) -> None:
    """Raise BadLayout if a folder without a number for its name was meant to be a version."""
    if is_onnx(entry.name) or not _is_folder(entry, boundary):
        return
    if _LIKE_A_NUMBER.fullmatch(entry.name) or any(_holds_model(entry, boundary)):
        raise BadLayout(
            f"{boundary.where(Path(entry.path))} is no version: expected a whole number from 1 as its name, without "
            "leading zeros, at most 18 digits: rename it"
        )


def _holds_model(entry: os.DirEntry[str], boundary: Boundary) -> Iterator[bool]:
    for inside in list_entries(entry.path, boundary):
        yield is_onnx(inside.name) or inside.name == MANIFEST_FILE


def _check_flat(name: str, files: Sequence[str], versions: Sequence[str]) -> None:
    """Raise BadLayout unless the files in the folder of a model can only be version 1."""
    if versions:
        raise BadLayout(
            f"{name} holds {show_names(files)} beside the versions {show_names(versions)}: expected versions only: "
            "move the file to serve into a version of its own, and remove the rest"
        )
    if MANIFEST_FILE in files:
        raise BadLayout(f"{name} holds {MANIFEST_FILE}: expected it in {name}/1: move it and its files there")
    if NUMBER.fullmatch(name):
        raise BadLayout(
            f"{name} holds {show_names(files)} and has a number for its name: expected the name of a model: if this "
            "is a version, give the folder above as the store, else rename it"
        )


def _is_folder(entry: os.DirEntry[str], boundary: Boundary) -> bool:
    """Whether an entry is a folder. Raises BadLayout for a broken link, and for a link to a folder or model outside of
    the store."""
    is_folder = entry.is_dir()
    if entry.is_symlink() and (is_folder or is_onnx(entry.name) or not os.path.exists(entry.path)):
        boundary.resolve(Path(entry.path))
    return is_folder
