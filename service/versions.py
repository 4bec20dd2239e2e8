"""Which versions of Python and of the libraries underneath work: the lowest, and the newest that was tried.

`make test-versions` tries both. Older ones are refused when a server starts, newer ones are not.
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
    "uvicorn": Range("0.34.0", "0.54.0"),
    "onnxruntime": Range("1.22.0", "1.32.0"),
    "onnxruntime-gpu": Range("1.22.0", "1.32.0"),
}


def check_versions() -> None:
    """Raises SettingsError, which names what is too old; what is not installed is not its business."""
    _check("Python", ".".join(map(str, sys.version_info[:3])), PYTHON)
    for name, supported in LIBRARIES.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        _check(name, installed, supported)


def _check(name: str, installed: str, supported: Range) -> None:
    if _parse(installed) < _parse(supported.lowest):
        raise SettingsError(f"{name} {installed}: expected {supported.lowest} or newer ({supported.newest} was tested)")


def _parse(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``1.22.0rc1`` is 1.22.0."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()
