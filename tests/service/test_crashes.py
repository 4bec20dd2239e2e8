"""Who is to blame for a process that has ended: what it was loading, if it ended by itself."""

import os
import signal
from pathlib import Path

import pytest

from service.crashes import Crash, LoadNotes, record_crash


@pytest.mark.parametrize("code", [0, 1, -signal.SIGKILL, -signal.SIGTERM])
def test_nothing_is_to_blame_for_a_process_that_was_ended(tmp_path: Path, code: int) -> None:
    """It has been told to, or was killed; its notes are gone."""
    notes = LoadNotes(tmp_path)
    with notes.loading("m", 1, alone=True):
        assert record_crash(tmp_path, os.getpid(), code) == []
        assert list(tmp_path.iterdir()) == []
    assert notes.find("m", 1) is None


def test_each_of_several_is_suspect(tmp_path: Path) -> None:
    """They were loaded at once; those of another process, and those that were done, are not."""
    notes = LoadNotes(tmp_path)
    (tmp_path / "m-4.1.load").touch()
    with notes.loading("m", 1, alone=False), notes.loading("n-1", 2, alone=False):
        with notes.loading("m", 3, alone=False):
            pass
        assert record_crash(tmp_path, os.getpid(), -signal.SIGFPE) == ["m-1", "n-1-2"]
        assert notes.find("m", 1) == notes.find("n-1", 2) == Crash("SIGFPE", is_certain=False)
        assert notes.find("m", 3) is notes.find("m", 4) is None
    assert (tmp_path / "m-4.1.load").exists()


def test_one_that_was_alone_is_certain(tmp_path: Path) -> None:
    """Others that go on beside it for long are not to blame; once it loads it is not either."""
    notes = LoadNotes(tmp_path)
    with notes.loading("m", 1, alone=True), notes.loading("n", 1, alone=False):
        assert record_crash(tmp_path, os.getpid(), -signal.SIGSEGV) == ["m-1"]
        crash = notes.find("m", 1)
        assert crash.is_certain
        assert "ended by SIGSEGV" in crash.reason
        assert notes.find("n", 1) is None
    assert notes.find("m", 1) is None


def test_nothing_is_noted_without_a_folder() -> None:
    """A process that nobody starts again has no folder for notes."""
    notes = LoadNotes(None)
    with notes.loading("m", 1, alone=False):
        assert record_crash(None, os.getpid(), -signal.SIGFPE) == []
    assert notes.find("m", 1) is None
