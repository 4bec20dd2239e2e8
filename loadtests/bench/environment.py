"""A peer's own virtual environment, kept in the user's cache and recreated only when its requirements change."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from loadtests.bench.peer import Peer
from loadtests.bench.server import ServerFailed, run_to_end

INSTALL_LIMIT_S = 1200


class NotInstalled(Exception):
    """A peer's environment could not be created; the text has the end of pip's output."""


def cache_root(environ: Mapping[str, str]) -> Path:
    """``$XDG_CACHE_HOME/sluice-bench``, or ``~/.cache/sluice-bench``; a relative XDG_CACHE_HOME does not count."""
    stated = Path(environ.get("XDG_CACHE_HOME", ""))
    return (stated if stated.is_absolute() else Path.home() / ".cache") / "sluice-bench"


def fill_requirements(requirements: Sequence[str], versions: Mapping[str, str]) -> list[str]:
    """Fill in the versions of this environment, so that every server has the same ONNX Runtime."""
    return [requirement.format(**versions) for requirement in requirements]


def prepare_python(peer: Peer, root: Path) -> Path:
    """The interpreter for ``peer``, installed below ``root`` if needed. Raises NotInstalled."""
    if peer.requirements is None:
        return Path(sys.executable)
    versions = {name: version(name) for name in ("onnxruntime", "numpy", "pillow")}
    requirements = fill_requirements(peer.requirements, versions)
    folder = root / (peer.environment_of or peer.name)
    python = folder / "bin" / "python"
    stamp = folder / "requirements.sha256"
    digest = digest_requirements(requirements)
    if stamp.is_file() and stamp.read_text() == digest and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    stamp.write_text(digest)  # written last, so that an interrupted installation is not reused
    return python


def digest_requirements(requirements: Sequence[str]) -> str:
    described = "\n".join([sys.version, *requirements])
    return hashlib.sha256(described.encode()).hexdigest()


def read_versions(python: Path, distributions: Sequence[str]) -> dict[str, str]:
    """The versions of ``distributions`` that are installed for ``python``."""
    code = (
        "import json, sys, importlib.metadata as m\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([str(python), "-c", code, *distributions], capture_output=True, text=True, timeout=60)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def _run(command: Sequence[str]) -> None:
    try:
        run_to_end(command, {}, INSTALL_LIMIT_S)
    except ServerFailed as failure:
        raise NotInstalled(str(failure)) from None
