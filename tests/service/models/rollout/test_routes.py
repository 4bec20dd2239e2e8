"""Every route that takes requests for models shares them out, and the answers are compared."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store import Store
from model_store.rollout import Rollout, write_rollout
from model_store.tasks import Reconstruction
from tests.service.models.rollout.serving import canary, serving, shadow
from tests.support.driving import describe
from tests.support.grpc_servers import GrpcServing, tensor
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for, turn_until

X = np.array([[1, 2, 3]], np.float32)


def publish(root: Path, name: str = "m", versions: int = 2) -> None:
    """Versions that double rows of three numbers, for tensors and as a task; the first is stable."""
    facts = describe({"main": graphs.double()}, task="reconstruct", reconstruction=Reconstruction(output="y"))
    for _ in range(versions):
        Store(root).publish(facts.model_copy(update={"name": name}), {"main.onnx": graphs.double()})
    Store(root).set_alias(name, "stable", 1)


def publish_adder(root: Path) -> None:
    """Versions of a model that adds up in sequences; the first is stable."""
    for _ in range(2):
        graphs.write_loop(root, "m", graphs.add_up(), {"total": "next_total", "x": None})
    Store(root).set_alias("m", "stable", 1)


def by_infer(server: GrpcServing) -> None:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    with server.client() as client:
        client.post("/v2/models/m/infer", json=body).raise_for_status()


def by_grpc(server: GrpcServing) -> None:
    with server.grpc_client() as client:
        client.infer("m", [tensor("x", X)])


def by_predict(server: GrpcServing) -> None:
    with server.client() as client:
        client.post("/v1/models/m:predict", json={"instances": X.tolist()}).raise_for_status()


def by_generate(server: GrpcServing) -> None:
    with server.client() as client:
        client.post("/v2/models/m/generate", json={"x": X.tolist()[0]}).raise_for_status()


def by_task(server: GrpcServing) -> None:
    with server.client() as client:
        client.post("/reconstruct", json={"inputs": X.tolist()}).raise_for_status()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    publish(root)
    return root


@pytest.mark.parametrize("ask", [by_infer, by_grpc, by_predict, by_generate, by_task])
def test_route_shares_its_requests_out(
    root: Path, ask: Callable[[GrpcServing], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both versions answer, and each answer of the canary is compared with what the stable version gives."""
    write_rollout(root / "m", Rollout(canary=canary(percent=50)))
    monkeypatch.setattr("service.models.rollout.rollouts.WINDOW_S", 3600.0)  # so that nothing is judged meanwhile
    with GrpcServing(settings_for(root, max_rows=4), FAST) as server:
        for _ in range(16):
            ask(server)
        turn_until(server.worker.tasks.loop, lambda: window_of(server).compared == window_of(server).canary.requests)
        window = window_of(server)
        assert window.canary.requests > 0
        assert window.stable.requests > 0
        assert (window.canary.failed, window.differ) == (0, 0)


def window_of(server: Serving) -> Any:
    """What was noted."""
    rollout: Any = server.worker.registry.entries["m"].rollout
    return rollout.window


def test_sequence_stays_with_the_version_of_its_first_request(tmp_path: Path) -> None:
    """The first requests are shared out; the others follow, also when the canary goes back meanwhile."""
    publish_adder(tmp_path)
    write_rollout(tmp_path / "m", Rollout(canary=canary(percent=50)))
    with serving(tmp_path) as server, server.client() as client:

        def add(sequence: int, **marks: bool) -> tuple[str, float]:
            x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
            body = {"inputs": [x], "parameters": {"sequence_id": sequence, **marks}}
            said = client.post("/v2/models/m/infer", json=body).raise_for_status().json()
            return said["model_version"], said["outputs"][0]["data"][0]

        begun = {number: add(number, sequence_start=True) for number in range(1, 17)}
        assert {version for version, _ in begun.values()} == {"1", "2"}
        assert {number: add(number) for number in begun} == {n: (version, 2) for n, (version, _) in begun.items()}
        rollout: Any = server.worker.registry.entries["m"].rollout
        told = {"model": "m", "trial": rollout.facts.canary.trial, "reason": "a test"}
        run(server, lambda: server.worker.rollouts.give_back(told))
        assert {number: add(number) for number in begun} == {n: (version, 3) for n, (version, _) in begun.items()}
        assert {add(number, sequence_start=True)[0] for number in range(100, 110)} == {"1"}


def run(server: Serving, do: Callable[[], Any]) -> None:
    """Do something on the loop of the server."""
    asyncio.run_coroutine_threadsafe(do(), server.worker.tasks.loop).result(30)


@pytest.mark.long
def test_large_body_is_read_in_a_thread_and_shared_out_once(root: Path) -> None:
    """The version is chosen while the body is read; the request is noted once."""
    write_rollout(root / "m", Rollout(shadow=shadow()))
    rows = np.ones((20_000, 3)).tolist()
    with serving(root) as server, server.client() as client:
        client.post("/reconstruct", json={"inputs": rows}).raise_for_status()
        compared = server.worker.metrics.sums
        turn_until(server.worker.tasks.loop, lambda: sum(map(sum, compared()["sluice_compared"].values())) == 1)


def test_header_chooses_over_grpc_too(root: Path) -> None:
    """It is metadata there; each value gets the version that it gets over HTTP."""
    write_rollout(root / "m", Rollout(canary=canary(percent=50, header="x-user")))
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    got: dict[str, set[str]] = {"http": set(), "grpc": set()}
    with (
        GrpcServing(settings_for(root, max_rows=4), FAST) as server,
        server.client() as http,
        server.grpc_client() as grpc,
    ):
        for user in range(12):
            name = f"u{user}"
            said = http.post("/v2/models/m/infer", json=body, headers={"X-User": name}).raise_for_status().json()
            got["http"].add(f"{name} {said['model_version']}")
            answer = grpc.infer("m", [tensor("x", X)], headers={"x-user": name}).get_response()
            got["grpc"].add(f"{name} {answer.model_version}")
    assert got["http"] == got["grpc"]
    assert {each[-1] for each in got["grpc"]} == {"1", "2"}
