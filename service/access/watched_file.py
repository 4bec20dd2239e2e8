"""Files that are read again when they change. Nothing polls them: their users ask, and most calls cost nothing."""

import os
from collections.abc import Sequence
from pathlib import Path

Stamp = tuple[tuple[int, int, int] | None, ...]


class WatchedFiles:
    """Looks at files at most every ``every_s`` seconds. Time is an argument, of a monotonic clock."""

    def __init__(self, paths: Sequence[Path], every_s: float = 1.0) -> None:
        self._paths = paths
        self._every_s = every_s
        self._next_look = 0.0
        self._stamp = self._read_stamp()

    def have_changed(self, now: float) -> bool:
        """Whether the files have changed since this last returned True, or since the start."""
        if now < self._next_look:
            return False
        self._next_look = now + self._every_s
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        return True

    def _read_stamp(self) -> Stamp:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Identifies the content of a file. With the inode, because Kubernetes replaces files of the same time and size."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
