"""The files of regions: opened by name below one folder, never by a path; read and written, never mapped."""

import contextlib
import fnmatch
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from service.errors import Forbidden, InvalidInput

FOLDER: Final = Path("/dev/shm")  # noqa: S108  # where the system keeps these
READ_ONLY: Final = ":ro"
"""The end of a pattern whose regions are not written."""
_MOST_CHARACTERS: Final = 255


class Registration(NamedTuple):
    """A region: ``size_bytes`` bytes of a file from ``offset`` on. ``owner`` is the name of the caller's key, or "".

    ``file`` is the device and the inode of the file.
    """

    name: str
    key: str
    offset: int
    size_bytes: int
    owner: str
    file: tuple[int, int]


class SharedFolder:
    """Opens files. ``patterns`` are those of the setting."""

    def __init__(self, patterns: Sequence[str], folder: Path = FOLDER) -> None:
        self._patterns = [(each.removesuffix(READ_ONLY), not each.endswith(READ_ONLY)) for each in patterns]
        self._folder = folder

    def identify(self, key: str, end: int) -> tuple[int, int]:
        """The device and inode of a key's file, which must have ``end`` bytes. Raises Forbidden, InvalidInput."""
        file, _ = self._open(key)
        try:
            found = os.fstat(file)
            if found.st_size < end:
                raise InvalidInput(f"byte_size: expected a region within the {found.st_size} bytes of {key!r:.60}")
            return found.st_dev, found.st_ino
        finally:
            os.close(file)

    def is_there(self, registration: Registration) -> bool:
        """Whether the file of a region still exists under its name."""
        try:
            found = os.stat(self._folder / registration.key.removeprefix("/"), follow_symlinks=False)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == registration.file

    def open(self, registration: Registration) -> "OpenRegion":
        """Raises Forbidden, InvalidInput."""
        file, may_write = self._open(registration.key)
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != registration.file:
            os.close(file)
            raise InvalidInput(f"{_called(registration)}: its file is another one now: register it again")
        return OpenRegion(registration, file, may_write)

    def _open(self, key: str) -> tuple[int, bool]:
        """The file of a key, and whether it may be written."""
        name = key.removeprefix("/")
        if not name or len(name) > _MOST_CHARACTERS or name in (".", "..") or "/" in name or "\0" in name:
            raise InvalidInput(f"key: expected a name such as /frames, without a path, got {key!r:.60}")
        may_write = next((writes for pattern, writes in self._patterns if fnmatch.fnmatchcase(name, pattern)), None)
        if may_write is None:
            raise Forbidden(f"key {key!r:.60}: SLUICE_SHARED_MEMORY does not allow this name")
        flags = (os.O_RDWR if may_write else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            # Checked before it is opened, because opening a device may have side effects.
            if not stat.S_ISREG(os.stat(self._folder / name, follow_symlinks=False).st_mode):
                raise InvalidInput(f"key {key!r:.60}: expected a region of shared memory, got another kind of file")
            file = os.open(self._folder / name, flags)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InvalidInput(f"key {key!r:.60}: expected a region that this server can open: {reason}") from None
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(file)
            raise InvalidInput(f"key {key!r:.60}: expected a region with one name, got a link or another kind of file")
        return file, may_write


class OpenRegion:
    """The open file of a region. Any thread may read and write until it is closed."""

    def __init__(self, registration: Registration, file: int, may_write: bool) -> None:
        self.registration, self.may_write = registration, may_write
        self._file = file
        self._changed = threading.Condition()
        self._transfers = 0
        self._is_closed = False

    def check(self, offset: int, size_bytes: int) -> None:
        """Raises InvalidInput if a part is not within the region."""
        if offset + size_bytes > self.registration.size_bytes:
            raise InvalidInput(
                f"{_called(self.registration)}: expected a part of its {self.registration.size_bytes} bytes, "
                f"got {size_bytes} from {offset} on"
            )

    def read(self, offset: int, size_bytes: int) -> memoryview:
        """A copy of a part of the region. Raises InvalidInput if the file has become shorter."""
        self.check(offset, size_bytes)
        content = np.empty(size_bytes, np.uint8).data  # unlike a bytearray it is not filled first
        at, begin = 0, self.registration.offset + offset
        with self._transferring() as file:
            while at < size_bytes:
                count = os.preadv(file, [content[at:]], begin + at)
                if not count:
                    raise self._shrunk()
                at += count
        return content

    def write(self, offset: int, content: bytes | memoryview) -> None:
        """Write at an offset of the region. Raises InvalidInput if the file has become shorter or cannot be written."""
        self.check(offset, len(content))
        left, begin = memoryview(content), self.registration.offset + offset
        with self._transferring() as file:
            if os.fstat(file).st_size < begin + len(left):
                raise self._shrunk()  # to write would make it longer again
            try:
                while left:
                    count = os.pwrite(file, left, begin)
                    left, begin = left[count:], begin + count
            except OSError as error:
                raise InvalidInput(f"{_called(self.registration)}: it cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Close the file when the transfers in progress have ended; no other begins."""
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            self._changed.wait_for(lambda: not self._transfers)
        if not was_closed:
            os.close(self._file)

    @contextlib.contextmanager
    def _transferring(self) -> Iterator[int]:
        with self._changed:
            if self._is_closed:
                raise InvalidInput(f"{_called(self.registration)}: it is no longer registered")
            self._transfers += 1
        try:
            yield self._file
        finally:
            with self._changed:
                self._transfers -= 1
                self._changed.notify_all()

    def _shrunk(self) -> InvalidInput:
        return InvalidInput(f"{_called(self.registration)}: its file is shorter than when it was registered")


def _called(registration: Registration) -> str:
    return f"shared_memory_region {registration.name!r:.60}"
