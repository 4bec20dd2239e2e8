"""The command as a whole."""

import tomllib
from pathlib import Path

import pytest

import sluice

ROOT = Path(__file__).parents[1]


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`sluice --version` says what a report of a fault needs."""
    with pytest.raises(SystemExit) as ended:
        sluice.main(["--version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (ended.value.code, capsys.readouterr().out) == (0, f"sluice {project['version']}\n")


def test_every_package_says_that_it_is_typed() -> None:
    """Without the marker a type checker takes what a user imports for untyped."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert [name for name in packages if not (ROOT / name / "py.typed").is_file()] == []
