"""Requests whose JSON part came before: what is not looked at again, and what is."""

import json

import httpx
import numpy as np
import pytest

CLASSIFIER, DOUBLE = "/v2/models/digits-classifier/infer", "/v2/models/double/infer"


def ask(client: httpx.Client, path: str, name: str, array: np.ndarray, request_id: str = "") -> httpx.Response:
    content = array.astype("<f4").tobytes()
    item = {"name": name, "shape": array.shape, "datatype": "FP32", "parameters": {"binary_data_size": len(content)}}
    header = json.dumps({"id": request_id, "inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return client.post(path, content=header + content, headers=headers)


def read(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content[int(answer.headers["inference-header-content-length"]) :], "<f4")


def test_values_are_looked_at_each_time(client: httpx.Client):
    """Where only finite numbers are taken, a NaN is refused also behind a JSON part that has passed, and by itself."""
    good = np.zeros((1, 1, 8, 8), np.float32)
    bad = good.copy()
    bad[0, 0, 3, 3] = np.nan
    first = read(ask(client, CLASSIFIER, "image", good))
    for _ in range(2):
        refused = ask(client, CLASSIFIER, "image", bad)
        assert refused.status_code == 400
        assert "expected finite numbers, got nan at [0, 0, 3, 3]" in refused.json()["error"]
        assert read(ask(client, CLASSIFIER, "image", good)).tobytes() == first.tobytes()


@pytest.mark.parametrize("change", [-4, 4])
def test_length_is_looked_at_each_time(client: httpx.Client, change: int):
    """A body shorter or longer than the last with the same JSON part is refused, and the next one is answered."""
    row = np.ones((1, 3), np.float32)
    sent = ask(client, DOUBLE, "x", row).request
    content = sent.content[:change] if change < 0 else sent.content + b"\0" * change
    headers = {"Inference-Header-Content-Length": sent.headers["Inference-Header-Content-Length"]}
    refused = client.post(DOUBLE, content=content, headers=headers)
    assert refused.status_code == 400
    assert f"expected 12 bytes of tensors after the header, got {12 + change}" in refused.json()["error"]
    assert read(ask(client, DOUBLE, "x", row)).tolist() == [2.0, 2.0, 2.0]


def test_each_caller_gets_its_own_answer_however_many_forms_there_are(client: httpx.Client):
    """More JSON parts than are kept, each twice: numbers and ids are those of the request."""
    for number in range(300):
        for _ in range(2):
            rows = 1 + number % 3
            answer = ask(client, DOUBLE, "x", np.full((rows, 3), number, np.float32), f"id {number}")
            assert read(answer).tolist() == [2.0 * number] * 3 * rows
            text = answer.content[: int(answer.headers["inference-header-content-length"])]
            assert json.loads(text)["id"] == f"id {number}"
