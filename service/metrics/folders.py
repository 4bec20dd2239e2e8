"""The folder that the workers of one server share, for their metrics and their sockets.

One server uses it at a time. Files of an earlier server are removed, or they would be counted again. BentoML's own
folder cannot be used: all BentoML services of a user share it, and each empties it when it starts.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service.settings import PREFIX, SettingsError

_LOCK = "server.lock"
_OURS = ("*.storage", "*.series", "*.worker", "*.forward", "*.rank", "*.load", "*.crash", "*.connections", "*.regions")


@contextlib.contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Lock a folder and remove an earlier server's files from it. The lock ends with the process.

    Raises SettingsError if another server uses the folder or it cannot be written.
    """
    said = f"{PREFIX}METRICS_DIR={folder}: expected a folder of this server's own that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"{said}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"{said}: another server has it") from None
        for pattern in _OURS:
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)


def find_shared_folder() -> Path | None:
    """The folder that this worker shares with the others of its parent process. For `bentoml serve`, which does not
    start our supervisor.

    Its name has the process id and the start of the parent, so it is unique. Folders of servers that have ended are
    removed. None if another user has made the folder.
    """
    uid, parent = os.getuid(), os.getppid()
    top = Path(tempfile.gettempdir())
    for old in top.glob(f"sluice-of-{uid}-*-*"):
        pid, _, start = old.name.removeprefix(f"sluice-of-{uid}-").partition("-")
        if not pid.isdigit() or _read_start(int(pid)) != start:
            shutil.rmtree(old, ignore_errors=True)
    folder = top / f"sluice-of-{uid}-{parent}-{_read_start(parent)}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder if folder.stat().st_uid == uid else None


def _read_start(pid: int) -> str:
    """When a process was started, in ticks since boot. (psutil's ``create_time`` changes when the clock is set.)"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "ended"
