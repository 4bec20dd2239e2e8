"""Versions whose load has ended a process, such as by a kernel that divides by zero.

A process that has ended says nothing. So a worker notes each load in a file while it goes on, in the folder that the
workers of a server share, and the supervisor reads what a worker leaves there. Several may have been loaded at once:
each is suspect, and is loaded alone the next time. One that ends the process alone is given up until somebody asks for
it, for the others to serve.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CRASHES = {
    -number: number.name for number in (signal.SIGFPE, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
}
"""How a process ends by what it does itself. Whoever kills one has other reasons than the file."""
_ALONE, _CERTAIN = "alone", "certain"


class Crash(NamedTuple):
    """The signal by which a process ended that loaded a version; ``is_certain``: it loaded nothing else."""

    signal: str
    is_certain: bool

    @property
    def reason(self) -> str:
        return f"the process that loaded it ended by {self.signal}: mend the file, then load it again"


class LoadNotes:
    """Of one worker. Without a folder nothing is noted. Names are those that the store allows: files may have them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, name: str, version: int) -> Crash | None:
        """What is known of a version."""
        if self._folder is None:
            return None
        try:
            how, _, verdict = _record(self._folder, f"{name}-{version}").read_text().partition(" ")
        except OSError:
            return None
        return Crash(how, verdict == _CERTAIN)

    @contextlib.contextmanager
    def loading(self, name: str, version: int, *, alone: bool) -> Iterator[None]:
        """While this goes on. One that ends without an end of the process is suspect no more."""
        if self._folder is None:
            yield
            return
        note = self._folder / f"{name}-{version}.{os.getpid()}.load"
        with contextlib.suppress(OSError):
            note.write_text(_ALONE if alone else "")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)
                _record(self._folder, f"{name}-{version}").unlink(missing_ok=True)


def _record(folder: Path, version: str) -> Path:
    return folder / f"{version}.crash"


def find_blame(folder: Path | None, pid: int, code: int) -> list[str]:
    """The versions that a worker was loading when it ended with a code, to be suspect or given up."""
    if folder is None:
        return []
    notes = {note.name.removesuffix(f".{pid}.load"): note for note in folder.glob(f"*.{pid}.load")}
    alone = {version for version, note in notes.items() if note.read_text() == _ALONE}
    blamed = sorted(alone or notes) if code in _CRASHES else []
    for version in blamed:
        _record(folder, version).write_text(f"{_CRASHES[code]} {_CERTAIN if version in alone else 'suspect'}")
    for note in notes.values():
        note.unlink(missing_ok=True)
    return blamed
