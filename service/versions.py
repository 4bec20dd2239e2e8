"""The supported versions of Python and of libraries: the lowest, and the newest that was tested.

`make test-versions` tests both. A server starts with a newer version, but not with an older one.
"""

import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from service.settings import SettingsError


class Range(NamedTuple):
    lowest: str
    newest: str


PYTHON = Range("3.11", "3.13")
LIBRARIES: Mapping[str, Range] = {
    "uvicorn": Range("0.36.0", "0.54.0"),
    "onnxruntime": Range("1.24.1", "1.32.0"),
    "onnxruntime-gpu": Range("1.24.1", "1.32.0"),
}


def check_versions() -> None:
    """Raises SettingsError for a version that is too old. Libraries that are not installed are not checked."""
    _check("Python", ".".join(map(str, sys.version_info[:3])), PYTHON)
    for name, supported in LIBRARIES.items():
        installed = find_version(name)
        if installed is not None:
            _check(name, installed, supported)


def find_version(name: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def is_older(installed: str, supported: Range) -> bool:
    return _parse(installed) < _parse(supported.lowest)


def is_newer(installed: str, supported: Range) -> bool:
    """Whether a version is newer than the tested one. Only as many numbers are compared as the tested version has."""
    newest = _parse(supported.newest)
    return _parse(installed)[: len(newest)] > newest


def _check(name: str, installed: str, supported: Range) -> None:
    if is_older(installed, supported):
        raise SettingsError(f"{name} {installed}: expected {supported.lowest} or newer ({supported.newest} was tested)")


def _parse(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``1.22.0rc1`` is 1.22.0."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()
