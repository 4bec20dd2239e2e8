"""What a mirror remembers between refreshes, in files beside its folder."""

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from model_store.files.writing import replace_synced

STATE_FILE = "state.json"
STATUS_FILE = "status.json"
_T = TypeVar("_T", bound=BaseModel)


class Kept(BaseModel):
    """A version in the folder: the marks of its files when they were fetched."""

    marks: dict[str, str]
    manifest: str = ""
    """The digest of its manifest; "" without one."""


class KeptFile(BaseModel):
    """A file that all versions of a model share."""

    mark: str
    sha256: str
    first_seen_s: float
    """When the mark was first seen."""
    read_s: float
    """When it was last read."""


class State(BaseModel):
    url: str = ""
    versions: dict[str, dict[int, Kept]] = {}
    beside: dict[str, dict[str, KeptFile]] = {}


class Status(BaseModel):
    """Whether the remote store can be followed. Times are in seconds since 1970."""

    url: str = ""
    tried_s: float = 0.0
    """When it was last listed, or that failed."""
    looked_s: float = 0.0
    """When it was last listed with success; 0: never."""
    away: str = ""
    """Why it is away; "" if it answers."""
    away_since_s: float = 0.0
    problems: dict[str, dict[int, str]] = {}
    """Why versions cannot be fetched, by model."""

    def tell(self, name: str, version: int | None = None) -> str:
        """Why a model, or a version of it, is not as in the remote store; "" if it is."""
        found = self.problems.get(name, {})
        faults = [f"version {number}: {why}" for number, why in sorted(found.items()) if version in (None, number)]
        if self.away:
            faults.append(f"the store {self.url} cannot be followed, and its copy serves: {self.away}")
        return "; ".join(faults)


def read_state(folder: Path) -> State:
    return _read(folder / STATE_FILE, State)


def write_state(folder: Path, state: State) -> None:
    """Raises OSError."""
    replace_synced(folder / STATE_FILE, state.model_dump_json().encode())


def read_status(folder: Path) -> Status:
    return _read(folder / STATUS_FILE, Status)


def write_status(folder: Path, status: Status) -> None:
    """Raises OSError. The file is not synced: after a crash the next refresh writes it again."""
    temporary = folder / f".{STATUS_FILE}.new"
    temporary.write_bytes(status.model_dump_json().encode())
    os.replace(temporary, folder / STATUS_FILE)


def _read(path: Path, kind: type[_T]) -> _T:
    """What the file holds; an empty value if it cannot be read, so that everything is compared once more."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return kind()
