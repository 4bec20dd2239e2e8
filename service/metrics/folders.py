"""The folder that the workers of one server share: their numbers, and the sockets by which they reach each other.

It belongs to one server at a time. What an earlier one left in it would be counted again, so it is removed. The folder
that BentoML gives its workers will not do: all BentoML services of a user have it, and each wipes it when it starts.
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
_OURS = ("*.storage", "*.series", "*.worker", "*.forward", "*.rank", "*.load", "*.crash")


@contextlib.contextmanager
def claim_folder(folder: Path) -> Iterator[None]:
    """Have a folder, emptied of an earlier server's files. The kernel lets go of it when the process ends, however.

    Raises SettingsError where another server has it, and where nothing can be written there.
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


def find_folder_of_siblings() -> Path | None:
    """The folder of the workers that this one's parent has started, for who has no supervisor of ours: `bentoml serve`.

    Its name has the parent's process id and when that was started, so no other server ever has it. Folders of servers
    that have ended are removed. None where somebody else has made the folder.
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
    """When a process was started, in ticks since the machine was; where there is no `/proc`, only whether it lives."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return "ended"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "ended"
    except PermissionError:
        pass
    return "0"
