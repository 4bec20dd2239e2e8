"""Where Ray runs: a Python that has it, and a network namespace of its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def find_ray() -> str:
    """A Python that has Ray. Skips the test where there is none."""
    own = [sys.executable] if importlib.util.find_spec("ray") else []
    candidates = [os.environ.get("RAY_PYTHON", ""), *own, str(ROOT / ".venv/clients/ray/bin/python")]
    found = next((python for python in candidates if Path(python).is_file()), None)
    if found is None:
        pytest.skip("Ray is not installed: `make clients` installs it, or RAY_PYTHON names a Python that has it")
    return found


def enter_namespace() -> list[str]:
    """The command that runs another in a namespace, and ends with it whatever it has started."""
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made: it needs root and `unshare`")
    if shutil.which("ip") is None:
        pytest.skip("`ip` is missing: Debian's package iproute2 has it")
    return [*command, "sh", "-c", 'ip link set lo up && exec "$@"', "-"]
