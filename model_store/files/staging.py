"""The hidden folder in which a version is written before it gets its number.

Whoever writes one holds a lock on it, of which the kernel lets go when the process ends, however it does. So what is
not locked was left by somebody who was killed, and is swept. New ones are made and old ones swept under the lock of the
folder around: nobody sees one that is not locked yet. A file system without locks keeps what was left.
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
    """One process and thread at a time; the lock goes with whoever holds it. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder in ``folder``, which is made where it is missing. The block renames it, or it is removed."""
    temporary, lock = _make(folder)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds something
            folder.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)


def sweep(folder: Path) -> list[Path]:
    """Remove what killed processes have left in the folder of a model, and the folder if nothing else is in it.

    Returns what was removed. Nothing happens where there is none, or nothing may be changed.
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
        with contextlib.suppress(FileNotFoundError):  # somebody has swept it away again
            try:
                with locked(folder):
                    _sweep(folder)
                    return _begin(folder)
            except FileNotFoundError:
                raise
            except OSError:  # no locks here; what else may be wrong is so again
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder)), None
    raise FileNotFoundError(f"{folder} is removed again and again")


def _begin(folder: Path) -> tuple[Path, int]:
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    lock = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return temporary, lock


def _sweep(folder: Path) -> list[Path]:
    removed = []
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody is writing it, or it is not ours to remove
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
                removed.append(path)
            finally:
                os.close(lock)
    return removed
