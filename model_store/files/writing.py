"""Writes files of a store so that they are whole or absent, even after a power failure."""

import errno
import os
from pathlib import Path

from model_store.errors import NotWritable
from model_store.files.links import tell_why

FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""The errors of a folder that this process may not change."""
_PERMISSION = "run the command as a user who may write there, or change the permissions of the folder"
_NO_LOCKS = "its file system has no locks: change the store from where it comes"
_ADVICE = {
    errno.EROFS: "mount it so that it can be written, or change the store from where it comes",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk, or raise the quota",
    errno.EBADF: _NO_LOCKS,
    errno.ENOLCK: _NO_LOCKS,
    errno.ENOTSUP: _NO_LOCKS,
}


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file. Raises OSError, also if the file exists."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_synced(path: Path, content: bytes, hidden_in: Path | None = None) -> None:
    """Replace a file as a whole: a reader sees the old content or the new one. Only one caller at a time may do this.

    The content is first written into a hidden file in the folder ``hidden_in``, by default that of ``path``. Raises
    OSError.
    """
    temporary = (hidden_in or path.parent) / f".{path.name}.new"
    temporary.unlink(missing_ok=True)  # left by a process that died
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain(error: OSError, folder: Path) -> NotWritable:
    """The error for the owner of a store: which folder cannot be changed, why, and what to do."""
    advice = _ADVICE.get(error.errno or 0, "try again when that is repaired")
    return NotWritable(f"{folder} cannot be changed: {tell_why(error)}: {advice}")
