"""The origin of a version: versions of the tools, the commit, the data and the seed."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from export.spec import ExportSpec
from model_store.manifest import Provenance

_GIT_LIMIT_S = 10


def describe_origin(
    spec: ExportSpec, exporter: str, opset: int, parameters: Mapping[str, str | int | float | bool], folder: Path
) -> Provenance:
    """The provenance of a version that is exported now; ``folder`` gives its git commit."""
    import onnxruntime
    import torch

    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        torch=str(torch.__version__),
        onnx=version("onnx"),
        onnxruntime=str(onnxruntime.__version__),
        exporter=exporter,
        opset=opset,
        git_commit=find_commit(folder),
        data=spec.data,
        seed=spec.seed,
        parameters=parameters,
    )


def find_commit(folder: Path) -> str | None:
    """The commit checked out in ``folder``, with ``-dirty`` if files differ from it; None if there is none."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    # Without optional locks git does not refresh its index, so the repository stays unchanged.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 (fixed words and a folder, no shell)
            command, env=environment, capture_output=True, text=True, check=False, timeout=_GIT_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
