"""What lies in a store: the versions that can be used, and why everything else that looks like one cannot.

Nothing is passed over without a word but what is hidden (a leading dot), files that are no models, and folders that are
neither versions nor hold a model. What cannot be read or is no folder spoils nothing else.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import BadLayout, StoreError
from model_store.files.links import Boundary, show_name, tell_why
from model_store.files.reading import MOST_CONFIG_BYTES
from model_store.manifest import MANIFEST_FILE
from model_store.plain import PLAIN_FILE, choose_onnx, find_onnx, is_onnx, list_entries, show_names

logger = logging.getLogger("sluice.store")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NUMBER = re.compile(r"[1-9][0-9]{0,17}")
NAME_RULE = "letters, digits, '.', '_', '-', 100 at most, the first a letter or digit"
CONFIG_FILE = "config.pbtxt"
ReadDefault = Callable[[str, bytes], str | None]
"""What the ``config.pbtxt`` of a model, by name and content, calls its ONNX files, or None. May raise StoreError."""
_LIKE_A_NUMBER = re.compile(r"[vV]?[0-9][0-9._-]*")
_OF_FILE_SYSTEMS = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something in the store that cannot serve. ``version`` is as its folder is called, "" where it is none of one."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """Of a model: the folder of each version that can be used, by number and oldest first, and the rest."""

    folders: Mapping[int, Path]
    unusable: Sequence[Unusable] = ()
    default_filename: str | None = None
    """Of the ONNX files of its versions, where a configuration gives it."""

    @property
    def why(self) -> str:
        """Why there is no more than there is, in one text."""
        return "; ".join(each.reason for each in self.unusable)


def list_store(boundary: Boundary, read_default: ReadDefault | None = None) -> dict[str, Contents]:
    """What is in a store, by the names of the models. Raises OSError if the store itself cannot be read."""
    if not boundary.root.is_dir():
        return {}
    with os.scandir(boundary.root) as entries:
        names = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    found = {}
    for entry in names:
        if entry.name not in _OF_FILE_SYSTEMS:
            contents = _list_entry(entry, boundary, read_default)
            if contents is not None:
                found[show_name(entry.name)] = contents
    return found


def _list_entry(entry: os.DirEntry[str], boundary: Boundary, read_default: ReadDefault | None) -> Contents | None:
    """Of something in the root; None for a file that is no model."""
    try:
        if not _is_folder(entry, boundary):
            if not is_onnx(entry.name):
                return None
            stem = entry.name[: -len(".onnx")]
            raise BadLayout(
                f"{show_name(entry.name)} lies in the store itself: expected the folder of a model: move it to "
                f"{show_name(stem)}/1/{PLAIN_FILE}"
            )
        if not NAME.fullmatch(entry.name):
            raise BadLayout(f"the name of a model's folder: expected {NAME_RULE}, got {entry.name!r}: rename it")
        return list_model(entry.name, Path(entry.path), boundary, read_default)
    except StoreError as error:
        return _refuse(entry.name, str(error))
    except OSError as error:
        return _refuse(entry.name, f"{show_name(entry.name)} cannot be read: {tell_why(error)}")
    except Exception:  # whatever is wrong with one model, the others are listed
        logger.exception("%s cannot be listed", show_name(entry.name))
        return _refuse(entry.name, f"{show_name(entry.name)} cannot be read: listing it failed unexpectedly")


def _refuse(name: str, reason: str) -> Contents:
    return Contents({}, (Unusable(show_name(name), "", reason),))


def list_model(name: str, folder: Path, boundary: Boundary, read_default: ReadDefault | None = None) -> Contents:
    """What is in the folder of a model. Raises BadLayout if it cannot be read, and as ``read_default`` does."""
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
            unusable.append(Unusable(name, show_name(entry.name), str(error)))
        except OSError as error:
            reason = f"{boundary.where(Path(entry.path))} cannot be read: {tell_why(error)}"
            unusable.append(Unusable(name, show_name(entry.name), reason))
    flat = [entry.name for entry in entries if is_onnx(entry.name) or entry.name == MANIFEST_FILE]
    if flat:
        try:
            _check_flat(name, flat, [e.name for e in entries if NUMBER.fullmatch(e.name)])
            find_onnx(folder, boundary, default)
            folders[1] = folder
        except BadLayout as error:
            unusable.append(Unusable(name, "", str(error)))
    if not folders and not unusable:
        there = f"holds {show_names(e.name for e in entries)} but no version" if entries else "is empty"
        unusable.append(Unusable(name, "", f"{name} {there}: expected the file {name}/1/{PLAIN_FILE}"))
    return Contents(dict(sorted(folders.items())), tuple(unusable), default)


def _check_version(entry: os.DirEntry[str], boundary: Boundary, default_filename: str | None) -> None:
    """Raises BadLayout where a folder with a number for its name holds no model."""
    if not _is_folder(entry, boundary):
        where = boundary.where(Path(entry.path))
        raise BadLayout(f"{where} is a file: expected a folder with {PLAIN_FILE} in it")
    inside = list_entries(entry.path, boundary)
    if any(each.name == MANIFEST_FILE for each in inside):
        return
    if default_filename or choose_onnx(entry.path, inside, boundary).is_dir():
        find_onnx(Path(entry.path), boundary, default_filename)


def _check_other(entry: os.DirEntry[str], boundary: Boundary) -> None:
    """Raises BadLayout where a folder without a number for its name was meant to be a version."""
    if is_onnx(entry.name) or not _is_folder(entry, boundary):
        return
    if _LIKE_A_NUMBER.fullmatch(entry.name) or any(_holds_model(entry, boundary)):
        raise BadLayout(
            f"{boundary.where(Path(entry.path))} is no version: expected a whole number from 1 as its name, without "
            "leading zeros, 18 digits at most: rename it"
        )


def _holds_model(entry: os.DirEntry[str], boundary: Boundary) -> Iterator[bool]:
    for inside in list_entries(entry.path, boundary):
        yield is_onnx(inside.name) or inside.name == MANIFEST_FILE


def _check_flat(name: str, files: Sequence[str], versions: Sequence[str]) -> None:
    """Raises BadLayout unless what lies in the folder of its model can only be meant as version 1."""
    if versions:
        raise BadLayout(
            f"{name} holds {show_names(files)} beside the versions {show_names(versions)}: expected versions only: "
            "move what is to serve into a version of its own, and remove the rest"
        )
    if MANIFEST_FILE in files:
        raise BadLayout(f"{name} holds {MANIFEST_FILE}: expected it in {name}/1: move it and its files there")
    if NUMBER.fullmatch(name):
        raise BadLayout(
            f"{name} holds {show_names(files)} and has a number for its name: expected the name of a model: give the "
            "folder above as the store if this is a version, else rename it"
        )


def _is_folder(entry: os.DirEntry[str], boundary: Boundary) -> bool:
    """Raises BadLayout for a link out of the store to a folder or a model, and for a link to nothing."""
    is_folder = entry.is_dir()
    if entry.is_symlink() and (is_folder or is_onnx(entry.name) or not os.path.exists(entry.path)):
        boundary.resolve(Path(entry.path))
    return is_folder
