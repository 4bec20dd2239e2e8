"""What all routes have in common, /classify, and what the service tells of its models."""

import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton

from model_store import GoldenSamples, Store
from model_store.tasks import Picture
from service.codecs.pictures.writer import encode_png
from tests.support.answers import assert_error, sum_series
from tests.support.pictures.encoding import as_row
from tests.support.servers import FAST, Serving, settings_for
from tests.support.wires import INFER

X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [[1, 2, 3]]}
ROW = [[[0.0] * 8] * 8]


@pytest.fixture(scope="session")
def golden(store: Path) -> GoldenSamples:
    version = Store(store).find("digits-classifier")
    found = version.read_golden(version.read_manifest())
    assert found is not None
    return found


LONG = "n" * 5000
ECHOED: dict[str, tuple[str, dict[str, Any]]] = {
    "model": (f"/v2/models/{LONG[:3000]}/infer", {"inputs": [X]}),
    "version": (f"/v2/models/double/versions/{LONG[:3000]}/infer", {"inputs": [X]}),
    "route": (f"/{LONG[:3000]}", {}),
    "input": (INFER, {"inputs": [{**X, "name": LONG}]}),
    "inputs": (INFER, {"inputs": [{**X, "name": f"{i}{LONG}"} for i in range(9)]}),
    "data of an input": (INFER, {"inputs": [{**X, "name": LONG, "data": ["a", "b", "c"]}]}),
    "number of data": (INFER, {"inputs": [{**X, "name": LONG, "data": [1]}]}),
    "output": (INFER, {"inputs": [X], "outputs": [{"name": LONG}]}),
    "parameter": (INFER, {"inputs": [X], "parameters": {f"triton_{LONG}": 1}}),
    "field": (INFER, {"inputs": [X], LONG: 1}),
    "model of a task": ("/classify", {"model": LONG, "inputs": [[0]]}),
    "option of a task": ("/classify", {"inputs": [[0]], LONG: 1}),
}


@pytest.mark.parametrize(("path", "body"), ECHOED.values(), ids=ECHOED)
def test_long_name_is_not_echoed_whole(client: httpx.Client, path: str, body: dict[str, Any]):
    """An error shortens what callers send, so it stays short."""
    response = client.post(path, json=body)
    assert response.status_code in (400, 404), response.text[:300]
    assert "nnn" in response.text
    assert len(response.text) < 1000


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/v2/models/nobody/infer", 404, "no model 'nobody'"),
        ("POST", "/v2/models/double/versions/7/infer", 404, "no version '7' of 'double'"),
        ("POST", "/v2/models/double/versions/stable/infer", 404, "no alias 'stable' of 'double'"),
        ("POST", "/v2/models/{model}/generate", 404, "no model '{model}'"),
        ("POST", "/v2/models/double/versions/9/generate", 404, "no version '9'"),
        ("POST", "/v2/models/double/generate/more", 404, "no route"),
        ("POST", "/v1/models/nobody:predict", 404, "no model 'nobody'"),
        ("POST", "/v1/models/double:explain", 404, "model 'double' does tensors, not classify"),
        ("GET", "/v1/models/nobody", 404, "no model 'nobody'"),
        ("GET", "/nothing/here", 404, "no route /nothing/here"),
        ("POST", "/classify/now", 404, "no route"),
        ("GET", "/classify", 405, "expected POST, got GET"),
        ("GET", INFER, 405, "expected POST, got GET"),
        ("GET", "/v2/models/double/generate", 405, "expected POST, got GET"),
        ("GET", "/v1/models/double:predict", 405, "expected POST, got GET"),
        ("POST", "/v1/models/double", 405, "got POST"),
        ("POST", "/models", 405, "got POST"),
        ("POST", "/", 405, "got POST"),
        ("GET", "/v2/cudasharedmemory/status", 404, "no route"),
        ("POST", "/v2/systemsharedmemory/status", 405, "got POST"),
    ],
)
def test_unknown_target_is_404_wrong_method_405(client: httpx.Client, method: str, path: str, status: int, text: str):
    """An unknown target is 404 and the error names what there is; another method is 405 with Allow."""
    response = client.request(method, path, content=b"{}")
    assert_error(response, status, text)
    assert ("allow" in response.headers) == (status == 405)


def test_failure_in_the_model_is_500_without_its_text(client: httpx.Client):
    """The error of ONNX Runtime is logged and not sent; the answer has the request id."""
    body = {"inputs": [{"name": "x", "data": [99], "shape": [1, 1], "datatype": "INT64"}]}
    response = client.post("/v2/models/exhausting/infer", json=body, headers={"x-request-id": "mine"})
    assert_error(response, 500, "the log has the reason under this id")
    assert response.json()["request_id"] == "mine"
    assert "Gather" not in response.text


def test_classify_answers_the_digits(client: httpx.Client, golden: GoldenSamples):
    """Each row gets the most probable label of the golden samples, with the probability that they have."""
    expected = golden.outputs["probabilities"]
    body = client.post("/classify", json={"inputs": golden.inputs["image"].tolist(), "top_k": 3}).json()
    assert (body["model"], body["version"]) == ("digits-classifier", "1")
    for prediction, probabilities in zip(body["predictions"], expected, strict=True):
        best = int(probabilities.argmax())
        assert (prediction["label"], prediction["index"]) == (str(best), best)
        assert prediction["probability"] == pytest.approx(float(probabilities[best]), rel=1e-5)
        assert len(prediction["top"]) == 3
        assert prediction["top"][0] == {k: prediction[k] for k in ("label", "index", "probability")}


def test_classify_takes_pictures(client: httpx.Client, golden: GoldenSamples):
    """Numbers, base64 in JSON, a PNG as the body, and a large one that is scaled in a thread have the same label."""
    numbers = golden.inputs["image"][0]
    pixels = (numbers * 255 / 16).round()
    noise = np.random.default_rng(0).integers(0, 3, (1, 480, 480))
    small, large = (
        encode_png(each, Picture(channels=1))
        for each in (pixels, pixels.repeat(60, 1).repeat(60, 2).clip(0, 252) + noise)
    )
    assert len(large) > 32 << 10
    row = as_row(small)
    answers = [client.post("/classify", json={"inputs": [each], "top_k": 2}) for each in (numbers.tolist(), row)]
    kind = {"content-type": "image/png"}
    answers += [client.post("/classify?top_k=2", content=body, headers=kind) for body in (small, large)]
    predictions = [answer.json()["predictions"][0] for answer in answers]
    assert len({prediction["label"] for prediction in predictions}) == 1
    assert [len(prediction["top"]) for prediction in predictions] == [2] * 4


def test_triton_client_gets_the_bits_of_onnx_runtime(server: Serving, golden: GoldenSamples, store: Path):
    """tritonclient gets the same logits as ONNX Runtime in process, bit for bit, alone and among 32 callers."""
    session = ort.InferenceSession(store / "digits-classifier" / "1" / "main.onnx", providers=["CPUExecutionProvider"])
    rows = np.concatenate([golden.inputs["image"]] * 8)[:64]
    expected = [session.run(["logits"], {"image": row[None]})[0] for row in rows]

    def image_of(row: np.ndarray) -> triton.InferInput:
        image = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        image.set_data_from_numpy(row[None])
        return image

    def bits(result: triton.InferResult) -> bytes:
        logits = result.as_numpy("logits")
        return bytes(logits.tobytes())

    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=32) as client:
        for row, logits in zip(rows[:8], expected, strict=False):
            assert bits(client.infer("digits-classifier", [image_of(row)])) == logits.tobytes()
        pending = [client.async_infer("digits-classifier", [image_of(row)]) for row in [*rows] * 2]
        assert [bits(p.get_result()) for p in pending] == [e.tobytes() for e in expected] * 2


def test_answers_carry_id_and_timing(client: httpx.Client):
    """Every answer has the request's id, the caller's where it is usable, and the stages of its time."""
    response = client.post(INFER, json={"inputs": [X]}, headers={"x-request-id": "abc"})
    assert response.headers["x-request-id"] == "abc"
    stages = re.findall(r'(\w+);(dur|desc)="?([\d.]+)', response.headers["server-timing"])
    assert [name for name, _, _ in stages] == ["queue", "batch", "compute", "rows", "total"]
    assert all(float(milliseconds) >= 0 for _, _, milliseconds in stages)
    assert ("rows", "desc", "1") in stages
    generated = client.get("/livez", headers={"x-request-id": "has space"}).headers["x-request-id"]
    assert generated != "has space"


def test_cards_tell_what_serves(client: httpx.Client):
    """/models lists each model with task, labels, quality, parity, provider, and whether its rows are independent."""
    cards = {card["name"]: card for card in client.get("/models").json()["models"]}
    digits = cards["digits-classifier"]
    assert (digits["ready"], digits["task"], digits["labels"]) == (True, "classify", [str(i) for i in range(10)])
    assert digits["quality"]["metrics"]["accuracy"] >= 0.99
    assert digits["parity"]["rungs"]
    assert digits["provider"] == "CPUExecutionProvider"
    assert (digits["batching"]["rows"], digits["batching"]["bits"]) == ("proved", "exact")
    assert cards["fixed"]["batching"]["batches"] is False


def test_metrics_count_what_happened(client: httpx.Client):
    """The exposition counts requests by route, model and status, and never has a label from an unknown URL."""

    def count(line: str) -> float:
        return sum_series(client.get("/metrics").text, line)

    series = 'sluice_requests_total{model="double",route="/v2/models/{model}/infer",status="%d",version="1"}'
    before = count(series % 200), count(series % 400)
    for _ in range(3):
        client.post(INFER, json={"inputs": [X]})
    client.post(INFER, json={"inputs": [{**X, "datatype": "INT8"}]})
    client.post("/v2/models/attack-123/infer", json={})
    assert (count(series % 200), count(series % 400)) == (before[0] + 3, before[1] + 1)
    text = client.get("/metrics").text
    assert "attack-123" not in text
    assert 'sluice_model_provider{device="cpu",model="double",provider="CPUExecutionProvider",version="1"} 1.0' in text


def test_tampered_model_is_unavailable_and_the_service_lives(tmp_path: Path, store: Path):
    """A model whose file was changed does not serve and says why; the other models do."""
    for name in ("digits-classifier", "double"):
        shutil.copytree(store / name, tmp_path / name)
    file = tmp_path / "digits-classifier" / "1" / "main.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with Serving(settings_for(tmp_path), FAST) as server, server.client() as client:
        reason = "main.onnx is not the file that was published"
        assert_error(client.post("/classify", json={"inputs": [ROW]}), 404, "no model that serves does classify")
        assert_error(client.post("/v2/models/digits-classifier/infer", json={"inputs": [X]}), 503, reason)
        (card,) = [c for c in client.get("/models").json()["models"] if c["name"] == "digits-classifier"]
        assert card["versions"][0]["state"] == "UNAVAILABLE"
        assert reason in card["versions"][0]["reason"]
        assert client.get("/readyz").status_code == 200
        assert client.post(INFER, json={"inputs": [X]}).status_code == 200
        assert 'sluice_model_ready{model="digits-classifier",version="1"} 0.0' in client.get("/metrics").text
