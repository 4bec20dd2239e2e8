"""Sluice on Ray Serve: two nodes, one of which is lost under load, with each of Ray's two ways in.

It needs a Python that has Ray (`RAY_PYTHON`, this one, or the environment that `make clients` makes), and the right to
make a network namespace: both nodes listen on its 127.0.0.1, and Ray uses fixed ports.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_store import DEFAULT_ROOT
from tests.deploy.clusters.ray_python import ROOT, enter_namespace, find_ray
from tests.support.models import graphs

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]
PROXIES = {"proxy": "0", "haproxy": "1"}


def tensor_request(model: str, rows: np.ndarray, **options: Any) -> dict[str, Any]:
    x = {"name": "x", "datatype": "FP32", "shape": list(rows.shape), "data": rows.tolist()}
    return {"path": f"/v2/models/{model}/infer", "body": json.dumps({"inputs": [x], **options}).encode().hex()}


def binary_request(rows: np.ndarray) -> dict[str, Any]:
    """Tensors as bytes, in and out."""
    data = rows.tobytes()
    x = {"name": "x", "datatype": "FP32", "shape": list(rows.shape), "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [x], "parameters": {"binary_data_output": True}}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    return {"path": "/v2/models/double/infer", "headers": headers, "body": (head + data).hex()}


def picture_request(folder: Path) -> dict[str, Any]:
    path = folder / "digit.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (8, 8), np.uint8)).save(path)
    headers = {"content-type": "image/png"}
    return {"path": "/classify?model=digits-classifier&top_k=10", "headers": headers, "body": path.read_bytes().hex()}


def write_requests(folder: Path) -> None:
    rows = np.random.default_rng(4).normal(size=(5, 3)).astype(np.float32)
    stream = json.dumps({"model": "digits-diffusion", "seed": 1, "steps": 5, "stream": True}).encode()
    posts = {
        "json": tensor_request("double", rows),
        "binary": binary_request(rows),
        "picture": picture_request(folder),
        "stream": {"path": "/generate", "body": stream.hex()},
        "wrong shape": tensor_request("double", rows[:, :2]),
        "unknown model": tensor_request("nothing", rows),
        "not JSON": {"path": "/v2/models/double/infer", "body": b"{".hex()},
    }
    gets = ("/v2", "/v2/models/digits-classifier", "/readyz", "/docs.json", "/nothing", "/schema.json", "/v2/models")
    requests = {name: {"method": "POST", **request} for name, request in posts.items()}
    requests |= {path: {"method": "GET", "path": path} for path in gets}
    (folder / "requests.json").write_text(json.dumps(requests))


@pytest.fixture(scope="module", params=PROXIES)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `ray_cluster.py` saw."""
    python, namespace = find_ray(), enter_namespace()
    folder = tmp_path_factory.mktemp("ray")
    store = folder / "store"
    for name in ("digits-classifier", "digits-diffusion"):
        shutil.copytree(DEFAULT_ROOT / name, store / name)
    graphs.write_plain(store, "double", graphs.double())
    write_requests(folder)
    with TemporaryDirectory(prefix="ray") as short:  # Ray puts sockets there, whose names may not be long
        variables = {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'deploy/ray'}",
            "RAY_TMPDIR": short,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # nobody else is in the namespace, and a token would go into the home
            "RAY_SERVE_ENABLE_HA_PROXY": PROXIES[request.param],
            "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",  # else the lost replica may have had no requests
        }
        run = subprocess.run(
            [*namespace, python, "-m", "tests.deploy.clusters.ray_cluster", str(store), str(folder)],
            cwd=ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=540,
        )
    logs = "".join(path.read_text()[-4000:] for path in folder.glob("*.log"))
    assert run.returncode == 0, run.stderr[-4000:] + logs
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


def without_ids_and_times(answer: dict[str, Any]) -> dict[str, Any]:
    """Without the id of the request, which is in the body of an error, and the times at the end of a stream."""
    body = bytes.fromhex(answer["body"])
    if answer["status"] >= 400:
        body = json.dumps({**json.loads(body), "request_id": ""}).encode()
    return {**answer, "body": re.sub(rb": server-timing: [^\n]+\n", b": server-timing\n", body)}


def test_answers_are_those_of_the_plain_server(told: dict[str, Any]) -> None:
    """Tensors, pictures, streams, cards, the schema and errors have the same status, type and bytes as without Ray."""
    assert {answer["status"] for answer in told["plain"].values()} == {200, 400, 404}
    for name, answer in told["plain"].items():
        assert without_ids_and_times(told["ray"][name]) == without_ids_and_times(answer), name
    assert told["ray"]["stream"]["type"].startswith("text/event-stream")
    assert told["request_ids"] == ["mine"], "an answer names its request once"


def test_no_request_fails_when_a_node_is_lost_under_load(told: dict[str, Any]) -> None:
    """Callers that try again get a right answer to every request, while one of two nodes is killed, and after.

    So do they while the application is deployed again, which replaces every replica.
    """
    load = told["load"]
    assert (load["wrong"], load["given_up"]) == (0, 0)
    assert load["right"] > 800


def test_replicas_follow_the_load_and_come_back(told: dict[str, Any]) -> None:
    """One replica becomes two under load, is two again after a node was lost and another came, and one at rest."""
    expected = {"at first": 1, "under load": 2, "with a node less": 1, "back": 2, "deployed again": 2, "at rest": 1}
    assert told["replicas"] == expected


def test_a_setting_that_is_rays_is_refused(told: dict[str, Any]) -> None:
    """A replica has one worker and one port, so some settings end the deployment with advice."""
    variables = {f"SLUICE_{name}" for name in ("WORKERS", "GRPC_PORT", "CONTROL", "TLS_CERTIFICATE")}
    assert set(told["refused"]) == {*variables, "arguments"}
    assert "autoscaling_config" in told["refused"]["SLUICE_WORKERS"]


def test_limits_of_ray_follow_ours(told: dict[str, Any]) -> None:
    """A replica gets what its queue takes, so that it answers 429 itself, and lanes are the cores that Ray gave it."""
    assert told["limits"] == {"max_ongoing_requests": 4104, "max_queued_requests": 4104, "lanes": [3, 1, 5]}
