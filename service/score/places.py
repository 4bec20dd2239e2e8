"""Files and folders, local or in S3.

A file appears complete or not at all: a local file gets its name after it was synced, and an object in S3 appears when
its upload is complete.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pyarrow
from pyarrow import fs

from service.score.errors import ScoreError

_S3 = "s3://"
_COPIED_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file in a folder. ``name`` is its path in the folder; ``stamp`` changes when the file changes."""

    name: str
    path: str
    size_bytes: int
    stamp: int


@dataclass(frozen=True)
class Place:
    """A path in a file system, which need not exist. ``shown`` is the path as the user writes it."""

    filesystem: Any
    path: str
    shown: str

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The suffix in lower case, with its dot; "" without one."""
        return os.path.splitext(self.name)[1].lower()

    @property
    def parent(self) -> "Place":
        return replace(self, path=self.path.rpartition("/")[0] or "/", shown=self.shown.rpartition("/")[0] or "/")

    def join(self, name: str) -> "Place":
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", shown=f"{self.shown.rstrip('/')}/{name}")

    def kind(self) -> str:
        """ "file", "folder", or "" if there is nothing. Raises ScoreError."""
        try:
            found = self.filesystem.get_file_info(self.path).type
        except OSError as error:
            raise ScoreError(f"{self.shown} cannot be looked at: {error}") from None
        return {fs.FileType.File: "file", fs.FileType.Directory: "folder"}.get(found, "")

    def describe(self) -> Entry:
        """The entry of this file. Raises ScoreError if it is not a file."""
        found = self.filesystem.get_file_info(self.path)
        if found.type != fs.FileType.File:
            raise ScoreError(f"{self.shown}: expected a file, there is none")
        return _describe(found, found.base_name)

    def walk(self) -> Iterator[Entry]:
        """The files below, sorted by path. Files and folders whose names begin with . or _ are skipped."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=True))
        start = len(self.path.rstrip("/")) + 1
        names = sorted((info.path[start:], info) for info in found if info.type == fs.FileType.File)
        for name, info in names:
            if not any(part.startswith((".", "_")) for part in name.split("/")):
                yield _describe(info, name)

    def open(self) -> IO[bytes]:
        """Open for reading, with seeks. Raises OSError."""
        opened: IO[bytes] = self.filesystem.open_input_file(self.path)
        return opened

    def read(self) -> bytes:
        """Raises OSError."""
        with self.open() as file:
            return file.read()

    def make_folder(self) -> None:
        """Make the folder, if it is local. S3 has no folders."""
        if self.is_local:
            os.makedirs(self.path, exist_ok=True)

    def write(self, content: Any) -> None:
        """Write the whole file from bytes or a buffer. Raises OSError."""
        self.write_pieces(iter([content]))

    def write_pieces(self, pieces: Iterator[Any], staged_in: "Place | None" = None) -> None:
        """Write the whole file, which appears when all pieces are written. Raises OSError.

        Until then a local file is in the folder ``staged_in`` of the same file system; by default in its own folder.
        """
        if not self.is_local:
            with self.filesystem.open_output_stream(self.path) as stream:
                for piece in pieces:
                    stream.write(piece)
            return
        folder, name = os.path.split(self.path)
        number, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder if staged_in is None else staged_in.path)
        try:
            with open(number, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(number)
                os.fchmod(number, 0o666 & ~_umask())
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise
        _sync_folder(folder)

    def remove(self) -> None:
        """Remove the file, if it is there."""
        if self.kind() == "file":
            self.filesystem.delete_file(self.path)

    def remove_folder(self) -> None:
        """Remove an empty folder. In S3, Arrow leaves an object in its place. Raises OSError."""
        if self.is_local:
            os.rmdir(self.path)
        else:
            self.filesystem.delete_dir(self.path)


def open_place(text: str) -> Place:
    """A path, or s3://BUCKET/KEY. Raises ScoreError."""
    if not text.startswith(_S3):
        if "://" in text:
            scheme = text.partition("://")[0]
            raise ScoreError(f"{text}: expected a path or s3://BUCKET/KEY, got {scheme}://: copy it to one of these")
        return Place(fs.LocalFileSystem(), str(Path(text).absolute()), text)
    path = text.removeprefix(_S3).rstrip("/")
    if not path:
        raise ScoreError(f"{text}: expected s3://BUCKET/KEY, got no bucket")
    return Place(_open_s3(), path, text.rstrip("/"))


def copy_pieces(place: Place) -> Iterator[bytes]:
    """The content of a file, piece by piece. Raises OSError."""
    with place.open() as file:
        while piece := file.read(_COPIED_BYTES):
            yield piece


def _open_s3() -> Any:
    """S3 by the variables of the environment. AWS_ENDPOINT_URL is for stores other than Amazon's."""
    given: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        given |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        given["region"] = region
    try:
        return fs.S3FileSystem(**given)
    except (AttributeError, pyarrow.ArrowException, OSError) as error:  # a build of pyarrow without S3
        raise ScoreError(f"s3:// cannot be used: {error}") from None


def _describe(info: Any, name: str) -> Entry:
    return Entry(name, info.path, info.size or 0, info.mtime_ns or 0)


def _sync_folder(folder: str) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _umask() -> int:
    """The umask of this process. It can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
