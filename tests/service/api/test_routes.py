"""The routes as a client sees them, through each path."""

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton
from PIL import Image

from model_store import GoldenSamples, Store
from tests.support.models import graphs
from tests.support.servers import ServerPath, Serving, settings_for

INFER = "/v2/models/{}/infer"


@pytest.fixture(scope="session")
def golden(store: Path) -> GoldenSamples:
    version = Store(store).find("digits-classifier")
    found = version.read_golden(version.read_manifest())
    assert found is not None
    return found


@pytest.fixture(scope="session")
def digit_rows(golden: GoldenSamples) -> np.ndarray:
    return golden.inputs["image"]


@pytest.fixture
def triton_client(server: Serving) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=32)
    yield client
    client.close()


def png_of(row: np.ndarray) -> bytes:
    """A digit of 8 x 8 values 0..16 as a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray((row[0] * 255 / 16).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tensor(name: str, data: Any, shape: list[int], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def assert_error(response: httpx.Response, status: int, text: str) -> None:
    """The one shape of an error."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "request_id"}
    assert text in body["error"]
    assert response.headers["x-request-id"] == body["request_id"]
    assert response.headers["content-type"] == "application/json"


X = tensor("x", [[1, 2, 3]], [1, 3])
MALFORMED: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"{", "body: expected JSON"),
    "empty": (b"", "body: expected JSON"),
    "a list": (b"[]", "body: expected an object, got an array"),
    "no inputs": (b"{}", "inputs: expected an array of at most"),
    "unknown field": (json.dumps({"inputs": [X], "input": 1}).encode(), "unknown field 'input'"),
    "wrong name": (json.dumps({"inputs": [{**X, "name": "z"}]}).encode(), "inputs: expected x, got z"),
    "twice": (json.dumps({"inputs": [X, X]}).encode(), "expected each name once"),
    "wrong datatype": (json.dumps({"inputs": [{**X, "datatype": "INT64"}]}).encode(), "expected FP32, got INT64"),
    "no datatype": (json.dumps({"inputs": [{**X, "datatype": "FLOAT"}]}).encode(), "datatype: expected one of"),
    "wrong shape": (
        json.dumps({"inputs": [tensor("x", [1, 2], [1, 2])]}).encode(),
        "expected shape [batch, 3], got [1, 2]",
    ),
    "wrong rank": (
        json.dumps({"inputs": [tensor("x", [1, 2, 3], [3])]}).encode(),
        "expected shape [batch, 3], got [3]",
    ),
    "too few": (json.dumps({"inputs": [tensor("x", [1, 2], [1, 3])]}).encode(), "expected 3 elements"),
    "ragged": (json.dumps({"inputs": [tensor("x", [[1, 2], [3]], [1, 3])]}).encode(), "ragged"),
    "text": (json.dumps({"inputs": [tensor("x", ["1", "2", "3"], [1, 3])]}).encode(), "expected FP32, got '1'"),
    "null": (json.dumps({"inputs": [tensor("x", [1, None, 3], [1, 3])]}).encode(), "expected FP32, got null"),
    "boolean": (json.dumps({"inputs": [tensor("x", [1, True, 3], [1, 3])]}).encode(), "got a boolean"),
    "negative size": (json.dumps({"inputs": [tensor("x", [], [-1, 3])]}).encode(), "expected an array of sizes"),
    "unknown output": (json.dumps({"inputs": [X], "outputs": [{"name": "q"}]}).encode(), "no output 'q'"),
    "data missing": (json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3]}]}).encode(), "neither"),
    "bad timeout": (json.dumps({"inputs": [X], "parameters": {"timeout": -1}}).encode(), "parameters.timeout"),
    "reserved": (json.dumps({"inputs": [X], "parameters": {"triton_x": 1}}).encode(), "parameters.triton_x"),
    "deep": (b'{"inputs":' + b"[" * 2000 + b"]" * 2000 + b"}", "body: expected JSON"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_infer_request_is_a_400_that_says_what_is_wrong(client: httpx.Client, case: str):
    """A request that is at fault gets 400 with the field, what was expected and what came."""
    body, text = MALFORMED[case]
    assert_error(client.post(INFER.format("double"), content=body), 400, text)


LONG = "n" * 5000
ECHOED: dict[str, tuple[str, dict[str, Any]]] = {
    "model": (INFER.format(LONG[:3000]), {"inputs": [X]}),
    "version": (INFER.format(f"double/versions/{LONG[:3000]}"), {"inputs": [X]}),
    "route": (f"/{LONG[:3000]}", {}),
    "input": (INFER.format("double"), {"inputs": [{**X, "name": LONG}]}),
    "inputs": (INFER.format("double"), {"inputs": [{**X, "name": f"{i}{LONG}"} for i in range(9)]}),
    "data of an input": (INFER.format("double"), {"inputs": [{**X, "name": LONG, "data": ["a", "b", "c"]}]}),
    "number of data": (INFER.format("double"), {"inputs": [{**X, "name": LONG, "data": [1]}]}),
    "output": (INFER.format("double"), {"inputs": [X], "outputs": [{"name": LONG}]}),
    "parameter": (INFER.format("double"), {"inputs": [X], "parameters": {f"triton_{LONG}": 1}}),
    "field": (INFER.format("double"), {"inputs": [X], LONG: 1}),
    "model of a task": ("/classify", {"model": LONG, "inputs": [[0]]}),
    "option of a task": ("/classify", {"inputs": [[0]], LONG: 1}),
}


@pytest.mark.parametrize("case", ECHOED)
def test_long_name_is_not_echoed_whole(client: httpx.Client, case: str):
    """Errors stay short, whatever callers call things."""
    path, body = ECHOED[case]
    response = client.post(path, json=body)
    assert response.status_code in (400, 404), response.text[:300]
    assert "nnn" in response.text
    assert len(response.text) < 1000


ROW = [[[0.0] * 8] * 8]
BAD_CLASSIFY: dict[str, tuple[Any, int, str]] = {
    "no inputs": ({}, 400, "inputs: expected an array of rows"),
    "no rows": ({"inputs": []}, 400, "inputs: expected an array of 1 to"),
    "wrong shape": ({"inputs": [ROW, [[1, 2]]]}, 400, "inputs[1]: expected a row of shape [1, 8, 8], got [1, 2]"),
    "text": ({"inputs": ["seven"]}, 400, "inputs[0]: expected FP32, got 'seven'"),
    "unknown field": ({"inputs": [ROW], "topk": 3}, 400, "topk: Extra inputs are not permitted"),
    "top_k 0": ({"inputs": [ROW], "top_k": 0}, 400, "top_k: Input should be greater than or equal to 1 (got 0)"),
    "top_k text": ({"inputs": [ROW], "top_k": "3"}, 400, "top_k"),
    "unknown model": ({"inputs": [ROW], "model": "x"}, 404, "no model 'x': there are"),
    "other task": ({"inputs": [ROW], "model": "double"}, 404, "model 'double' does tensors, not classify"),
    "unknown version": ({"inputs": [ROW], "model": "digits-classifier", "version": 9}, 404, "no version '9'"),
    "not base64": ({"inputs": [{"image": "%"}]}, 400, "inputs[0].image: expected a base64 text"),
    "not a picture": ({"inputs": [{"image": "AAAA"}]}, 415, "expected a PNG or JPEG picture"),
    "wrong fields": ({"inputs": [{"picture": ""}]}, 400, 'expected nested numbers or {"image"'),
}


@pytest.mark.parametrize("case", BAD_CLASSIFY)
def test_bad_classify_request_gets_its_status_and_reason(client: httpx.Client, case: str):
    """/classify answers each kind of fault with its own status and a text that names the field."""
    body, status, text = BAD_CLASSIFY[case]
    assert_error(client.post("/classify", json=body), status, text)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
def test_non_finite_input_is_refused_where_the_manifest_says_so(client: httpx.Client, bad: str):
    """The digits classifier takes finite numbers only; a NaN never reaches the batch."""
    body = json.dumps({"inputs": [ROW]}).replace("0.0", bad, 1)
    assert_error(client.post("/classify", content=body), 400, "expected finite numbers, got")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/v2/models/nobody/infer", 404, "no model 'nobody'"),
        ("POST", "/v2/models/double/versions/7/infer", 404, "no version '7' of 'double'"),
        ("POST", "/v2/models/double/versions/stable/infer", 404, "no alias 'stable' of 'double'"),
        ("GET", "/v2/models/nobody", 404, "no model 'nobody'"),
        ("GET", "/v2/models/nobody/ready", 404, "no model 'nobody'"),
        ("GET", "/nothing/here", 404, "no route /nothing/here"),
        ("GET", "/classify", 405, "expected POST, got GET"),
        ("GET", "/v2/models/double/infer", 405, "expected POST, got GET"),
        ("POST", "/models", 405, "got POST"),
    ],
)
def test_unknown_targets_are_404_and_wrong_methods_405(
    client: httpx.Client, method: str, path: str, status: int, text: str
):
    """What does not exist is 404 and names what does; what exists for another method is 405 with Allow."""
    response = client.request(method, path, content=b"{}")
    assert_error(response, status, text)
    assert ("allow" in response.headers) == (status == 405)


def test_body_over_the_limit_is_413_before_it_is_read(client: httpx.Client):
    """A declared length over the limit is refused at once; a chunked body as soon as it passes the limit."""
    size = (1 << 20) + 1
    assert_error(client.post("/classify", content=b" " * size), 413, f"expected at most {1 << 20} bytes, got {size}")
    chunks = (b" " * 65536 for _ in range(40))
    assert_error(client.post("/classify", content=chunks), 413, f"expected at most {1 << 20} bytes, got more")


def test_failure_in_the_model_is_500_without_its_text(client: httpx.Client):
    """What ONNX Runtime says stays in the log; the caller gets the request id to ask with."""
    body = {"inputs": [tensor("x", [99], [1, 1], "INT64")]}
    response = client.post(INFER.format("exhausting"), json=body, headers={"x-request-id": "mine"})
    assert_error(response, 500, "the log has the reason under this id")
    assert response.json()["request_id"] == "mine"
    assert "Gather" not in response.text


def test_media_types_that_are_not_understood_are_415(client: httpx.Client):
    """An image type we do not decode and a content encoding are refused by name."""
    assert_error(client.post("/classify", content=b"GIF89a", headers={"content-type": "image/gif"}), 415, "image/gif")
    assert_error(client.post("/classify", content=b"{}", headers={"content-encoding": "br"}), 415, "'br'")


def test_deadline_of_a_request_is_kept(client: httpx.Client):
    """A timeout of one microsecond cannot be met: the request is refused, and says when to come back."""
    body = {"inputs": [X], "parameters": {"timeout": 1}}
    response = client.post(INFER.format("double"), json=body)
    assert response.status_code in (429, 504)
    assert response.status_code == 504 or int(response.headers["retry-after"]) >= 1


def test_classify_answers_the_digits(client: httpx.Client, digit_rows: np.ndarray, golden: GoldenSamples):
    """Each row gets the most probable label of the golden samples, with the probability that they have."""
    expected = golden.outputs["probabilities"]
    body = client.post("/classify", json={"inputs": digit_rows.tolist(), "top_k": 3}).json()
    assert (body["model"], body["version"]) == ("digits-classifier", "1")
    for prediction, probabilities in zip(body["predictions"], expected, strict=True):
        best = int(probabilities.argmax())
        assert (prediction["label"], prediction["index"]) == (str(best), best)
        assert prediction["probability"] == pytest.approx(float(probabilities[best]), rel=1e-5)
        assert len(prediction["top"]) == 3
        assert prediction["top"][0] == {k: prediction[k] for k in ("label", "index", "probability")}


def test_classify_takes_pictures_in_three_ways(client: httpx.Client, digit_rows: np.ndarray):
    """Nested numbers, base64 in JSON and a PNG body give the same label."""
    row, png = digit_rows[0], png_of(digit_rows[0])
    numbers = client.post("/classify", json={"inputs": [row.tolist()]}).json()
    encoded = client.post("/classify", json={"inputs": [{"image": base64.b64encode(png).decode()}]}).json()
    raw = client.post("/classify?top_k=2", content=png, headers={"content-type": "image/png"}).json()
    label = numbers["predictions"][0]["label"]
    assert encoded["predictions"][0]["label"] == raw["predictions"][0]["label"] == label
    assert len(raw["predictions"][0]["top"]) == 2


def test_large_picture_is_decoded_and_scaled(client: httpx.Client, digit_rows: np.ndarray):
    """A picture of another size is brought to the model's; a large one is decoded in a thread, with the same answer."""
    small = Image.open(io.BytesIO(png_of(digit_rows[0])))
    noise = np.random.default_rng(0).integers(0, 3, (480, 480), dtype=np.uint8)
    large = Image.fromarray(np.asarray(small.resize((480, 480), Image.Resampling.NEAREST)).clip(0, 252) + noise)
    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    assert len(buffer.getvalue()) > 32 << 10
    answer = client.post("/classify", content=buffer.getvalue(), headers={"content-type": "image/png"}).json()
    expected = client.post("/classify", json={"inputs": [digit_rows[0].tolist()]}).json()
    assert answer["predictions"][0]["label"] == expected["predictions"][0]["label"]


def test_infer_answers_json_and_echoes_the_id(client: httpx.Client):
    """The answer is flat row-major JSON with the id of the request, which is absent where none was given."""
    answer = client.post(INFER.format("double"), json={"id": "a", "inputs": [X]}).json()
    y = {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}
    assert answer == {"id": "a", "model_name": "double", "model_version": "1", "outputs": [y]}
    assert "id" not in client.post("/v2/models/double/versions/1/infer", json={"inputs": [X]}).json()


def test_infinities_and_nan_pass_through_json(client: httpx.Client):
    """Where a model takes them, NaN and infinities go in and come out as the texts that every JSON parser takes."""
    body = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[NaN,Infinity,-Infinity]}]}'
    response = client.post(INFER.format("double"), content=body)
    assert response.text.replace(" ", "").endswith('"data":["NaN","Infinity","-Infinity"]}]}')


def test_several_inputs_and_chosen_outputs(client: httpx.Client):
    """Inputs may come in any order, and only the outputs that were asked for come back, in that order."""
    inputs = [tensor("b", [10, 20], [1, 2]), tensor("a", [1, 2], [1, 2])]
    both = client.post(INFER.format("add"), json={"inputs": inputs}).json()
    assert [o["name"] for o in both["outputs"]] == ["total", "negative"]
    one = client.post(INFER.format("add"), json={"inputs": inputs, "outputs": [{"name": "negative"}]}).json()
    assert [(o["name"], o["data"]) for o in one["outputs"]] == [("negative", [-11.0, -22.0])]


def test_inputs_with_different_row_counts_are_refused(client: httpx.Client):
    """Two inputs of one batch must have as many rows as each other."""
    inputs = [tensor("a", [1, 2], [1, 2]), tensor("b", [1, 2, 3, 4], [2, 2])]
    assert_error(
        client.post(INFER.format("add"), json={"inputs": inputs}), 400, "expected 1 rows like the other inputs"
    )


def test_triton_client_gets_the_bits_of_onnx_runtime(
    triton_client: triton.InferenceServerClient, digit_rows: np.ndarray, store: Path
):
    """tritonclient gets the same logits as ONNX Runtime in process, bit for bit, alone and among 32 callers."""
    session = ort.InferenceSession(store / "digits-classifier" / "1" / "main.onnx", providers=["CPUExecutionProvider"])
    rows = np.concatenate([digit_rows] * 8)[:64]
    expected = [session.run(["logits"], {"image": row[None]})[0] for row in rows]

    def image_of(row: np.ndarray) -> triton.InferInput:
        image = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        image.set_data_from_numpy(row[None])
        return image

    def bits(result: triton.InferResult) -> bytes:
        logits = result.as_numpy("logits")
        assert logits is not None
        return bytes(logits.tobytes())

    for row, logits in zip(rows[:8], expected, strict=False):
        assert bits(triton_client.infer("digits-classifier", [image_of(row)])) == logits.tobytes()
    pending = [triton_client.async_infer("digits-classifier", [image_of(row)]) for row in [*rows] * 8]
    assert [bits(p.get_result()) for p in pending] == [e.tobytes() for e in expected] * 8


def test_triton_client_reads_health_and_metadata(triton_client: triton.InferenceServerClient):
    """The health and metadata calls of tritonclient work, with and without a version."""
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("double")
    assert triton_client.is_model_ready("double", "1")
    assert not triton_client.is_model_ready("nobody")
    assert triton_client.get_server_metadata()["name"] == "sluice"
    metadata = triton_client.get_model_metadata("digits-classifier")
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert metadata["versions"] == ["1"]


@pytest.mark.parametrize("binary", [True, False])
def test_texts_go_in_and_out(triton_client: triton.InferenceServerClient, binary: bool):
    """BYTES tensors of any UTF-8 text, the empty one too, come back unchanged in binary and in JSON."""
    texts = np.array([["", "ok", "žluťoučký 漢"]], dtype=object)
    sent = triton.InferInput("x", [1, 3], "BYTES")
    sent.set_data_from_numpy(texts, binary_data=binary)
    answer = triton_client.infer("texts", [sent], outputs=[triton.InferRequestedOutput("y", binary_data=binary)])
    got = answer.as_numpy("y")
    assert got is not None
    assert [e.decode() if isinstance(e, bytes) else e for e in got.ravel()] == texts.ravel().tolist()


def test_halves_are_binary_only(triton_client: triton.InferenceServerClient):
    """FP16 travels as binary data and is refused as JSON, in both directions."""
    sent = triton.InferInput("x", [1, 2], "FP16")
    sent.set_data_from_numpy(np.array([[1.5, -2]], np.float16))
    got = triton_client.infer("halves", [sent]).as_numpy("y")
    assert got is not None
    assert got.tolist() == [[1.5, -2.0]]
    with pytest.raises(triton.InferenceServerException, match="FP16 has no JSON form"):
        triton_client.infer("halves", [sent], outputs=[triton.InferRequestedOutput("y", binary_data=False)])


def test_answers_carry_id_and_timing(client: httpx.Client):
    """Every answer has the request's id, the caller's where it is usable, and the stages of its time."""
    response = client.post(INFER.format("double"), json={"inputs": [X]}, headers={"x-request-id": "abc"})
    assert response.headers["x-request-id"] == "abc"
    stages = [part.split(";dur=") for part in response.headers["server-timing"].split(", ")]
    assert [name for name, _ in stages] == ["queue", "batch", "compute", "total"]
    assert all(float(milliseconds) >= 0 for _, milliseconds in stages)
    generated = client.get("/livez", headers={"x-request-id": "has space"}).headers["x-request-id"]
    assert generated != "has space"


def test_cards_tell_what_serves(client: httpx.Client):
    """/models lists each model with task, labels, quality, parity, provider, and whether its rows are independent."""
    cards = {card["name"]: card for card in client.get("/models").json()["models"]}
    digits = cards["digits-classifier"]
    assert digits["ready"]
    assert digits["task"] == "classify"
    assert digits["labels"] == [str(i) for i in range(10)]
    assert digits["quality"]["metrics"]["accuracy"] >= 0.99
    assert digits["parity"]["rungs"]
    assert digits["provider"] == "CPUExecutionProvider"
    assert (digits["batching"]["rows"], digits["batching"]["bits"]) == ("proved", "exact")
    assert cards["fixed"]["batching"]["batches"] is False


def test_metrics_count_what_happened(server: Serving, client: httpx.Client):
    """The exposition counts requests by route, model and status, and never has a label from an unknown URL."""

    def count(line: str) -> float:
        text = client.get("/metrics").text
        return sum(float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line))

    series = 'sluice_requests_total{model="double",route="/v2/models/{model}/infer",status="%d"}'
    before = count(series % 200), count(series % 400)
    for _ in range(3):
        client.post(INFER.format("double"), json={"inputs": [X]})
    client.post(INFER.format("double"), json={"inputs": [{**X, "datatype": "INT8"}]})
    client.post("/v2/models/attack-123/infer", json={})
    assert (count(series % 200), count(series % 400)) == (before[0] + 3, before[1] + 1)
    text = client.get("/metrics").text
    assert "attack-123" not in text
    assert 'sluice_batch_rows_bucket{le="1.0",model="double",version="1"}' in text
    assert 'sluice_model_provider{model="double",provider="CPUExecutionProvider",version="1"} 1.0' in text


def test_tampered_model_is_unavailable_and_the_service_lives(tmp_path: Path, store: Path, server_path: ServerPath):
    """A model whose file was changed does not serve and says why; the other models do."""
    for name in ("digits-classifier", "double"):
        shutil.copytree(store / name, tmp_path / name)
    folder = tmp_path / "digits-classifier" / "1"
    content = bytearray((folder / "main.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "main.onnx").write_bytes(content)
    with Serving(settings_for(tmp_path), server_path) as server, server.client() as client:
        reason = "main.onnx is not the file that was published"
        assert_error(client.post("/classify", json={"inputs": [ROW]}), 404, "no model that serves does classify")
        assert_error(client.post(INFER.format("digits-classifier"), json={"inputs": [X]}), 503, reason)
        (card,) = [c for c in client.get("/models").json()["models"] if c["name"] == "digits-classifier"]
        assert card["versions"][0]["state"] == "UNAVAILABLE"
        assert reason in card["versions"][0]["reason"]
        assert client.get("/readyz").status_code == 200
        assert client.post(INFER.format("double"), json={"inputs": [X]}).status_code == 200
        gauge = 'sluice_model_ready{model="digits-classifier",version="1"} 0.0'
        assert gauge in client.get("/metrics").text


def test_server_without_a_model_that_serves_is_live_but_not_ready(tmp_path: Path, server_path: ServerPath):
    """An empty store is reported by /readyz with 503 and Retry-After, and /livez stays 200."""
    with Serving(settings_for(tmp_path), server_path) as server, server.client() as client:
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert_error(response, 503, "no model serves")
        assert response.headers["retry-after"] == "1"


def test_older_version_serves_when_the_newest_cannot(tmp_path: Path, server_path: ServerPath):
    """A newest version that does not load leaves the one before it in service."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    graphs.write_plain(tmp_path, "double", b"not onnx", version=2)
    with Serving(settings_for(tmp_path), server_path) as server, server.client() as client:
        answer = client.post(INFER.format("double"), json={"inputs": [X]}).json()
        assert answer["model_version"] == "1"
        assert_error(client.post("/v2/models/double/versions/2/infer", json={"inputs": [X]}), 503, "version 2")
