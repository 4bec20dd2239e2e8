"""The Python client installs by itself, without the server, and answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model_store import DEFAULT_ROOT
from tests.support.servers import FAST, Serving, settings_for

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200, check=False, cwd="/")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_client_is_installed_alone(tmp_path: Path) -> None:
    """A fresh environment has the client, its types, httpx and NumPy, nothing of the server, and runs an example."""
    assert run(sys.executable, "-m", "venv", tmp_path).returncode == 0
    pip = (tmp_path / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    installed = run(*pip, "install", "--quiet", REPOSITORY / "clients" / "python")
    if installed.returncode != 0:
        pytest.skip(f"pip cannot install: {installed.stderr[-300:]}")
    names = {each["name"].lower() for each in json.loads(run(*pip, "list", "--format", "json").stdout)}
    assert {"sluice-client", "httpx", "numpy"} <= names
    assert names & {"sluice-serving", "bentoml", "onnxruntime", "pillow", "pydantic", "starlette"} == set()
    [folder] = tmp_path.glob("lib/python*/site-packages/sluice_client")
    assert (folder / "py.typed").exists()
    settings = settings_for(DEFAULT_ROOT, models=("diabetes-regressor",), max_rows=4)
    with Serving(settings, FAST) as server:
        done = run(pip[0], REPOSITORY / "examples" / "client" / "predict_table.py", server.url)
    assert "body mass index" in done.stdout, done.stderr
