"""`bentofile.yaml`: `bentoml build` and `serve` run, and what `containerize` sends to a builder is right."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.api.openapi.examples import EXAMPLES
from tests.support.processes import REPOSITORY, Served

TAG = "sluice:1"
DIGIT = {"model": "digits-classifier", "inputs": EXAMPLES["classify"]["digit"][1]["inputs"]}
PINNED = r"^([\w.-]+)==([^\s;]+)"
KEPT = "digits-classifier"
"""The only model that is left in the bento, so that it starts soon, and is known by it."""


def test_bentofile_names_what_is_there() -> None:
    """The service, the folders and files, and the locked packages that `bentofile.yaml` names exist."""
    written = yaml.safe_load((REPOSITORY / "bentofile.yaml").read_text())
    module, _, name = written["service"].partition(":")
    assert f"\n{name}: " in (REPOSITORY / f"{module.replace('.', '/')}.py").read_text()
    named = [*written["include"], written["python"]["requirements_txt"]]
    assert [path for path in named if not (REPOSITORY / path.strip("/")).exists()] == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of BentoML, with the bento built in it."""
    home = tmp_path_factory.mktemp("bentoml")
    # BentoML looks for uv, which it installs where there is none, although it has nothing to lock.
    uv = tmp_path_factory.mktemp("bin") / "uv"
    uv.write_text("#!/bin/sh\nexit 1\n")
    uv.chmod(0o755)
    path = f"{uv.parent}{os.pathsep}{os.environ['PATH']}"
    done = run_bentoml("build", "--version", "1", ".", home=home, cwd=REPOSITORY, PATH=path)
    assert f'Successfully built Bento(tag="{TAG}")' in done
    return home


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Without a path to this checkout: what runs is what the bento has."""
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**own, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", **variables}


def run_bentoml(*arguments: str, home: Path, cwd: Path, **variables: str) -> str:
    command = [sys.executable, "-m", "bentoml", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env=environment(home, **variables), cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def bento(home: Path) -> Path:
    return home / "bentos" / "sluice" / "1"


@pytest.mark.slow
def test_bento_holds_the_service_and_its_models_only(bento: Path) -> None:
    """Sources and models are there; tests, environments and what was compiled for this machine are not."""
    assert {path.name for path in (bento / "src").iterdir()} == {
        *("service", "model_store", "pyproject.toml", "README.md", "LICENSE", "bentofile.yaml")
    }
    packed = {path.relative_to(bento / "src") for path in (bento / "src").rglob("*") if path.is_file()}
    assert Path(f"model_store/models/{KEPT}/1/manifest.json") in packed
    assert {path.suffix for path in packed} & {".so", ".pyc", ".key", ".pem"} == set()


@pytest.mark.slow
def test_generated_dockerfile_has_its_context(bento: Path) -> None:
    """All that it copies is there, it installs the locked packages with their hashes, and nobody is tracked."""
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?:--\S+ )*(\S+) ", dockerfile, re.MULTILINE)
    assert [path for path in copied if not (bento / path).exists()] == []
    assert "python:3.11-slim" in dockerfile
    assert "BENTOML_DO_NOT_TRACK=True" in dockerfile
    assert "USER bentoml" in dockerfile
    packages = (bento / "env" / "python" / "requirements.txt").read_text()
    locked = (REPOSITORY / "requirements-cpu.lock").read_text()
    versions = dict(re.findall(PINNED, packages, re.MULTILINE))
    assert versions.items() >= dict(re.findall(PINNED, locked, re.MULTILINE)).items()
    assert packages.count("--hash=sha256:") == locked.count("--hash=sha256:")
    assert {"bentoml", "onnxruntime", "tokenizers", "soundfile"} <= set(versions)
    assert "torch" not in versions


class BentoServed(Served):
    """`bentoml serve` of the bento."""

    def __init__(self, home: Path, **variables: str) -> None:
        self._home, self._variables = home, variables
        super().__init__(workers=int(variables.get("SLUICE_WORKERS", 1)))

    def command(self, *arguments: str, workers: int) -> list[str]:
        return [sys.executable, "-m", "bentoml", "serve", TAG, "--host", "127.0.0.1", "--port", str(self.port)]

    def options(self, environment_: dict[str, str] | None) -> dict[str, Any]:
        return {"cwd": self._home, "env": environment(self._home, SLUICE_MAX_ROWS="4", **self._variables)}

    def classified(self) -> float:
        """How many requests of /classify its metrics have counted."""
        lines = self.get("/metrics").text.splitlines()
        counted = [line for line in lines if line.startswith("sluice_requests_total") and 'route="/classify"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in counted)


@pytest.fixture(scope="module")
def small(home: Path, bento: Path) -> Path:
    """The same with one model, and a store of the user's own. The tests of its content come first."""
    for folder in (bento / "src" / "model_store" / "models").iterdir():
        if folder.name != KEPT:
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            folder.rmdir()
    shutil.copytree(bento / "src" / "model_store" / "models", bento / "src" / "mine")
    return home


@pytest.fixture
def first(small: Path) -> Iterator[BentoServed]:
    with BentoServed(small) as served:
        yield served


@pytest.mark.slow
def test_services_on_one_machine_do_not_disturb_each_other(first: BentoServed, small: Path) -> None:
    """Two bentos serve at once and count apart, the second a folder in it; when it ends, the first still counts."""
    assert first.get("/v2/models").json() == {"models": [KEPT]}
    for _ in range(3):
        assert first.post("/classify", DIGIT).json()["predictions"][0]["label"] == "0"
    with BentoServed(small, SLUICE_WORKERS="2", SLUICE_STORE="mine") as second:  # BentoML empties its own folder
        assert [second.post("/classify", DIGIT).status_code for _ in range(5)] == [200] * 5
        assert (first.classified(), second.classified()) == (3, 5)
        assert second.stop(signal.SIGTERM) == 0
    assert first.post("/classify", DIGIT).status_code == 200
    assert first.classified() == 4
    assert first.get("/v2").json()["name"] == "sluice"
    assert first.stop(signal.SIGINT) == 0
