"""Servers over stores of every kind: lazy, exact, large."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.models import graphs
from tests.support.servers import ServerPath, Serving, settings_for

X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}


def infer(client: httpx.Client, name: str) -> httpx.Response:
    return client.post(f"/v2/models/{name}/infer", json={"inputs": [X]})


def test_lazy_model_that_cannot_be_loaded_says_why(tmp_path: Path, server_path: ServerPath):
    """The request that asks for a broken model gets the reason, and so does the next one."""
    graphs.write_plain(tmp_path, "broken", b"no onnx")
    with Serving(settings_for(tmp_path, lazy=True), server_path) as server, server.client() as client:
        for _ in range(2):
            response = infer(client, "broken")
            assert response.status_code == 503
            assert "ONNX Runtime cannot load the graph" in response.json()["error"]


def test_lazy_model_is_loaded_by_the_first_who_ask(store: Path, server_path: ServerPath):
    """With SLUICE_LAZY nothing is loaded at the start; callers who come at once wait for one load, and are answered."""
    with Serving(settings_for(store, lazy=True), server_path) as server, server.client() as client:
        assert client.get("/readyz").status_code == 200
        assert not any(card["ready"] for card in client.get("/models").json()["models"])
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: infer(client, "double").json(), range(8)))
        assert all(a["outputs"][0]["data"] == [2.0, 4.0, 6.0] for a in answers)
        ready = {card["name"] for card in client.get("/models").json()["models"] if card["ready"]}
        assert ready == {"double"}
        assert client.get("/v2/models/add").json()["name"] == "add"
        row = [[[0.0] * 8] * 8]
        assert client.post("/classify", json={"inputs": [row]}).json()["model"] == "digits-classifier"


def test_time_in_which_a_model_is_loaded_counts(store: Path, server_path: ServerPath):
    """A request whose time was over before its model was there gets a 504, not an answer that it no longer wants."""
    with Serving(settings_for(store, lazy=True), server_path) as server, server.client() as client:
        urgent = {"inputs": [X], "parameters": {"timeout": 1000}}
        response = client.post("/v2/models/double/infer", json=urgent)
        assert response.status_code == 504
        assert response.json()["error"] == "the deadline passed before the request could be looked at"
        assert infer(client, "double").status_code == 200


def test_model_that_mixes_rows_serves_each_request_whole(tmp_path: Path, server_path: ServerPath):
    """Rows that influence each other are never cut or joined, so their bits are exact: also where that is required."""
    graphs.write_plain(tmp_path, "mixing", graphs.mixing())
    x = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
    with Serving(settings_for(tmp_path, require_exact=True), server_path) as server, server.client() as client:
        answer = client.post("/v2/models/mixing/infer", json={"inputs": [x]}).json()
        assert answer["outputs"][0]["data"] == [-1, -1, 1, 1]  # each minus the mean of the request
        [card] = client.get("/models").json()["models"]
        assert (card["batching"]["rows"], card["batching"]["bits"]) == ("mixing", "exact")
        assert "ReduceMean" in card["batching"]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_store_of_1500_models_starts_and_serves_each(tmp_path: Path, server_path: ServerPath, lazy: bool):
    """Fifteen hundred small models are loaded at the start, or when asked for, and each answers."""
    content = graphs.double()
    for number in range(1500):
        graphs.write_plain(tmp_path, f"model-{number}", content)
    with Serving(settings_for(tmp_path, lazy=lazy), server_path) as server, server.client() as client:
        for number in range(1500):
            answer = infer(client, f"model-{number}").json()
            assert answer["outputs"][0]["data"] == [2.0, 4.0, 6.0]
