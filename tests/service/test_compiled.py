"""Compiled code of an older source is found, and does not run."""

import os
from pathlib import Path

import pytest

from service.compiled import find_stale
from service.settings import Settings, SettingsError
from service.worker import Worker


def touch(path: Path, second: int) -> None:
    path.write_bytes(b"")
    os.utime(path, (second, second))


def make_package(root: Path) -> Path:
    """A package with a source newer than its compiled module, one of the same age, and one that is not compiled."""
    package = root / "service"
    (package / "engine").mkdir(parents=True)
    touch(package / "engine" / "old.py", 2)
    touch(package / "engine" / "old.cpython-311-x86_64-linux-gnu.so", 1)
    touch(package / "same.py", 1)
    touch(package / "same.cpython-311-x86_64-linux-gnu.so", 1)
    touch(package / "plain.py", 3)
    return package


def test_source_newer_than_what_was_compiled_of_it_is_stale(tmp_path: Path) -> None:
    """A source that is newer than its compiled module is stale, but not in a wheel, which pip writes in any order."""
    package = make_package(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    assert list(find_stale(package)) == [package / "engine" / "old.py"]
    assert list(find_stale(make_package(tmp_path / "wheel"))) == []


def test_server_does_not_start_with_old_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the source and the two ways out."""
    monkeypatch.setattr("service.worker.find_stale", lambda: iter([Path("service/api/infer/v2.py")]))
    with pytest.raises(SettingsError, match=r"service/api/infer/v2\.py has changed .*make compiled.*make plain"):
        Worker(Settings())
