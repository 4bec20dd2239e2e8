"""Open sequences and streams keep their version in memory, and tasks wait for a load like other requests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from onnx import TensorProto, helper

from model_store import DEFAULT_ROOT
from service.models.entry import EVICTED, NO_ROOM
from tests.service.models.asking import index, infer
from tests.service.models.following.stores import until, write_aliases
from tests.support.connections.listening import write_listeners
from tests.support.connections.live import LiveClient
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for


def size_of(root: Path, name: str) -> int:
    """The bytes of all files of a model's first version, which it needs to be loaded."""
    return sum(file.stat().st_size for file in (root / name / "1").rglob("*") if file.is_file())


@contextmanager
def serve(root: Path, limit: int, **changes: Any) -> Iterator[tuple[Serving, httpx.Client]]:
    settings = settings_for(root, model_memory_bytes=limit, control=True, max_rows=4, **changes)
    with Serving(settings, FAST) as server, server.client() as client:
        yield server, client


def weigh(root: Path, name: str, limit: int) -> None:
    """A model that fits into the limit only by itself."""

    def build(weights: int) -> bytes:
        return graphs.build(
            [helper.make_node("Identity", ["x"], ["y"])],
            [("x", TensorProto.FLOAT, ["batch", 3])],
            [("y", TensorProto.FLOAT, ["batch", 3])],
            {"unused": np.ones(weights, np.float32)},
        )

    weights = limit // 4
    graphs.write_plain(root, name, build(weights - (len(build(weights)) - limit) // 4 - 1))
    assert limit - 8 <= size_of(root, name) <= limit


def add(client: httpx.Client, **marks: bool) -> httpx.Response:
    x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}
    return client.post("/v2/models/adder/infer", json={"inputs": [x], "parameters": {"sequence_id": "s", **marks}})


def test_version_with_an_open_sequence_does_not_make_room(tmp_path: Path) -> None:
    """Its state would be lost. Requests that need its memory are refused with its name until the sequence has ended."""
    graphs.write_loop(tmp_path, "adder", graphs.add_up(), {"total": "next_total", "x": None})
    limit = size_of(tmp_path, "adder") + 800
    weigh(tmp_path, "other", limit)
    with serve(tmp_path, limit, sequence_idle_s=600.0) as (_, client):
        assert add(client, sequence_start=True).status_code == 200
        refused = infer(client, "other")
        assert (refused.status_code, "adder version 1" in refused.json()["error"]) == (503, True)
        assert add(client, sequence_end=True).json()["outputs"][0]["data"] == [2.0]
        until(lambda: infer(client, "other").status_code == 200)
        assert index(client)["adder", "1"] == ("UNAVAILABLE", EVICTED)
        assert add(client, sequence_start=True).json()["outputs"][0]["data"] == [1.0]


def test_version_with_an_open_stream_does_not_make_room(tmp_path: Path) -> None:
    """A stream is not ended because another model is needed."""
    write_listeners(tmp_path)
    limit = size_of(tmp_path, "adder") + 800
    weigh(tmp_path, "other", limit)
    with serve(tmp_path, limit, models=("adder", "other")) as (server, client):
        with LiveClient(server, "/v2/models/adder/stream?format=float32") as stream:
            stream.say(np.ones(4, "<f4").tobytes())
            assert stream.next()["outputs"] == {"so_far": [4.0]}
            assert infer(client, "other").status_code == 503
            stream.say(np.ones(4, "<f4").tobytes())
            assert stream.next()["outputs"] == {"so_far": [8.0]}
            stream.say('{"end": true}')
        until(lambda: infer(client, "other").status_code == 200)


def test_new_version_of_a_model_that_has_made_room_is_loaded_when_asked_for(tmp_path: Path) -> None:
    """Following the store evicts nothing; the next request loads the new version, and the old one is dropped."""
    size = len(graphs.double())
    for name in ("m", "other"):
        graphs.write_plain(tmp_path, name, graphs.double())
    with serve(tmp_path, int(1.5 * size), follow=True) as (_, client):
        assert infer(client, "other").status_code == 200
        assert index(client)["m", "1"] == ("UNAVAILABLE", EVICTED)
        graphs.write_plain(tmp_path, "m", graphs.double(), version=2)
        until(lambda: index(client)["m", "2"][1] == NO_ROOM)
        assert index(client)["other", "1"][0] == "READY"
        assert infer(client, "m").json()["model_version"] == "2"
        assert index(client)["other", "1"][0] != "READY"
        until(lambda: "made room" not in index(client).get(("m", "1"), ("", ""))[1])


def copy(root: Path, *names: str) -> int:
    """Copy reference models. Returns how many bytes the largest needs."""
    for name in names:
        shutil.copytree(DEFAULT_ROOT / name, root / name)
    return max(size_of(root, name) for name in names)


def test_tasks_wait_for_an_evicted_model_and_states_go_on(tmp_path: Path) -> None:
    """A task by its default model and by name; a state that a caller keeps belongs to the version, loaded again."""
    limit = copy(tmp_path, "sunspots-forecaster", "digits-classifier")
    digit = np.zeros((1, 8, 8)).tolist()
    with serve(tmp_path, limit, max_steps=50) as (_, client):

        def forecast(row: Any, **more: Any) -> Any:
            answer = client.post("/predict_sequence", json={"inputs": [row], "horizon": 1, **more})
            assert answer.status_code == 200, answer.text
            return answer.json()["predictions"][0]

        begun = forecast([float(number % 7) for number in range(40)], return_state=True)
        later = {"values": [5.0], "state": begun["state"]}
        expected = forecast(later)
        for _ in range(2):
            answer = client.post("/classify", json={"inputs": [digit]})
            assert answer.status_code == 200, answer.text
            until(lambda: index(client)["sunspots-forecaster", "1"][1] == EVICTED)
            assert forecast(later) == expected


def test_signed_state_brings_back_the_version_that_gave_it(tmp_path: Path) -> None:
    """It was evicted, and another version answers by default: the state is not refused as that of another version."""
    for number in ("1", "2"):
        shutil.copytree(DEFAULT_ROOT / "sunspots-forecaster" / "1", tmp_path / "sunspots-forecaster" / number)
    write_aliases(tmp_path, '{"previous": 1}', "sunspots-forecaster")
    limit = 3 * size_of(tmp_path, "sunspots-forecaster")
    weigh(tmp_path, "other", limit)
    with serve(tmp_path, limit, state_key="of these tests", deadline_s=60.0) as (_, client):

        def ask(series: Any, **more: Any) -> tuple[str, Any]:
            body = {"model": "sunspots-forecaster", "inputs": [series], "horizon": 1, **more}
            said = client.post("/predict_sequence", json=body)
            assert said.status_code == 200, said.text
            return said.json()["version"], said.json()["predictions"]

        begun = ask([float(number) for number in range(40)], return_state=True, version="previous")[1][0]
        later = {"values": [40.0], "state": begun["state"]}
        expected = ask(later)
        assert expected[0] == "1"
        assert infer(client, "other").status_code == 200
        assert ask([1.0, 2.0, 3.0])[0] == "2"
        assert index(client)["sunspots-forecaster", "1"] == ("UNAVAILABLE", EVICTED)
        assert ask(later) == expected
        assert ask([1.0, 2.0, 3.0])[0] == "2"
