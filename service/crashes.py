"""Remembers versions that crashed a worker while they loaded, such as by a division by zero in native code.

While a worker loads a version, it keeps a note in the folder that the workers share. If the worker crashes, the
supervisor reads the notes. If several versions were loading, each is a suspect and is loaded alone the next time. A
version that crashes a worker while it loads alone is not loaded again until somebody asks for it, so that the other
models can serve.
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
"""Exit code -> name of the signal of a crash. With another signal, the process was ended from outside."""
_ALONE, _CERTAIN = "alone", "certain"


class Crash(NamedTuple):
    """``signal`` ended a process that was loading the version. ``is_certain``: it was loading nothing else."""

    signal: str
    is_certain: bool

    @property
    def reason(self) -> str:
        return f"the process that loaded it ended by {self.signal}: mend the file, then load it again"


class LoadNotes:
    """The notes of one worker; without a folder it keeps none. Names of models can be names of files."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, name: str, version: int) -> Crash | None:
        """The recorded crash that the version has, or may have, caused."""
        if self._folder is None:
            return None
        try:
            how, _, verdict = _record(self._folder, f"{name}-{version}").read_text().partition(" ")
        except OSError:
            return None
        return Crash(how, verdict == _CERTAIN)

    @contextlib.contextmanager
    def loading(self, name: str, version: int, *, alone: bool) -> Iterator[None]:
        """Keep a note during the block. If the block ends without a crash, the version is no longer a suspect."""
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


def record_crash(folder: Path | None, pid: int, code: int) -> list[str]:
    """Record and return the versions that may have crashed a worker. ``code`` is the worker's exit code."""
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
