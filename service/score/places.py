"""Files and folders that are local or in S3.

A file appears whole or not at all: a local one gets its name after it has been synced, and an object of S3 appears when
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
    """A file of a folder. ``name`` is its path in the folder; ``stamp`` changes when the file does."""

    name: str
    path: str
    size_bytes: int
    stamp: int


@dataclass(frozen=True)
class Place:
    """A path of a file system, which need not be there. ``shown`` is how the user writes it."""

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
        """In lower case, with its dot; "" without one."""
        return os.path.splitext(self.name)[1].lower()

    @property
    def parent(self) -> "Place":
        return replace(self, path=self.path.rpartition("/")[0] or "/", shown=self.shown.rpartition("/")[0] or "/")

    def join(self, name: str) -> "Place":
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", shown=f"{self.shown.rstrip('/')}/{name}")

    def kind(self) -> str:
        """ "file", "folder", or "" where there is nothing. Raises ScoreError."""
        try:
            found = self.filesystem.get_file_info(self.path).type
        except OSError as error:
            raise ScoreError(f"{self.shown} cannot be looked at: {error}") from None
        return {fs.FileType.File: "file", fs.FileType.Directory: "folder"}.get(found, "")

    def describe(self) -> Entry:
        """The file itself. Raises ScoreError."""
        found = self.filesystem.get_file_info(self.path)
        if found.type != fs.FileType.File:
            raise ScoreError(f"{self.shown}: expected a file, there is none")
        return _describe(found, found.base_name)

    def walk(self) -> Iterator[Entry]:
        """The files below, sorted by their paths; not those whose name, or whose folder's, begins with . or _."""
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
        """S3 has no folders."""
        if self.is_local:
            os.makedirs(self.path, exist_ok=True)

    def write(self, content: Any) -> None:
        """Write the whole file: bytes or a buffer. Raises OSError."""
        self.write_pieces(iter([content]))

    def write_pieces(self, pieces: Iterator[Any], staged_in: "Place | None" = None) -> None:
        """Write the whole file, which appears when all is written. Raises OSError.

        Until then it is in the folder ``staged_in``, of the same file system; by default in its own.
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
        """Remove a folder that is empty. Arrow leaves an object in place of one in S3. Raises OSError."""
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
    """S3 as the environment describes it: AWS_ENDPOINT_URL is for stores that are not Amazon's."""
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
    """There is no way to read it without setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
