"""`deploy/compose` run by a real Docker daemon, as far as its images can be built here.

The images of Prometheus and Grafana come from a registry, which is not asked: their parts are checked as files. The
daemon has no network of its own, because that would change the machine's firewall, so all services use the machine's.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.podman import REPOSITORY, Podman, find_missing
from tests.support.processes import free_port

COMPOSE = REPOSITORY / "deploy" / "compose"
IMAGES = {"sluice": "localhost/sluice-test:cpu", "sluice-loadtest": "localhost/sluice-test:loadtest"}
PROGRAMS = {"dockerd": "docker.io", "docker-compose": "docker-compose"}
WORKERS = 2


def find_lacking() -> str:
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    return find_missing() or (f"not installed: apt-get install {' '.join(missing)}" if missing else "")


pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(find_lacking()), reason=find_lacking()),
]


class Docker:
    """A daemon of its own, with nothing but the images that it is given."""

    def __init__(self, folder: Path) -> None:
        self.host = f"unix://{folder / 'docker.sock'}"
        self.variables = {**os.environ, "DOCKER_HOST": self.host, "COMPOSE_PROJECT_NAME": "sluice-test"}
        self._archive = folder / "image.tar"

    def load(self, podman: Podman, image: str, name: str) -> None:
        """An image that podman has built, under another name."""
        podman.run("save", "--output", str(self._archive), image, timeout_s=600)
        self.run("docker", "load", "--input", str(self._archive))
        self.run("docker", "tag", image, name)
        self._archive.unlink()

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    folder = tmp_path_factory.mktemp("docker")
    docker = Docker(folder)
    folders = [f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}", f"--pidfile={folder / 'pid'}"]
    alone = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none", "--group=root"]
    command = ["dockerd", *alone, *folders, "--storage-driver=overlay2", "--log-level=info", f"--host={docker.host}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as daemon:
        assert daemon.stdout is not None
        reading = threading.Thread(target=daemon.stdout.read)  # so that its pipe never fills up
        try:
            said = []
            for line in daemon.stdout:
                said.append(line)
                if "API listen on" in line:
                    break
            else:
                raise AssertionError("".join(said))
            reading.start()
            yield docker
        finally:
            daemon.send_signal(signal.SIGTERM)
            if reading.ident is not None:
                reading.join()


class Composed:
    """The services of the file that can be built here, on ports of this machine."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: free_port() for name in ("http", "grpc", "page", "master")}
        self.file = folder / "compose.yaml"
        written = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
        services = {name: each for name, each in written["services"].items() if each["image"] in IMAGES}
        for service in services.values():
            service.pop("build", None)
            service.pop("ports", None)
            service["network_mode"] = "host"
        http, grpc, page, master = map(str, self.ports.values())
        services["sluice"]["environment"] |= {
            "SLUICE_HOST": "127.0.0.1", "SLUICE_PORT": http, "SLUICE_GRPC_PORT": grpc,
        }  # fmt: skip
        here = ["127.0.0.1" if word == "locust" else word for word in services["locust-worker"]["command"]]
        services["locust-worker"]["command"] = [*here, "--master-port", master]
        asked = [word.replace("sluice:3000", f"127.0.0.1:{http}") for word in services["locust"]["command"]]
        bound = ["--web-host", "127.0.0.1", "--web-port", page, "--master-bind-host", "127.0.0.1"]
        services["locust"]["command"] = [*asked, *bound, "--master-bind-port", master]
        check = services["locust"]["healthcheck"]
        check["test"] = [word.replace(":8089", f":{page}") for word in check["test"]]
        self.file.write_text(yaml.safe_dump({"services": services}))


@pytest.fixture(scope="module")
def composed(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    podman = Podman()
    podman.build(IMAGES["sluice"])
    podman.build(IMAGES["sluice-loadtest"], "--target", "loadtest")
    for name, image in IMAGES.items():
        docker.load(podman, image, f"{name}:latest")
    composed = Composed(tmp_path_factory.mktemp("compose"))
    command = ["docker-compose", "--file", str(composed.file)]
    try:
        # It returns when each service that another one waits for is healthy, by Docker's own checks.
        docker.run(*command, "up", "--detach", "--no-build", "--scale", f"locust-worker={WORKERS}")
        yield composed
    finally:
        docker.run(*command, "down", "--timeout", "60")


def describe(docker: Docker, service: str) -> list[Mapping[str, Any]]:
    label = f"label=com.docker.compose.service={service}"
    return list(json.loads(docker.run("docker", "inspect", *docker.run("docker", "ps", "-aqf", label).split())))


def test_services_have_their_limits(docker: Docker, composed: Composed) -> None:
    """Docker runs each service with a read-only root, no capability and the limits of the file."""
    for service in ("sluice", "locust", "locust-worker"):
        for container in describe(docker, service):
            host = container["HostConfig"]
            assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (
                True, ["ALL"], ["no-new-privileges:true"],
            )  # fmt: skip
            assert host["Memory"] > 0
            assert host["NanoCpus"] > 0
            assert container["State"]["Running"]


def test_workers_of_locust_put_load_on_the_service(composed: Composed) -> None:
    """A run that is begun on Locust's page is shared by its workers, and every answer is right."""
    with httpx.Client(base_url=f"http://127.0.0.1:{composed.ports['page']}", timeout=30) as page:
        while len((state := page.get("/stats/requests").json()).get("workers", ())) < WORKERS:
            pass
        started = page.post("/swarm", data={"user_count": 4, "spawn_rate": 4})
        assert started.json()["success"], started.text
        while (state := page.get("/stats/requests").json())["stats"][-1]["num_requests"] < 200:
            assert state["state"] in ("spawning", "running", "ready"), state
    assert state["stats"][-1]["num_failures"] == 0, state["errors"]
    assert all(worker["user_count"] == 2 for worker in state["workers"]), state["workers"]
    metrics = httpx.get(f"http://127.0.0.1:{composed.ports['http']}/metrics").text
    assert "digits-classifier" in metrics


def test_prometheus_reads_its_configuration(tmp_path: Path) -> None:
    """Debian's promtool accepts the configuration, with the rules where the file mounts them."""
    if shutil.which("promtool") is None:
        pytest.skip("not installed: apt-get install prometheus")
    shutil.copy(COMPOSE / "prometheus.yml", tmp_path)
    shutil.copytree(REPOSITORY / "deploy" / "prometheus", tmp_path / "rules")
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True, timeout=60)
