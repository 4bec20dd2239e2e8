"""Checks of the versions of Python and of libraries, and of extras."""

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
"""Extra -> the library that shows whether it is installed."""
Find = Callable[[str], str | None]
"""The installed version of a distribution; None if it is not installed."""


def check_python(settings: Settings, python: str = platform.python_version()) -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield from _check_range("Python", python, PYTHON, f"{python} at {sys.executable}; {system}")


def check_libraries(settings: Settings, find: Find = find_version) -> Iterator[Finding]:
    """The libraries with tested versions, and all others that this installation requires."""
    for name, supported in LIBRARIES.items():
        found = find(name)
        if found is not None:
            yield from _check_range(name, found, supported, found)
    missing = list(_find_missing(find))
    for text in missing:
        yield Finding("libraries", "wrong", text, "pip install -c constraints.txt -e . (or reinstall sluice-serving)")
    if not missing:
        yield Finding("libraries", "ok", "all required ones are installed, in versions that fit")
    lacking = [extra for extra, library in _EXTRAS.items() if find(library) is None]
    if lacking:
        text = f"not installed: {', '.join(lacking)}"
        yield Finding("extras", "note", text, f"pip install 'sluice-serving[{','.join(lacking)}]' where you need them")


def check_runtimes(settings: Settings, find: Find = find_version) -> Iterator[Finding]:
    """Whether ONNX Runtime is installed, and only once."""
    builds = {name: found for name in ("onnxruntime", "onnxruntime-gpu") if (found := find(name)) is not None}
    if not builds:
        advice = "pip install 'sluice-serving[cpu]', or [gpu] for CUDA"
        yield Finding("onnxruntime", "wrong", "it is not installed", advice)
    elif len(builds) == 2:
        text = "onnxruntime and onnxruntime-gpu are both installed, and each has overwritten files of the other"
        advice = "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them"
        yield Finding("onnxruntime", "wrong", text, advice)


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
