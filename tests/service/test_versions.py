"""Versions that do not work are refused."""

import tomllib
from pathlib import Path

import pytest

from service import versions
from service.settings import SettingsError
from service.versions import LIBRARIES, PYTHON, check_versions

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("old", ["0.35.0", "0.35.99rc1", "0"])
def test_older_library_is_refused_with_what_would_do(monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    """One line names the library, what is installed, and the range."""
    monkeypatch.setattr(versions, "version", lambda name: old if name == "uvicorn" else "99.1")
    with pytest.raises(SettingsError, match=rf"^uvicorn {old}: expected 0\.36\.0 or newer"):
        check_versions()


@pytest.mark.parametrize("new", ["0.36.0", "0.100.0", "1.0.dev1"])
def test_newer_library_is_taken(monkeypatch: pytest.MonkeyPatch, new: str) -> None:
    """Numbers are compared as numbers, and the future is not refused."""
    monkeypatch.setattr(versions, "version", lambda name: new if name == "uvicorn" else "99.1")
    check_versions()


def test_project_asks_for_what_is_supported() -> None:
    """The lowest versions here are those that the package requires."""
    required = {
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["cpu"],
        *PROJECT["optional-dependencies"]["gpu"],
    }
    for name, supported in LIBRARIES.items():
        assert f"{name}>={supported.lowest.removesuffix('.0')}" in required
    assert PROJECT["requires-python"] == f">={PYTHON.lowest}"
