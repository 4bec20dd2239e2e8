"""Reads from the manifest which files a version of a remote store has, and their digests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from model_store.errors import IntegrityError
from model_store.files.reading import MOST_CONFIG_BYTES, MOST_TEXT_BYTES
from model_store.manifest import MANIFEST_FILE, Sha256
from model_store.remote.contents import RemoteFile
from model_store.remote.plan import find_marks, mark_of
from model_store.remote.transfers.blobs import Blobs
from model_store.remote.transfers.transfer import Transfer, Want

_MOST_UNLISTED_BYTES = MOST_CONFIG_BYTES
"""The most bytes of a file that the manifest does not list, such as a signature."""


class _File(BaseModel):
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class _Files(BaseModel):
    """The part of a manifest that is the same in every schema. The rest is checked when the version is loaded."""

    files: dict[Annotated[str, StringConstraints(min_length=1, max_length=200)], _File]


@dataclass(slots=True)
class Incoming:
    """A version to be fetched or completed. ``manifest`` is the digest of its manifest, "" without one."""

    name: str
    number: int
    marks: dict[str, str]
    manifest: str
    here: dict[str, str]
    """The digests of the files that were already fetched, by path."""
    wants: dict[str, Want]
    """The files to be fetched, by path."""
    is_here: bool = False
    """Whether the version is in the folder and only lacks these files."""

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.number

    @property
    def mark(self) -> str:
        return mark_of(self.marks)

    def digests(self, fetched: Mapping[str, str]) -> dict[str, str]:
        """The digests of all files by path. ``fetched`` has those of the fetched ones by their keys."""
        return {**self.here, **{path: fetched[want.key] for path, want in self.wants.items()}}


def read_incoming(transfer: Transfer, blobs: Blobs, name: str, number: int, files: dict[str, RemoteFile]) -> Incoming:
    """Read the manifest of a version. Raises IntegrityError if the version is not whole, RemoteError, OSError."""
    where = f"{name}/{number}"
    incoming = Incoming(name, number, find_marks(files), "", {}, {})
    if MANIFEST_FILE not in files:
        for path, file in files.items():
            assert file.size is not None  # noqa: S101  # ``sort_files`` leaves others out
            key = f"plain-{mark_of({f'{where}/{path} {file.where}': file.mark})}"
            incoming.wants[path] = Want(file.sha256 or key, f"{where}/{path}", file, file.size, file.sha256)
        return incoming
    content = transfer.read_small(files[MANIFEST_FILE], MOST_TEXT_BYTES, f"{where}/{MANIFEST_FILE}")
    try:
        listed = _Files.model_validate_json(content).files
    except ValidationError:
        raise IntegrityError(f"{where}/{MANIFEST_FILE} does not list files with their digests: publish again") from None
    if MANIFEST_FILE in listed or any("/" in path for path in listed):
        raise IntegrityError(f"{where}/{MANIFEST_FILE} lists a file that no version can have")
    incoming.manifest = incoming.here[MANIFEST_FILE] = blobs.add(content)
    for path, expected in listed.items():
        there = files.get(path)
        if there is None:
            raise IntegrityError(f"{where} is not whole: {path} is not there (yet)")
        if there.size not in (None, expected.size_bytes):
            raise IntegrityError(
                f"{where}/{path}: expected {expected.size_bytes} bytes, as its manifest says, there are {there.size}"
            )
        incoming.wants[path] = Want(expected.sha256, f"{where}/{path}", there, expected.size_bytes, expected.sha256)
    for path in files.keys() - listed.keys() - {MANIFEST_FILE}:
        small = transfer.read_small(
            files[path], _MOST_UNLISTED_BYTES, f"{where}/{path}, which its manifest does not list,"
        )
        incoming.here[path] = blobs.add(small)
    return incoming
