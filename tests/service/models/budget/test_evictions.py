"""Servers whose models do not all fit into the memory limit."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper

from model_store import ModelVersion
from service.models.entry import EVICTED
from service.models.lifecycle import loads, versions
from service.models.loading import load_version
from tests.service.models.asking import X, Y, index, infer, load
from tests.support.gates import gated
from tests.support.grpc_servers import GrpcServing, tensor
from tests.support.models import graphs
from tests.support.pipelines.models import BLUE, RED, as_row, halves, write_store
from tests.support.servers import FAST, PATHS, ServerPath, Serving, settings_for, turn_until

SIZE = len(graphs.double())


def multiply(columns: int) -> bytes:
    """y = x w, with weights of 12 bytes a column."""
    return graphs.build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 3])],
        [("y", TensorProto.FLOAT, ["batch", columns])],
        {"w": np.ones((3, columns), np.float32)},
    )


def write(root: Path, *names: str) -> Path:
    for name in names:
        graphs.write_plain(root, name, graphs.double())
    return root


@contextmanager
def serve(
    root: Path, room_for: float, server_path: ServerPath = FAST, **changes: Any
) -> Iterator[tuple[Serving, httpx.Client]]:
    """A server with room for this many models that double numbers."""
    settings = settings_for(root, model_memory_bytes=int(room_for * SIZE), control=True, **changes)
    with Serving(settings, server_path) as server, server.client() as client:
        yield server, client


def ready(client: httpx.Client) -> set[str]:
    return {name for (name, _), (state, _) in index(client).items() if state == "READY"}


def counter(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"sluice_{name}"))


@contextmanager
def held_loads(monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[threading.Event]:
    """Loads of these models wait until the event is set."""
    may_load = threading.Event()

    def load_late(version: ModelVersion, *args: Any) -> Any:
        assert version.name not in names or may_load.wait(60)
        return load_version(version, *args)

    monkeypatch.setattr(loads, "load_version", load_late)
    try:
        yield may_load
    finally:
        may_load.set()


@pytest.mark.parametrize("server_path", PATHS, ids=lambda each: each.name)
def test_more_models_than_fit_are_all_answered(tmp_path: Path, server_path: ServerPath) -> None:
    """The start fills the memory. Then the least recently used model is evicted, and a later request loads it again."""
    write(tmp_path, "a", "b", "c", "d")
    with serve(tmp_path, 2.5, server_path) as (_, client):
        assert client.get("/readyz").status_code == 200
        assert ready(client) == {"a", "b"}
        assert infer(client, "c").json()["outputs"][0]["data"] == Y
        assert ready(client) == {"b", "c"}
        assert infer(client, "b").status_code == 200
        assert infer(client, "a").json()["outputs"][0]["data"] == Y
        assert ready(client) == {"a", "b"}, "c was used before b"
        for name in "dcba":
            assert infer(client, name, version="1").json()["outputs"][0]["data"] == Y
        assert ready(client) == {"a", "b"}
        assert counter(client, "model_evictions_total") == 6
        assert counter(client, "model_loads_on_demand_total") == 6
        taken = counter(client, "model_memory_bytes")
        assert taken == 2 * SIZE
        assert counter(client, "max_model_memory_bytes") == int(2.5 * SIZE)


def test_evicted_model_is_ready_and_not_loaded_for_whoever_asks_that(tmp_path: Path) -> None:
    """The index says why it is not in memory. Readiness and cards say that requests are answered, and load nothing."""
    write(tmp_path, "a", "b")
    with serve(tmp_path, 1.5) as (_, client):
        before = client.get("/models").json()["models"][0]
        assert infer(client, "b").status_code == 200
        assert index(client)["a", "1"] == ("UNAVAILABLE", EVICTED)
        assert index(client, ready=True).keys() == {("b", "1")}
        for path in ("/v2/models/a/ready", "/v2/models/a/versions/1/ready", "/v1/models/a"):
            assert client.get(path).json() == {"name": "a", "ready": True}
        card = client.get("/models").json()["models"][0]
        assert card.pop("on_demand") is True
        assert card.pop("versions") == [{"version": "1", "state": "UNAVAILABLE", "reason": EVICTED}]
        before.pop("versions")
        assert card == before, "what people need to ask it is still there"
        assert ready(client) == {"b"}
        assert client.get("/v2/models/a").json()["versions"] == ["1"], "its metadata needs the model"
        assert ready(client) == {"a"}


def test_card_of_a_model_that_was_never_loaded_says_that_a_request_loads_it(tmp_path: Path) -> None:
    """It has passed no checks, so it is not ready yet. A request for its readiness loads it."""
    write(tmp_path, "a", "b")
    with serve(tmp_path, 1.5, keep_models=("b",)) as (_, client):
        card = client.get("/models").json()["models"][0]
        assert (card["name"], card["ready"], card["on_demand"]) == ("a", False, True)
    with serve(tmp_path, 1.5) as (_, client):
        assert client.get("/v2/models/b/ready").status_code == 200
        card = client.get("/models").json()["models"][1]
        assert (card["name"], card["ready"], "on_demand" in card) == ("b", True, False)


def test_model_that_makes_room_as_soon_as_it_is_measured_keeps_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes more memory than its files. It has passed its checks, so it is ready, as its route says."""
    read = itertools.count(0, int(1.4 * SIZE))
    monkeypatch.setattr(versions, "read_memory", lambda on_cpu: next(read))
    write(tmp_path, "a", "b")
    with serve(tmp_path, 2.5, keep_models=("a",)) as (_, client):
        assert index(client)["b", "1"] == ("UNAVAILABLE", EVICTED)
        card = client.get("/models").json()["models"][1]
        assert (card["name"], card["ready"], card["serving"], card["on_demand"]) == ("b", True, "1", True)
        assert card["inputs"]


def test_readiness_probes_do_not_count_as_use(tmp_path: Path) -> None:
    """A model that is only probed is evicted before one that works."""
    write(tmp_path, "probed", "worked", "new")
    with serve(tmp_path, 2.5, models=("probed", "worked", "new")) as (_, client):
        for name in ("probed", "worked"):
            assert infer(client, name).status_code == 200
        assert client.get("/v2/models/probed/ready").status_code == 200
        assert infer(client, "new").status_code == 200
        assert ready(client) == {"new", "worked"}


def test_model_larger_than_all_memory_is_refused_with_the_figures(tmp_path: Path) -> None:
    """Nothing is evicted for it; the answer, the index and readiness say why."""
    write(tmp_path, "a")
    graphs.write_plain(tmp_path, "large", multiply(1000))
    with serve(tmp_path, 1.5, models=("a", "large")) as (_, client):
        refused = infer(client, "large")
        assert refused.status_code == 503
        assert "and all models of a worker together may take" in refused.json()["error"]
        assert "SLUICE_MODEL_MEMORY_BYTES" in index(client)["large", "1"][1]
        assert client.get("/v2/models/large/ready").status_code == 503
        assert ready(client) == {"a"}


def test_kept_models_load_first_and_never_make_room(tmp_path: Path) -> None:
    """If nothing else could be evicted, the request is refused with their names."""
    write(tmp_path, "a", "b", "z")
    with serve(tmp_path, 2.5, keep_models=("z",)) as (_, client):
        assert ready(client) == {"a", "z"}
        for name in "baba":
            assert infer(client, name).status_code == 200
        assert ready(client) == {"a", "z"}
    with serve(tmp_path, 1.5, keep_models=("z",)) as (_, client):
        refused = infer(client, "a")
        assert refused.status_code == 503
        assert "cannot be made free now: z version 1" in refused.json()["error"]
        assert infer(client, "z").status_code == 200


def test_request_whose_load_takes_too_long_gets_504_and_the_next_one_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a load counts as time of the request that waits for it."""
    write(tmp_path, "a", "b")
    with serve(tmp_path, 1.5) as (_, client), held_loads(monkeypatch, "b") as may_load:
        assert infer(client, "b", timeout=1000).status_code == 504
        may_load.set()
        assert infer(client, "b").json()["outputs"][0]["data"] == Y


def test_request_that_no_longer_waits_makes_nobody_go(tmp_path: Path) -> None:
    """Its load has not begun, and does not begin: the model that works stays."""
    write(tmp_path, "a", "b", "c")
    with serve(tmp_path, 1.5) as (server, client), ThreadPoolExecutor(2) as pool:
        loop, room = server.worker.tasks.loop, server.worker.registry.lifecycle.room
        assert infer(client, "a").status_code == 200
        with gated(server.worker.registry.find("a")) as gate:
            working = pool.submit(infer, client, "a")
            assert gate.entered.acquire(timeout=30)
            waiting = pool.submit(infer, client, "b")
            turn_until(loop, lambda: room.budget is not None and len(room.budget.claims) == 2)
            assert infer(client, "c", timeout=1000).status_code == 504
            turn_until(loop, lambda: room.budget is not None and len(room.budget.claims) == 2)
            gate.opened.set()
            assert working.result(30).status_code == 200
            assert waiting.result(30).status_code == 200
        assert ready(client) == {"b"}
        assert counter(client, 'model_evictions_total{model="b"}') == 0


def test_requests_of_a_version_that_makes_room_are_finished_first(tmp_path: Path) -> None:
    """The next load waits until they are answered and the memory is free again."""
    write(tmp_path, "a", "b")
    with serve(tmp_path, 1.5) as (server, client), ThreadPoolExecutor(2) as pool:
        with gated(server.worker.registry.find("a")) as gate:
            working = pool.submit(infer, client, "a")
            assert gate.entered.acquire(timeout=30)
            waiting = pool.submit(infer, client, "b")
            turn_until(server.worker.tasks.loop, lambda: server.worker.registry.entries["a"].serving is None)
            assert index(client)["a", "1"][0] == "UNLOADING"
            assert not waiting.done()
            gate.opened.set()
            assert working.result(30).json()["outputs"][0]["data"] == Y
        assert waiting.result(30).json()["outputs"][0]["data"] == Y
        assert index(client)["a", "1"] == ("UNAVAILABLE", EVICTED)


def test_loads_at_once_do_not_exceed_the_memory_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight callers use eight models with room for two, again and again: none fails, and no load exceeds the limit."""
    names = [f"m{number}" for number in range(8)]
    write(tmp_path, *names)
    most: list[int] = []

    def note(version: ModelVersion, *args: Any) -> Any:
        budget = room.budget
        assert budget is not None
        most.append(budget.taken_bytes)
        return load_version(version, *args)

    with serve(tmp_path, 2.5) as (server, client), ThreadPoolExecutor(8) as pool:
        room = server.worker.registry.lifecycle.room
        monkeypatch.setattr(loads, "load_version", note)
        answers = list(pool.map(lambda number: infer(client, names[number % 8]), range(96)))
        assert [each.json()["outputs"][0]["data"] for each in answers] == [Y] * 96
    assert most, "some were loaded on demand"
    assert max(most) <= 2.5 * SIZE


def over_v1(client: httpx.Client) -> Any:
    return client.post("/v1/models/m:predict", json={"instances": [X["data"]]}).json()["predictions"][0]


def over_v2(client: httpx.Client) -> Any:
    return infer(client, "m").json()["outputs"][0]["data"]


def large_over_v2(client: httpx.Client) -> Any:
    """Read in a thread."""
    rows = 40_000
    body = {"inputs": [{**X, "shape": [rows, 3], "data": [1, 2, 3] * rows}]}
    return client.post("/v2/models/m/infer", json=body, timeout=60).json()["outputs"][0]["data"][-3:]


@pytest.mark.parametrize("ask", [over_v1, over_v2, large_over_v2])
@pytest.mark.parametrize("server_path", PATHS, ids=lambda each: each.name)
def test_every_route_of_tensors_waits_for_an_evicted_model(
    tmp_path: Path, server_path: ServerPath, ask: Callable[[httpx.Client], Any]
) -> None:
    """The answer is that of a model which was in memory all the time."""
    write(tmp_path, "m", "other")
    with serve(tmp_path, 1.5, server_path) as (_, client):
        assert infer(client, "other").status_code == 200
        assert ready(client) == {"other"}
        assert ask(client) == Y


def test_calls_over_grpc_wait_for_an_evicted_model(tmp_path: Path) -> None:
    """It is ready, and answers."""
    write(tmp_path, "m", "other")
    settings = settings_for(tmp_path, model_memory_bytes=int(1.5 * SIZE))
    with GrpcServing(settings) as server, server.client() as http, server.grpc_client() as client:
        assert infer(http, "other").status_code == 200
        assert client.is_model_ready("m")
        assert ready(http) == {"other"}
        answer = client.infer("m", [tensor("x", np.array([X["data"]], np.float32))])
        assert answer.as_numpy("y").tolist() == [Y]


def test_pipeline_waits_for_all_models_of_its_steps(tmp_path: Path) -> None:
    """It is ready although they were evicted. When they are loaded, they count as just used."""
    write_store(tmp_path, "colours")
    graphs.write_plain(tmp_path, "a", multiply(20_000))
    limit = (tmp_path / "a" / "1" / "model.onnx").stat().st_size + 64
    settings = settings_for(
        tmp_path, max_rows=8, model_memory_bytes=limit, models=("a", "colours", "finder", "painter")
    )
    row = as_row(halves(RED, BLUE))
    with Serving(settings, FAST) as server, server.client() as client:
        for _ in range(2):
            answer = client.post("/pipeline", json={"model": "colours", "inputs": [row]})
            assert answer.json()["predictions"] == [{"colours": ["red", "blue"]}], answer.text
            assert client.get("/v2/models/a").status_code == 200
            assert client.get("/v2/models/colours/ready").status_code == 200
            assert ready(client) == {"a", "colours"}


def test_evicted_model_is_still_the_default_of_its_task(tmp_path: Path) -> None:
    """A task without a model name is not answered by another model that happens to be in memory."""
    write_store(tmp_path, "colours")
    with Serving(settings_for(tmp_path, max_rows=8, model_memory_bytes=1 << 20), FAST) as server:
        names = dict(server.worker.registry.lifecycle.defaults.names)
        room = server.worker.registry.lifecycle.room

        async def evict() -> None:
            for claim in list(room._holders):
                room._evict(claim)

        asyncio.run_coroutine_threadsafe(evict(), server.worker.tasks.loop).result(30)
        assert not list(server.worker.registry.models())
        assert server.worker.registry.lifecycle.defaults.names == names


def test_named_versions_make_room_one_by_one(tmp_path: Path) -> None:
    """A request for one version, by number or alias, loads that version and no other."""
    for version in (1, 2, 3):
        graphs.write_plain(tmp_path, "m", graphs.double(), version=version)
    (tmp_path / "m" / "aliases.json").write_text('{"old": 1, "older": 2}')
    with serve(tmp_path, 1.5) as (_, client):
        for asked, number in (("old", "1"), ("2", "2"), ("", "3"), ("old", "1"), ("older", "2"), ("", "3")):
            assert infer(client, "m", version=asked).json()["model_version"] == number
            assert [key[1] for key, (state, _) in index(client).items() if state == "READY"] == [number]


def test_new_version_that_has_no_room_beside_the_old_one_is_refused_and_the_old_one_serves(tmp_path: Path) -> None:
    """The figures name what holds the memory. When the model has been evicted, the new version is loaded."""
    write(tmp_path, "m", "other")
    with serve(tmp_path, 1.5) as (_, client):
        graphs.write_plain(tmp_path, "m", graphs.double(), version=2)
        refused = load(client, "m")
        assert refused.status_code == 503
        assert "cannot be made free now: m version 1" in refused.json()["error"]
        assert infer(client, "m").json()["model_version"] == "1"
        assert infer(client, "other").status_code == 200
        assert load(client, "m").status_code == 200
        assert infer(client, "m").json()["model_version"] == "2"


def test_unloaded_model_is_not_loaded_again_by_a_request(tmp_path: Path) -> None:
    """Whether it was in memory or evicted."""
    write(tmp_path, "a", "b")
    with serve(tmp_path, 1.5) as (_, client):
        assert infer(client, "b").status_code == 200
        for name in ("a", "b"):
            assert client.post(f"/v2/repository/models/{name}/unload").status_code == 200
            refused = infer(client, name)
            assert (refused.status_code, "it was unloaded" in refused.json()["error"]) == (503, True)
            assert client.get(f"/v2/models/{name}/ready").status_code == 503
        assert load(client, "a").status_code == 200
        assert infer(client, "a").status_code == 200


def test_version_that_is_damaged_when_it_comes_back_gives_way_to_an_older_one(tmp_path: Path) -> None:
    """What was proved once is proved again at each load."""
    x = np.ones((8, 3), np.float32)
    for _ in range(2):
        graphs.publish(tmp_path, "m", graphs.double(), x, 2 * x)
    graphs.write_plain(tmp_path, "other", multiply(20_000))
    limit = (tmp_path / "other" / "1" / "model.onnx").stat().st_size + 64
    settings = settings_for(tmp_path, model_memory_bytes=limit, models=("m", "other"))
    with Serving(settings, FAST) as server, server.client() as client:
        assert infer(client, "m").json()["model_version"] == "2"
        assert client.get("/v2/models/other").status_code == 200
        assert ready(client) == {"other"}
        (tmp_path / "m" / "2" / "main.onnx").write_bytes(graphs.look_up())
        answer = infer(client, "m")
        assert answer.json().get("model_version") == "1", answer.text
        assert "is not the file that was published" in index(client)["m", "2"][1]
