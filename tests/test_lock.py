"""What the image installs: pinned, with hashes, and what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("text", "sound", "grpc", "oidc", "tracing", "verify")
"""What the image has beside `cpu` or `gpu`."""
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def read_pins(text: str) -> dict[str, Requirement]:
    """The requirements of a file by their names, without their hashes."""
    lines = [line.removesuffix(" \\") for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def version_of(pin: Requirement) -> Version:
    [specifier] = pin.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


TOOLS = ("deploy/image/loadtest.lock", "deploy/image/sbom.lock")
"""What is installed while the image is built, and into the image of the load generator."""


@pytest.fixture(params=["cpu", "gpu"])
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lock(variant: str) -> str:
    return (ROOT / f"requirements-{variant}.lock").read_text()


@pytest.fixture(params=["requirements-cpu.lock", "requirements-gpu.lock", *TOOLS])
def any_lock(request: pytest.FixtureRequest) -> str:
    return (ROOT / request.param).read_text()


def test_lock_has_what_the_project_asks_for(lock: str, variant: str) -> None:
    """Each requirement, for texts, sounds and gRPC too, is in the lock, on every Python, within its bounds."""
    pins = read_pins(lock)
    extras = PROJECT["optional-dependencies"]
    installed = [*PROJECT["dependencies"], *(each for name in (variant, *EXTRAS) for each in extras[name])]
    for wanted in map(Requirement, installed):
        pin = pins[canonicalize_name(wanted.name)]
        assert pin.marker is None, f"run `make lock`: {pin}"
        assert version_of(pin) in wanted.specifier, f"run `make lock`: {wanted} and {pin}"


def test_lock_has_the_versions_that_are_tested(any_lock: str) -> None:
    """What constraints.txt names has that version in the lock."""
    tested = read_pins((ROOT / "constraints.txt").read_text())
    pins = read_pins(any_lock)
    differing = {name for name in pins.keys() & tested.keys() if version_of(pins[name]) != version_of(tested[name])}
    assert differing == set(), "run `make lock`"


def test_lock_has_hashes_and_nothing_else(any_lock: str) -> None:
    """Every pin has hashes, and no line is an option: neither an index nor a path of who made the file."""
    assert "\\\n    --hash" in any_lock
    for block in re.split(r"\n(?! )", any_lock.rstrip("\n")):
        pin, *hashes = block.split("\n")
        assert re.match(r"[\w.-]+==\S+( ; [^/]+)? \\$", pin), pin
        assert hashes
        assert all(HASH.fullmatch(line) for line in hashes), pin


def test_image_installs_by_the_hashes() -> None:
    """The Dockerfile installs no dependency but those of the lock."""
    installs = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if " install --no-cache-dir" in line]
    assert len(installs) == 4
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps ." not in line] == []
