"""Two nodes of Ray on one machine with Sluice on them: what happens is written down as JSON.

`test_ray.py` runs it by a Python that has Ray, in a network namespace of its own, so that all listen on 127.0.0.1.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ray
import sluice_ray
import yaml
from ray import serve
from ray.serve import context
from ray.serve.schema import ServeDeploySchema

from service.settings import Settings, SettingsError
from tests.deploy.clusters.two_nodes import NODE, WAIT_S, start, wait_until

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "deploy" / "ray" / "serve.yaml"
URL = "http://127.0.0.1:8300"
PATH = "/v2/models/double/infer"
CALLERS = 16
TRIES = 20


def main(store: Path, folder: Path) -> None:
    """Write what was seen into ``folder``, beside logs and the file of the application."""
    requests = json.loads((folder / "requests.json").read_text())
    told: dict[str, Any] = {"refused": read_refusals(), "limits": read_limits()}
    with plain_server(store, folder) as plain:
        told["plain"] = {name: ask(plain, request) for name, request in requests.items()}
    cluster, node = start()
    ray.init(address=cluster.address, log_to_driver=False)
    replicas: dict[str, int] = {}

    def reach(count: int, when: str) -> None:
        wait_until(lambda: count_replicas() == count, f"{count} replicas {when}")
        replicas[when] = count_replicas()

    config = write_config(store, folder)
    with application(cluster.address, config, folder):
        reach(1, "at first")
        wait_until(lambda: answers(f"{URL}/readyz"), "the proxy")
        told["ray"] = {name: ask(URL, request) for name, request in requests.items()}
        reply = httpx.post(URL + PATH, content=b"{", headers={"x-request-id": "mine"})
        told["request_ids"] = reply.headers.get_list("x-request-id")
        with Load(URL) as load:
            reach(2, "under load")
            load.pass_on(200)
            cluster.remove_node(node, allow_graceful=False)
            reach(1, "with a node less")
            load.pass_on(200)
            cluster.add_node(**NODE)
            reach(2, "back")
            load.pass_on(200)
            deploy_again(config)
            load.pass_on(200)
            reach(2, "deployed again")
        reach(1, "at rest")
    told |= {"load": load.counts, "replicas": replicas}
    (folder / "told.json").write_text(json.dumps(told))


def read_refusals() -> dict[str, str]:
    """What the application says to settings that are Ray's."""
    said = {}
    for name, value in {"WORKERS": "2", "GRPC_PORT": "3001", "CONTROL": "true", "TLS_CERTIFICATE": "/c.pem"}.items():
        variables = {f"SLUICE_{name}": value} | ({"SLUICE_TLS_KEY": "/k.pem"} if name.startswith("TLS") else {})
        try:
            sluice_ray.read_settings(variables)
        except SettingsError as error:
            said[f"SLUICE_{name}"] = str(error)
    try:
        sluice_ray.build({"store": "/models"})
    except SettingsError as error:
        said["arguments"] = str(error)
    return said


def read_limits() -> dict[str, Any]:
    """What Ray is told of our limits, and lanes of a replica with 3 cores, with half a core, and set to 5."""
    os.environ["SLUICE_MAX_ROWS"] = "8"
    deployment = sluice_ray.build({})._bound_deployment
    del os.environ["SLUICE_MAX_ROWS"]
    settings = Settings()
    found = [
        sluice_ray.fit_lanes(settings, {"CPU": 3.0}),
        sluice_ray.fit_lanes(settings, {"CPU": 0.5}),
        sluice_ray.fit_lanes(settings.replace(lanes=5), {"CPU": 3.0}),
    ]
    return {
        "max_ongoing_requests": deployment.max_ongoing_requests,
        "max_queued_requests": deployment.max_queued_requests,
        "lanes": [settings.lanes for settings in found],
    }


def write_config(store: Path, folder: Path) -> Path:
    """The file of `deploy/ray` for two nodes of one address, which share a port, and with haste."""
    config = yaml.safe_load(CONFIG.read_text())
    config["proxy_location"] = "HeadOnly"
    config["http_options"]["port"] = 8300
    [app] = config["applications"]
    app["runtime_env"]["env_vars"] |= {"SLUICE_STORE": str(store), "SLUICE_MAX_ROWS": "8"}
    [deployment] = app["deployments"]
    deployment["ray_actor_options"]["num_cpus"] = 1
    deployment["autoscaling_config"] |= {
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": 0.5,  # so that a load of fast requests needs two
        "look_back_period_s": 11,
        "upscale_delay_s": 1,
        "downscale_delay_s": 5,
    }
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def deploy_again(config: Path) -> None:
    """What `serve deploy` does, which needs a dashboard, with another variable; wait until all replicas are new."""
    content = yaml.safe_load(config.read_text())
    content["applications"][0]["runtime_env"]["env_vars"]["STORE"] = "2"
    before = serve.status().applications["sluice"].last_deployed_time_s
    context._get_global_client().deploy_apps(ServeDeploySchema.model_validate(content))

    def is_done() -> bool:
        found = serve.status().applications["sluice"]
        deployment = found.deployments.get("Sluice")  # there is none while the application is built
        is_new = found.last_deployed_time_s > before and found.status == "RUNNING"
        return is_new and deployment is not None and deployment.replica_states.keys() == {"RUNNING"}

    wait_until(is_done, "new replicas")


@contextlib.contextmanager
def application(address: str, config: Path, folder: Path) -> Iterator[None]:
    """What `serve run` does with the file."""
    command = [sys.executable, "-m", "ray.serve.scripts", "run", "--address", address, str(config)]
    with (folder / "serve.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(WAIT_S)


@contextlib.contextmanager
def plain_server(store: Path, folder: Path) -> Iterator[str]:
    """`sluice serve` with the store; the address."""
    port = "8400"
    command = [sys.executable, "-m", "sluice", "serve", "--port", port, "--store", str(store), "--max-rows", "8"]
    url = f"http://127.0.0.1:{port}"
    with (
        (folder / "plain.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT) as process,
    ):
        try:
            wait_until(lambda: answers(f"{url}/readyz"), "the plain server")
            yield url
        finally:
            process.terminate()
            process.wait(WAIT_S)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def ask(url: str, request: dict[str, Any]) -> dict[str, Any]:
    """The status, type and bytes of an answer. The body of a request is hexadecimal."""
    reply = httpx.request(
        request["method"],
        url + request["path"],
        headers=request.get("headers"),
        content=bytes.fromhex(request.get("body", "")),
        timeout=60,
    )
    return {"status": reply.status_code, "type": reply.headers.get("content-type"), "body": reply.content.hex()}


def count_replicas() -> int:
    """Replicas that serve."""
    found = serve.status().applications.get("sluice")
    if found is None or "Sluice" not in found.deployments:
        return 0
    return found.deployments["Sluice"].replica_states.get("RUNNING", 0)


class Load:
    """Callers that try again after an error of the server or of the connection. Rows differ; answers are checked."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]
        self._passed = threading.Condition()
        self.counts = {"right": 0, "wrong": 0, "tried_again": 0, "given_up": 0}

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def pass_on(self, count: int) -> None:
        """Wait until so many more are answered."""
        with self._passed:
            until = self.counts["right"] + count
            if not self._passed.wait_for(lambda: self.counts["right"] >= until, WAIT_S):
                raise TimeoutError(f"waited {WAIT_S} s for {count} answers: {self.counts}")

    def _call(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            for i in itertools.count():
                if self._is_over.is_set():
                    return
                row = [number, i % 1000, 0.5]
                outcome = self._ask(client, row)
                with self._passed:
                    self.counts[outcome] += 1
                    self._passed.notify_all()

    def _ask(self, client: httpx.Client, row: list[float]) -> str:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": row}]}
        for tried in range(TRIES):
            try:
                reply = client.post(PATH, json=body)
            except httpx.TransportError:
                reply = None
            if reply is not None and reply.status_code < 500 and reply.status_code != 429:
                is_right = reply.status_code == 200 and reply.json()["outputs"][0]["data"] == [2 * x for x in row]
                return "right" if is_right else "wrong"
            with self._passed:
                self.counts["tried_again"] += 1
            self._is_over.wait(min(0.05 * 2**tried, 1.0))  # as clients do
        return "given_up"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
