"""Hidden folders, in which a version is written before it gets its number, and deleted after it is removed.

The process that writes or deletes holds a lock on the folder, which the kernel releases when the process ends in any
way. So an unlocked folder was left by a killed process, and can be removed. Folders are made and swept under the lock
of the parent folder, so nobody sees one before it is locked. If the file system has no locks, nothing is removed.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_store.files.writing import sync_folder

_PREFIX = ".publish-"
_REMOVED = ".removed-"
_MOST_TRIES = 100


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one thread of one process at a time run the block. The lock ends with its process. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_where_possible(folder: Path) -> Iterator[None]:
    """As ``locked``; if the file system has no locks, the block runs without one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(locked(folder))
        yield


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder in ``folder``, which is created if needed. It is removed unless the block renames it."""
    temporary, lock = _make(folder)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)


@dataclass(frozen=True, slots=True)
class Hidden:
    """A removed version under its hidden name. ``lock`` keeps others from sweeping it; None: there are no locks."""

    path: Path
    lock: int | None

    def delete(self) -> None:
        """Delete its files. Raises OSError; then ``sweep`` removes the rest."""
        try:
            shutil.rmtree(self.path) if self.path.is_dir() and not self.path.is_symlink() else self.path.unlink()
        finally:
            if self.lock is not None:
                os.close(self.lock)


def hide(path: Path) -> Hidden:
    """Give a version a hidden name, so that no reader finds only a part of it while it is deleted.

    A reader that has begun gets an error for the missing files, never wrong content. The caller holds the lock of the
    folder, and deletes the hidden version after it has released the lock. Raises OSError.
    """
    hidden = path.parent / f"{_REMOVED}{path.name}-{secrets.token_hex(4)}"
    lock = None
    if path.is_dir() and not path.is_symlink():
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # the file system has no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        os.rename(path, hidden)
    except OSError:
        if lock is not None:
            os.close(lock)
        raise
    sync_folder(path.parent)
    return Hidden(hidden, lock)


def sweep(folder: Path) -> list[Path]:
    """Remove what killed processes left in the folder of a model, and the folder itself if it is empty then.

    Returns the removed paths. Does nothing if there is no folder or no permission.
    """
    removed: list[Path] = []
    with contextlib.suppress(OSError):
        if any(_find_left(folder)):
            with locked(folder):
                removed = _sweep(folder)
            if removed:
                folder.rmdir()
    return removed


def _make(folder: Path) -> tuple[Path, int | None]:
    for _ in range(_MOST_TRIES):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has swept it away
            try:
                with locked(folder):
                    _sweep(folder)
                    return _begin(folder)
            except FileNotFoundError:
                raise
            except OSError:  # the file system has no locks; another fault would show again below
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder)), None
    raise FileNotFoundError(f"{folder} is removed as soon as it is made: stop the process that removes it")


def _begin(folder: Path) -> tuple[Path, int]:
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    lock = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return temporary, lock


def _find_left(folder: Path) -> list[Path]:
    return [*folder.glob(f"{_PREFIX}*"), *folder.glob(f"{_REMOVED}*")]


def _sweep(folder: Path) -> list[Path]:
    removed = []
    for path in _find_left(folder):
        with contextlib.suppress(OSError):  # another process is writing it, or we may not remove it
            if path.is_symlink() or not path.is_dir():  # a version that was a link
                path.unlink()
                removed.append(path)
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
                removed.append(path)
            finally:
                os.close(lock)
    return removed
