"""Versions of Python and of libraries, against what is supported; extras that are not installed."""

import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import InvalidRequirement, Requirement

from service.doctor.finding import Finding
from service.settings import Settings
from service.versions import LIBRARIES, PYTHON, Range, find_version, is_newer, is_older

PACKAGE = "sluice-serving"
_EXTRAS = {"text": "tokenizers", "sound": "soundfile", "grpc": "grpcio", "loadtest": "locust", "export": "torch"}
"""An extra and the library without which it is not there."""
Find = Callable[[str], str | None]
"""The installed version of a distribution; None if it is not installed."""


def check_python(settings: Settings, python: str = platform.python_version()) -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield from _check_range("Python", python, PYTHON, f"{python} at {sys.executable}; {system}")


def check_libraries(settings: Settings, find: Find = find_version) -> Iterator[Finding]:
    """The libraries whose versions are tested, and every other one that this installation asks for."""
    for name, supported in LIBRARIES.items():
        found = find(name)
        if found is not None:
            yield from _check_range(name, found, supported, found)
    missing = list(_find_missing(find))
    for text in missing:
        yield Finding("libraries", "wrong", text, "pip install -c constraints.txt -e . (or reinstall sluice-serving)")
    if not missing:
        yield Finding("libraries", "ok", "all that are required are there, in versions that fit")
    lacking = [extra for extra, library in _EXTRAS.items() if find(library) is None]
    if lacking:
        text = f"not installed: {', '.join(lacking)}"
        yield Finding("extras", "note", text, f"pip install 'sluice-serving[{','.join(lacking)}]' where you need them")


def check_runtimes(settings: Settings, find: Find = find_version) -> Iterator[Finding]:
    """ONNX Runtime is installed once."""
    builds = {name: found for name in ("onnxruntime", "onnxruntime-gpu") if (found := find(name)) is not None}
    if not builds:
        yield Finding(
            "onnxruntime", "wrong", "it is not installed", "pip install 'sluice-serving[cpu]', or [gpu] for CUDA"
        )
    elif len(builds) == 2:
        yield Finding(
            "onnxruntime",
            "wrong",
            "onnxruntime and onnxruntime-gpu are both installed, and each has overwritten files of the other",
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them",
        )


def _find_missing(find: Find) -> Iterator[str]:
    try:
        wanted = requires(PACKAGE) or []
    except PackageNotFoundError:  # it runs from a folder that is not installed
        return
    for line in wanted:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = find(requirement.name)
        if found is None:
            yield f"{requirement.name} is not installed: expected {requirement.specifier or 'any version'}"
        elif not requirement.specifier.contains(found, prereleases=True):
            yield f"{requirement.name} {found}: expected {requirement.specifier}"


def _check_range(name: str, found: str, supported: Range, text: str) -> Iterator[Finding]:
    check = name if name != "onnxruntime-gpu" else "onnxruntime"
    if is_older(found, supported):
        advice = f"install {name} {supported.lowest} or newer: a server does not start with this one"
        yield Finding(check, "wrong", f"{text}: expected {supported.lowest} or newer", advice)
    elif is_newer(found, supported):
        advice = f"if something is odd, try {name} {supported.newest}"
        yield Finding(check, "note", f"{text}: newer than {supported.newest}, which was tested", advice)
    else:
        yield Finding(check, "ok", text)
