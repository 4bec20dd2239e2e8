"""Clients too heavy for the tests' own environment: each in one of its own, made by `make clients`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/nvidia/cuda_runtime/lib"
"""Where the wheel of CUDA's runtime, which perf_analyzer is linked to, has it."""


def folder_of(client: str) -> Path:
    """The client's virtual environment, beside the one that runs the tests."""
    return Path(sys.prefix) / "clients" / client


def run_client(
    client: str, command: str, *arguments: str, timeout_s: float = 120.0, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of a client's environment, in ``cwd``. Skips the test where it is not there."""
    folder = folder_of(client)
    found = folder / "bin" / command
    if not found.exists():
        pytest.skip(f"{client} is not there: `make clients` installs it")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder / LIBRARIES)}
    return subprocess.run(
        [str(found), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=cwd,
    )
