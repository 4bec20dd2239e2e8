"""Writes files so that they are whole or absent after a crash, whatever crashed."""

import os
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file, down to the disk. Raises FileExistsError if there is one."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder down to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, staging: Path | None = None) -> None:
    """Let a file have this content, at once. The caller holds a lock that keeps other writers of it away.

    The new file is first written hidden beside the old one, or in the folder ``staging`` of the same file system.
    """
    temporary = (staging or path.parent) / f".{path.stem}-{os.getpid()}"
    temporary.unlink(missing_ok=True)  # left by a process that died
    write_synced(temporary, content)
    os.replace(temporary, path)
    sync_folder(path.parent)
