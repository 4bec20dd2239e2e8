"""Models with no inputs, and with more of them than a request may have elsewhere."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.answers import assert_error
from tests.support.models import graphs
from tests.support.servers import FAST, Serving, settings_for

MANY = 300
LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """At most ten inputs a request, but for models that have more."""
    root = tmp_path_factory.mktemp("store")
    graphs.write_plain(root, "draw", graphs.draw())
    graphs.write_plain(root, "table", graphs.columns(MANY))
    graphs.write_plain(root, "double", graphs.double())
    graphs.write_loop(root, "grow", graphs.add_up(), {"total": "next_total", "x": None})
    with Serving(settings_for(root, max_inputs=10), FAST) as server:
        yield server


def infer(client: httpx.Client, model: str, **body: Any) -> httpx.Response:
    return client.post(f"/v2/models/{model}/infer", json=body)


ITEM = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"inputs": []}, "inputs: expected x, got none"),
        ({}, "inputs: expected an array of at most 10 tensors, got null"),
        ({"inputs": [{**ITEM, "name": f"x{i}"} for i in range(11)]}, "array of at most 10 tensors, got 11"),
        ({"inputs": [ITEM], "outputs": [{"name": "y"}] * 11}, "outputs: expected an array of at most 10, got 11"),
    ],
    ids=["none", "absent", "too many inputs", "too many outputs"],
)
def test_other_numbers_of_tensors_are_refused(client: httpx.Client, body: dict[str, Any], text: str):
    """A model with fewer tensors than the setting allows takes no more than that; what is missing is named."""
    refused = infer(client, "double", **body)
    assert_error(refused, 400, text)


def test_model_without_inputs_runs_for_each_request(client: httpx.Client):
    """Requests without a tensor get new numbers each, in every form; KServe's predict, which needs rows, refuses."""
    outputs = [infer(client, "draw", inputs=[]).json()["outputs"][0] for _ in range(3)]
    assert [output["shape"] for output in outputs] == [[2, 2]] * 3
    found = [output["data"] for output in outputs] + [client.post("/v2/models/draw/generate", json={}).json()["y"]]
    header = json.dumps({"inputs": [], "parameters": {"binary_data_output": True}}).encode()
    for _ in range(3):  # the header is all of the body, the first time and when it comes again
        answer = client.post("/v2/models/draw/infer", content=header, headers={LENGTH: str(len(header))})
        assert answer.status_code == 200, answer.text
        found.append(np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], "<f4").tolist())
    assert len({tuple(numbers) for numbers in found}) == 7
    assert all(0 <= number < 1 for numbers in found for number in numbers)
    raw = client.post("/v2/models/draw/infer", content=b"", headers={LENGTH: "0"})
    assert (raw.status_code, "a model with one input, but there are 0" in raw.json()["error"]) == (400, True)
    refused = client.post("/v1/models/draw:predict", json={"instances": [{}]})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("model 'draw' takes no rows")
    assert refused.json()["error"].endswith(": use /v2/models/draw/infer")


def test_sequence_goes_on_without_any_input(client: httpx.Client):
    """Where the server keeps all inputs of a model, a request sends the sequence alone."""
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
    binary = [{**item, "data": None, "parameters": {"binary_data_size": 8}} for item in items]
    header = json.dumps({"inputs": binary, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}).encode()
    content = header + np.ascontiguousarray(values.T).astype("<f4").tobytes()
    answer = client.post("/v2/models/table/infer", content=content, headers={LENGTH: str(len(header))})
    assert answer.status_code == 200, answer.text
    assert answer.content[int(answer.headers[LENGTH]) :] == values.astype("<f4").tobytes()
    refused = infer(client, "table", inputs=[*items, {**items[0], "name": "more"}, {**items[0], "name": "most"}])
    assert_error(refused, 400, "inputs: expected an array of at most 301 tensors, got 302")
