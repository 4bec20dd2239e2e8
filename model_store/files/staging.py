"""The hidden folder in which a version is written before it gets its number.

The writer holds a lock on the folder, which the kernel releases when the process ends in any way. So an unlocked folder
was left by a killed writer and can be removed. Folders are made and swept under the lock of the parent folder, so
nobody sees one before it is locked. Without file locks, nothing is removed.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".publish-"
_MOST_TRIES = 100


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process and thread at a time run the block. The lock ends with its holder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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


def sweep(folder: Path) -> list[Path]:
    """Remove what killed processes left in the folder of a model, and the folder itself if it is then empty.

    Returns what was removed. Does nothing if there is no folder or no permission.
    """
    removed: list[Path] = []
    with contextlib.suppress(OSError):
        if any(folder.glob(f"{_PREFIX}*")):
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
            except OSError:  # no locks here; any other fault would show again below
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder)), None
    raise FileNotFoundError(f"{folder} is removed as soon as it is made: stop the process that removes it")


def _begin(folder: Path) -> tuple[Path, int]:
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    lock = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return temporary, lock


def _sweep(folder: Path) -> list[Path]:
    removed = []
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody is writing it, or we may not remove it
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
                removed.append(path)
            finally:
                os.close(lock)
    return removed
