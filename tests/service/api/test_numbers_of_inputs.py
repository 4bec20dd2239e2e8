"""Models with no inputs, and with more of them than a request may have elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.models import graphs
from tests.support.servers import ServerPath, Serving, settings_for
from tests.support.wires import Wire, request_bytes

MANY = 300


@pytest.fixture(scope="module")
def client(server_path: ServerPath, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """At most ten inputs a request, but for models that have more."""
    root = tmp_path_factory.mktemp("store")
    graphs.write_plain(root, "draw", graphs.draw())
    graphs.write_plain(root, "table", graphs.columns(MANY))
    graphs.write_plain(root, "double", graphs.double())
    graphs.write_loop(root, "grow", graphs.add_up(), {"total": "next_total", "x": None})
    with Serving(settings_for(root, max_inputs=10), server_path) as server, server.client() as client:
        yield client


def infer(client: httpx.Client, model: str, **body: Any) -> httpx.Response:
    return client.post(f"/v2/models/{model}/infer", json=body)


def drawn(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    [output] = response.json()["outputs"]
    assert output["shape"] == [2, 2]
    found: list[float] = output["data"]
    return found


def test_inputs_that_are_missing_are_named(client: httpx.Client):
    """An empty array is refused by what the model takes; an absent or null one for what it is."""
    assert "inputs: expected x, got none" in infer(client, "double", inputs=[]).json()["error"]
    for body in ({}, {"inputs": None}):
        response = client.post("/v2/models/draw/infer", json=body)
        assert response.status_code == 400
        assert "inputs: expected an array of at most 10 tensors, got null" in response.json()["error"]


def test_too_many_inputs_are_refused_by_the_setting(client: httpx.Client):
    """A model with fewer inputs than the setting refuses more than that, for inputs and outputs alike."""
    item = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    refused = infer(client, "double", inputs=[{**item, "name": f"x{i}"} for i in range(11)])
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        "inputs: expected an array of at most 10 tensors, got 11",
    )
    refused = infer(client, "double", inputs=[item], outputs=[{"name": "y"}] * 11)
    assert (refused.status_code, refused.json()["error"]) == (400, "outputs: expected an array of at most 10, got 11")


def test_model_without_inputs_answers_each_request_by_a_run_of_its_own(client: httpx.Client):
    """Requests with an empty array of inputs get new numbers each; so do the protocol's flat routes."""
    answers = [drawn(infer(client, "draw", inputs=[])) for _ in range(3)]
    flat = client.post("/v2/models/draw/generate", json={})
    assert flat.status_code == 200
    answers.append(flat.json()["y"])
    assert len({tuple(answer) for answer in answers}) == 4
    assert all(0 <= value < 1 for answer in answers for value in answer)


def test_requests_to_a_model_without_inputs_share_no_run(client: httpx.Client, server_path: ServerPath, tmp_path: Path):
    """Requests that wait together are answered with different numbers."""
    graphs.write_plain(tmp_path, "draw", graphs.draw())
    body = json.dumps({"inputs": []}).encode()
    with Serving(settings_for(tmp_path), server_path) as server, Wire(server) as wire:
        wire.send(*[request_bytes(body, "/v2/models/draw/infer")] * 20)
        answers = [json.loads(wire.read()[2])["outputs"][0]["data"] for _ in range(20)]
    assert len({tuple(answer) for answer in answers}) == 20


def test_model_without_inputs_answers_in_binary_form(client: httpx.Client):
    """The header is all of the body, the first time and when it comes again; a raw body has no input to be."""
    header = json.dumps({"inputs": [], "parameters": {"binary_data_output": True}}).encode()
    found = []
    for _ in range(3):
        headers = {"Inference-Header-Content-Length": str(len(header))}
        answer = client.post("/v2/models/draw/infer", content=header, headers=headers)
        assert answer.status_code == 200, answer.text
        found.append(np.frombuffer(answer.content[int(answer.headers["inference-header-content-length"]) :], "<f4"))
    assert len({array.tobytes() for array in found}) == 3
    raw = client.post("/v2/models/draw/infer", content=b"", headers={"Inference-Header-Content-Length": "0"})
    assert raw.status_code == 400
    assert "needs a model with one input, but there are 0" in raw.json()["error"]


def test_model_without_inputs_has_no_rows_for_kserve(client: httpx.Client):
    """The first protocol has rows, so it names the route that answers, and that one does."""
    refused = client.post("/v1/models/draw:predict", json={"instances": [{}]})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("model 'draw' takes no rows")
    assert refused.json()["error"].endswith(": use /v2/models/draw/infer")


def test_sequence_goes_on_without_any_input(client: httpx.Client):
    """Where a model carries all that it takes, a request need not send anything besides the sequence."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2]}
    begun = infer(client, "grow", inputs=[x], parameters={"sequence_id": 7, "sequence_start": True})
    assert begun.json()["outputs"][0]["data"] == [2]
    for total in (4, 6):
        assert infer(client, "grow", inputs=[], parameters={"sequence_id": 7}).json()["outputs"][0]["data"] == [total]


def test_model_takes_as_many_inputs_as_it_has(client: httpx.Client):
    """Three hundred columns, in JSON and binary form, and as many outputs by name, are answered; more are refused."""
    values = np.arange(2 * MANY, dtype=np.float32).reshape(2, MANY)
    items = [{"name": f"c{i}", "datatype": "FP32", "shape": [2, 1], "data": values[:, i].tolist()} for i in range(MANY)]
    answer = infer(client, "table", inputs=items, outputs=[{"name": f"d{i}"} for i in range(MANY)])
    assert answer.status_code == 200, answer.text
    assert [output["data"] for output in answer.json()["outputs"]] == values.T.tolist()
    binary = [{**item, "parameters": {"binary_data_size": 8}} for item in items]
    for item in binary:
        del item["data"]
    header = json.dumps({"inputs": binary, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}).encode()
    content = header + np.ascontiguousarray(values.T).astype("<f4").tobytes()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    answer = client.post("/v2/models/table/infer", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    tensor = answer.content[int(answer.headers["inference-header-content-length"]) :]
    assert tensor == values.astype("<f4").tobytes()
    refused = infer(client, "table", inputs=[*items, {**items[0], "name": "more"}, {**items[0], "name": "most"}])
    assert refused.status_code == 400
    assert "inputs: expected an array of at most 301 tensors, got 302" in refused.json()["error"]
