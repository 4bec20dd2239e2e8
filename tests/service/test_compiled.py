"""What was compiled of another source is found."""

import os
from pathlib import Path

import pytest

from service.compiled import find_stale
from service.settings import Settings, SettingsError
from service.worker import Worker


def touch(path: Path, second: int) -> None:
    path.write_bytes(b"")
    os.utime(path, (second, second))


def test_source_newer_than_what_was_compiled_of_it_is_stale(tmp_path: Path) -> None:
    """A module that was compiled later or at the same time, or not at all, is not stale."""
    (tmp_path / "engine").mkdir()
    touch(tmp_path / "engine" / "old.py", 2)
    touch(tmp_path / "engine" / "old.cpython-311-x86_64-linux-gnu.so", 1)
    touch(tmp_path / "same.py", 1)
    touch(tmp_path / "same.cpython-311-x86_64-linux-gnu.so", 1)
    touch(tmp_path / "plain.py", 3)
    assert list(find_stale(tmp_path)) == [tmp_path / "engine" / "old.py"]


def test_server_does_not_start_with_old_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the source and the two ways out."""
    monkeypatch.setattr("service.worker.find_stale", lambda: iter([Path("service/api/v2.py")]))
    with pytest.raises(SettingsError, match=r"service/api/v2\.py has changed .*make compiled.*make plain"):
        Worker(Settings())
