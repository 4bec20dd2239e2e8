"""Packages that the examples need, installed into a folder of the test."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def install(folder: Path, *packages: str) -> Path:
    """Install ``name==version`` by pip, without what they depend on. Skips where that is impossible."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
    _run(command, f"pip cannot install {', '.join(packages)}")
    return folder


def pack(folder: Path, package: str) -> Path:
    """Unpack ``name@version`` of npm. Skips where that is impossible."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    _run([npm, "pack", "--silent", "--pack-destination", str(folder), package], f"npm cannot pack {package}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def unpack(folder: Path, *packages: str) -> Path:
    """Unpack packages of Debian, without installing them. Skips where that is impossible."""
    if shutil.which("apt-get") is None:
        pytest.skip("this is no Debian")
    _run(["apt-get", "download", *packages], f"apt-get cannot download {', '.join(packages)}", folder)
    for file in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(file), str(folder)], f"dpkg-deb cannot unpack {file.name}")
    return folder


def _run(command: list[str], complaint: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)
    if done.returncode != 0:
        pytest.skip(f"{complaint}: {done.stderr.strip()[-300:]}")


def run_example(name: str, *arguments: Path, paths: Path | None = None) -> None:
    """Run a script of ``examples/``, and after it what it says to run with ``sluice``."""
    _run_checked([sys.executable, str(REPOSITORY / "examples" / name), *map(str, arguments)], paths)


def run_sluice(*arguments: str, paths: Path | None = None, **variables: str) -> None:
    _run_checked([sys.executable, str(REPOSITORY / "sluice.py"), *arguments], paths, variables)


def export_example(name: str, store: Path, paths: Path | None = None, spec: str = "spec", **variables: str) -> None:
    """Publish what a script of ``examples/`` describes, such as ``sounds/speech``."""
    source = f"{REPOSITORY / 'examples' / name}.py:{spec}"
    run_sluice("export", source, "--store", str(store), paths=paths, **variables)


def _run_checked(command: list[str], paths: Path | None, variables: Mapping[str, str] = {}) -> None:
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": os.pathsep.join(map(str, filter(None, (REPOSITORY, paths)))),
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
