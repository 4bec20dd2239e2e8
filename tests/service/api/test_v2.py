"""The whole of the infer route as clients meet it: forms of the body, codings, classes, limits. Through each path."""

import asyncio
import gzip
import json
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from onnx import TensorProto

from model_store import DEFAULT_ROOT, Store
from model_store.datatypes import DATATYPES
from service.api.handler import RequestHandler, Responder
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER, JSON, Endpoint, Reply
from tests.support.models import graphs
from tests.support.servers import ServerPath, Serving, settings_for

BF16 = DATATYPES["BF16"].dtype.type
LIMIT_BYTES = 4 << 20
LENGTH = "inference-header-content-length"
PLAIN = {"accept-encoding": "identity"}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Echoes of several datatypes, a model of two inputs, and the digits classifier."""
    root = tmp_path_factory.mktemp("infer")
    shutil.copytree(DEFAULT_ROOT / "digits-classifier", root / "digits-classifier")
    graphs.write_plain(root, "add", graphs.add())
    graphs.write_plain(root, "scores", graphs.classifier())
    graphs.write_plain(root, "fixed", graphs.one_at_a_time())
    kinds = {"floats": "FLOAT", "texts": "STRING", "halves": "FLOAT16", "flags": "BOOL", "narrow": "FLOAT8E4M3FN"}
    for name, kind in kinds.items():
        graphs.write_plain(root, name, graphs.echo(TensorProto.DataType.Value(kind)))
    graphs.write_plain(root, "brain", graphs.triple_bf16())
    graphs.write_plain(root, "recurrent", graphs.recurrent())
    graphs.write_plain(root, "greatest", graphs.greatest())
    return root


@pytest.fixture(scope="module")
def server(store: Path, server_path: ServerPath) -> Iterator[Serving]:
    with Serving(settings_for(store, max_body_bytes=LIMIT_BYTES), server_path) as serving:
        yield serving


@pytest.fixture
def triton_client(server: Serving) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield client
    client.close()


def path_of(model: str) -> str:
    return f"/v2/models/{model}/infer"


def tensor(data: Any, shape: Sequence[int], datatype: str = "FP32", **fields: Any) -> Json:
    return {"name": "x", "shape": [*shape], "datatype": datatype, "data": data, **fields}


def pack(content: bytes, coding: str) -> bytes:
    return gzip.compress(content) if coding == "gzip" else zlib.compress(content)


def assert_error(response: httpx.Response, status: int, text: str) -> None:
    assert response.status_code == status, response.text
    assert text in response.json()["error"]


def split(response: httpx.Response) -> tuple[Json, bytes]:
    """The JSON part of a binary answer and the rest."""
    assert response.status_code == 200, response.text
    end = int(response.headers[LENGTH])
    return json.loads(response.content[:end]), response.content[end:]


ONE = tensor([1, 2], [1, 2])
SHARED = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
REFUSED: dict[str, tuple[str, Json, str]] = {
    "FP16 as JSON": ("halves", {"inputs": [tensor([1], [1, 1], "FP16")]}, "FP16 has no JSON form, send it as binary"),
    "BF16 as JSON": ("brain", {"inputs": [tensor([1], [1, 1], "BF16")]}, "BF16 has no JSON form, send it as binary"),
    "unknown datatype": ("floats", {"inputs": [tensor([1], [1, 1], "FP8")]}, "expected one of BOOL, "),
    "wrong datatype": ("floats", {"inputs": [tensor([1], [1, 1], "INT32")]}, "expected FP32, got INT32"),
    "wrong rank": ("floats", {"inputs": [tensor([1], [1])]}, "expected shape [batch, width], got [1]"),
    "wrong size": ("fixed", {"inputs": [tensor([1, 2], [1, 2])]}, "expected shape [2, 2], got [1, 2]"),
    "missing input": ("add", {"inputs": [ONE | {"name": "a"}]}, "inputs: expected a, b, got a"),
    "other input": ("floats", {"inputs": [ONE | {"name": "z"}]}, "inputs: expected x, got z"),
    "extra input": ("floats", {"inputs": [ONE, ONE | {"name": "z"}]}, "inputs: expected x, got x, z"),
    "rows that differ": (
        "add",
        {"inputs": [ONE | {"name": "a"}, tensor([1] * 4, [2, 2]) | {"name": "b"}]},
        "expected 1 rows like the other inputs, got 2",
    ),
    "empty series": ("recurrent", {"inputs": [tensor([], [1, 0, 1])]}, "may not survive in GRU, got x [1, 0, 1]"),
    "no elements of a vast shape": ("floats", {"inputs": [tensor([], [0, 1 << 40])]}, "of at most 1048576 together"),
    "elements of no rows": (
        "floats",
        {"inputs": [tensor([1], [0, 3])]},
        "expected 0 elements for the shape [0, 3], got",
    ),
    "no elements of FP16": ("halves", {"inputs": [tensor([], [0, 1], "FP16")]}, "FP16 has no JSON form"),
    "no rows beside some": (
        "add",
        {"inputs": [tensor([], [0, 2]) | {"name": "a"}, tensor([1, 2], [1, 2]) | {"name": "b"}]},
        "input 'b': expected 0 rows like the other inputs, got 1",
    ),
    "no rows of another width": (
        "add",
        {"inputs": [tensor([], [0, 3]) | {"name": n} for n in "ab"]},
        "shape [batch, 2]",
    ),
    "no rows of another type": ("floats", {"inputs": [tensor([], [0, 3], "INT8")]}, "expected FP32, got INT8"),
    "numbers for flags": ("flags", {"inputs": [tensor([1, 0], [1, 2], "BOOL")]}, "expected BOOL, got a number"),
    "flags for numbers": ("floats", {"inputs": [tensor([True, 1], [1, 2])]}, "expected FP32, got a boolean"),
    "shared memory": (
        "floats",
        {"inputs": [{k: v for k, v in ONE.items() if k != "data"} | {"parameters": SHARED}]},
        "this server does not offer shared memory",
    ),
    "shared memory for an output": (
        "floats",
        {"inputs": [ONE], "outputs": [{"name": "y", "parameters": SHARED}]},
        "this server does not offer shared memory",
    ),
    "vast shape": ("floats", {"inputs": [tensor([1] * 10, [10**12, 1])]}, "expected 1000000000000 elements"),
    "a hundred and one arrays": (
        "floats",
        {"inputs": [tensor(json.loads("[" * 101 + "]" * 101), [1, 1])]},
        "expected at most 100 nested arrays",
    ),
    "classes of texts": (
        "texts",
        {"inputs": [tensor(["a"], [1, 1], "BYTES")], "outputs": [{"name": "y", "parameters": {"classification": 1}}]},
        "for a classification, got BYTES",
    ),
    "classes of an unknown output": (
        "floats",
        {"inputs": [ONE], "outputs": [{"name": "q", "parameters": {"classification": 1}}]},
        "no output 'q'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_request_at_fault_is_a_400_that_names_what_was_expected(client: httpx.Client, case: str) -> None:
    """Whatever is wrong with a tensor, the answer is 400 with the place, what was expected and what came."""
    model, body, text = REFUSED[case]
    assert_error(client.post(path_of(model), json=body), 400, text)


@pytest.mark.parametrize(("model", "datatype"), [("halves", "FP16"), ("brain", "BF16")])
def test_half_floats_are_not_answered_as_json(client: httpx.Client, model: str, datatype: str) -> None:
    """16-bit floats go in as bytes, and asking for them back as JSON is refused."""
    header = tensor([], [1, 3], datatype, parameters={"binary_data_size": 6})
    del header["data"]
    text = json.dumps({"inputs": [header]}).encode()
    response = client.post(path_of(model), content=text + bytes(6), headers={LENGTH: str(len(text))})
    assert_error(response, 400, f"{datatype} has no JSON form, ask for binary data")


def test_bytes_that_are_not_utf8_are_not_answered_as_json(
    client: httpx.Client,
) -> None:
    """They go in as binary data, and asking for them back as JSON is 400."""
    given = triton.InferInput("x", [1, 2], "BYTES")
    given.set_data_from_numpy(np.array([[b"\xff", b"fine"]], object))
    body, text_bytes = triton.InferenceServerClient.generate_request_body(
        [given], outputs=[triton.InferRequestedOutput("y", binary_data=False)]
    )
    response = client.post(path_of("texts"), content=body, headers={LENGTH: str(text_bytes)})
    assert_error(response, 400, "output 'y': BYTES that are not UTF-8 have no JSON form, ask for binary data")


def test_model_of_another_type_is_not_served_and_says_why(client: httpx.Client) -> None:
    """The protocol has no floats of 8 bits, so a graph that takes them is refused when it is loaded."""
    assert_error(client.post(path_of("narrow"), json={"inputs": [ONE]}), 503, "tensor(float8e4m3fn)")


@pytest.mark.parametrize(
    ("model", "body", "text"),
    [
        ("add", bytes(8), "needs a model with one input, but there are 2"),
        ("floats", bytes(7), "expected a multiple of 4 bytes for FP32 [1, 'width'], got 7 bytes"),
        ("recurrent", b"", "expected no empty axis, which ONNX Runtime may not survive in GRU, got x [1, 0, 1]"),
        ("fixed", bytes(12), "expected 16 bytes for FP32 [2, 2], got 12 bytes"),
    ],
)
def test_raw_body_that_does_not_fit_is_refused(client: httpx.Client, model: str, body: bytes, text: str) -> None:
    """A header length of 0 says that the body is one row of the only input; else it is 400."""
    assert_error(client.post(path_of(model), content=body, headers={LENGTH: "0"}), 400, text)


@pytest.mark.parametrize("path", [path_of("floats"), "/classify", "/reconstruct", "/predict_sequence"])
@pytest.mark.parametrize("size", [100, 100_000], ids=["small", "large"])
def test_damaged_coding_is_refused(client: httpx.Client, path: str, size: int) -> None:
    """A body that is not what its coding says is 400 on every route, inflated at once or in a thread."""
    response = client.post(path, content=b"x" * size, headers={"content-encoding": "gzip"})
    assert_error(response, 400, "body: expected gzip, got something else")


@pytest.mark.parametrize(
    ("path", "coding", "accepted"),
    [
        (path_of("floats"), "br", "gzip, deflate"),
        ("/classify", "gzip, gzip", "gzip, deflate"),
        ("/generate", "gzip", "identity"),
    ],
)
def test_coding_that_is_not_understood_is_a_415(client: httpx.Client, path: str, coding: str, accepted: str) -> None:
    """The answer names the codings that the route takes, in the header too."""
    response = client.post(path, content=gzip.compress(b"{}"), headers={"content-encoding": coding})
    assert_error(response, 415, f"content-encoding {coding!r}: expected ")
    assert response.headers["accept-encoding"] == accepted


@pytest.mark.parametrize("size", [LIMIT_BYTES + 1, 64 << 20])
def test_bomb_is_a_413_and_the_connection_lives(client: httpx.Client, size: int) -> None:
    """A body that inflates beyond the limit of a body, or a hundredfold, is refused; the next request is answered."""
    bomb = zlib.compress(bytes(size), 9)
    for _ in range(2):
        response = client.post(path_of("floats"), content=bomb, headers={"content-encoding": "deflate"})
        assert_error(response, 413, "bytes when inflated, got more")
    assert client.post(path_of("floats"), json={"inputs": [ONE]}).status_code == 200


def test_room_for_inflated_bodies_is_given_back(server: Serving, client: httpx.Client) -> None:
    """When all is answered, well or not, no compressed body has room reserved any more."""
    packed = {"content-encoding": "gzip"}
    body = json.dumps({"inputs": [tensor([1.5] * 50_000, [1, 50_000])]}).encode()
    for content in (gzip.compress(body), gzip.compress(body[:-1]), gzip.compress(bytes(LIMIT_BYTES * 2)), b"?"):
        client.post(path_of("floats"), content=content, headers=packed)
    assert server.worker is not None
    assert server.worker.handler.body_budget.held_bytes == 0


def test_inflated_body_has_to_fit_beside_the_others(store: Path, server_path: ServerPath) -> None:
    """Compressed bodies count with what they become: where others hold the room it is 503 with when to come back."""
    body = json.dumps({"inputs": [ONE], "id": "i" * 4000}).encode()
    with (
        Serving(settings_for(store, models=("floats",), max_held_bytes=4096), server_path) as server,
        server.client() as client,
    ):
        assert server.worker is not None
        body_budget = server.worker.handler.body_budget
        packed = {"content-encoding": "gzip"}
        assert client.post(path_of("floats"), content=gzip.compress(body), headers=packed).status_code == 200
        body_budget.grow(1000)  # what another connection holds
        response = client.post(path_of("floats"), content=gzip.compress(body), headers=packed)
        assert_error(response, 503, f"expected room for {len(body)} more bytes")
        assert int(response.headers["retry-after"]) >= 1
        body_budget.release(1000)
        assert client.post(path_of("floats"), content=gzip.compress(body), headers=packed).status_code == 200
        assert body_budget.held_bytes == 0


# Answered


def test_raw_body_is_answered_with_raw_tensors(client: httpx.Client) -> None:
    """One row as its bytes alone; all outputs come back binary, described by a JSON part."""
    body = struct.pack("<3f", 1, 2, 3)
    header, rest = split(client.post(path_of("floats"), content=body, headers={LENGTH: "0"}))
    output = {"name": "y", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    assert header == {"model_name": "floats", "model_version": "1", "outputs": [output]}
    assert rest == body
    for element in ("né".encode(), b"\xff\0\x80"):
        header, rest = split(client.post(path_of("texts"), content=element, headers={LENGTH: "0"}))
        assert (header["outputs"][0]["shape"], rest) == ([1, 1], b"\3\0\0\0" + element)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("width", [10, 20_000], ids=["small", "large"])
@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "binary"])
def test_codings_change_nothing_but_the_bytes_on_the_way(
    client: httpx.Client, coding: str, width: int, is_binary: bool
) -> None:
    """Compressed either way, JSON or binary, the tensors are the same and the header length is that of the JSON."""
    values = np.random.default_rng(0).standard_normal((1, width)).astype(np.float32)
    item = tensor(values.ravel().tolist(), values.shape)
    body, headers = json.dumps({"inputs": [item]}).encode(), {}
    if is_binary:
        item = {**item, "parameters": {"binary_data_size": values.nbytes}}
        del item["data"]
        text = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()
        body, headers = text + values.tobytes(), {LENGTH: str(len(text))}
    plain = client.post(path_of("floats"), content=body, headers={**headers, **PLAIN})
    coded = client.post(
        path_of("floats"),
        content=body if coding == "identity" else pack(body, coding),
        headers={**headers, "content-encoding": coding, "accept-encoding": f"{coding}, identity;q=0.5"},
    )
    assert (coded.status_code, coded.content) == (200, plain.content)
    assert coded.headers.get(LENGTH) == plain.headers.get(LENGTH)
    is_packed = coding != "identity" and len(plain.content) >= 1024
    assert coded.headers.get("content-encoding") == (coding if is_packed else None)
    assert "content-encoding" not in plain.headers
    assert (int(coded.headers["content-length"]) < len(plain.content)) == is_packed


def test_answer_is_not_compressed_unless_it_is_asked_for(server: Serving) -> None:
    """A client without Accept-Encoding gets the bytes as they are, however many."""
    with httpx.Client(base_url=server.url) as client:
        del client.headers["accept-encoding"]
        response = client.post(path_of("floats"), json={"inputs": [tensor([0] * 5000, [1, 5000])]})
        assert "content-encoding" not in response.headers
        assert len(response.content) == int(response.headers["content-length"]) > 5000


def test_task_route_takes_and_gives_codings(client: httpx.Client) -> None:
    """Rows for people come compressed as well, and a long answer goes out so."""
    rows = np.zeros((40, 1, 8, 8)).tolist()
    body = gzip.compress(json.dumps({"inputs": rows, "top_k": 10}).encode())
    response = client.post(
        "/classify", content=body, headers={"content-encoding": "gzip", "accept-encoding": "deflate"}
    )
    assert response.status_code == 200, response.text
    assert (len(response.json()["predictions"]), response.headers["content-encoding"]) == (40, "deflate")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_triton_client_compresses_both_ways(triton_client: triton.InferenceServerClient, coding: str) -> None:
    """The real client's compression of requests and answers, with binary tensors."""
    values = np.random.default_rng(1).standard_normal((3, 700)).astype(np.float32)
    given = triton.InferInput("x", values.shape, "FP32")
    given.set_data_from_numpy(values)
    result = triton_client.infer(
        "floats", [given], request_compression_algorithm=coding, response_compression_algorithm=coding
    )
    np.testing.assert_array_equal(result.as_numpy("y"), values)


@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "binary"])
def test_triton_client_gets_classes_with_labels(
    triton_client: triton.InferenceServerClient, store: Path, is_binary: bool
) -> None:
    """The classes of the classifier carry its labels, best first, as the protocol's texts."""
    version = Store(store).find("digits-classifier")
    manifest = version.read_manifest()
    golden = version.read_golden(manifest)
    assert golden is not None
    assert manifest.classes is not None
    rows = golden.inputs["image"][:3]
    given = triton.InferInput("image", rows.shape, "FP32")
    given.set_data_from_numpy(rows)
    name = manifest.classes.probabilities
    wanted = triton.InferRequestedOutput(name, binary_data=is_binary, class_count=2)
    texts = triton_client.infer("digits-classifier", [given], outputs=[wanted]).as_numpy(name)
    assert texts.shape == (3, 2)
    for row, expected in zip(texts, golden.outputs[name][:3], strict=True):
        parts = [(text.decode() if isinstance(text, bytes) else text).split(":") for text in row]
        assert [int(index) for _, index, _ in parts] == np.argsort(-expected)[:2].tolist()
        assert [label for *_, label in parts] == [manifest.labels[int(index)] for _, index, _ in parts]
        np.testing.assert_allclose([float(value) for value, *_ in parts], np.sort(expected)[::-1][:2], atol=1e-5)


def test_classes_without_labels_or_batch(client: httpx.Client) -> None:
    """A model without a batch axis is one row, and without a manifest it has no labels; more than there are is all."""
    outputs = [{"name": "y", "parameters": {"classification": 9}}]
    body = {"inputs": [tensor([1, -2, 0.5, 2], [2, 2])], "outputs": outputs}
    [output] = client.post(path_of("fixed"), json=body).json()["outputs"]
    texts = ["4.000000:3", "2.000000:0", "1.000000:2", "-4.000000:1"]
    assert output == {"name": "y", "datatype": "BYTES", "shape": [4], "data": texts}


def test_flags_are_json_booleans(client: httpx.Client) -> None:
    """BOOL goes in and comes out as true and false."""
    body = {"inputs": [tensor([[True, False]], [1, 2], "BOOL")]}
    assert client.post(path_of("flags"), json=body).json()["outputs"][0]["data"] == [True, False]


def test_half_floats_pass_as_bytes(triton_client: triton.InferenceServerClient) -> None:
    """FP16 in the binary form, NaN and infinity included, bit for bit."""
    values = np.array([[1.5, np.nan, -np.inf, 65504]], np.float16)
    given = triton.InferInput("x", values.shape, "FP16")
    given.set_data_from_numpy(values)
    assert triton_client.infer("halves", [given]).as_numpy("y").tobytes() == values.tobytes()


EMPTY = {
    "no rows": ("floats", [0, 3], [0, 3]),
    "no rows of a fixed width": ("scores", [0, 1, 2, 2], [0, 3]),
    "no rows of a series": ("recurrent", [0, 5, 1], [0, 2]),
    "no rows of no series": ("recurrent", [0, 0, 1], [0, 2]),
    "rows of nothing": ("floats", [2, 0], [2, 0]),
}


@pytest.mark.parametrize("case", EMPTY.values(), ids=EMPTY.keys())
def test_tensors_without_elements_are_answered(
    client: httpx.Client, triton_client: triton.InferenceServerClient, case: tuple[str, list[int], list[int]]
) -> None:
    """As JSON with an empty array or without any, and by the real client in either form: outputs keep their shapes."""
    model, shape, expected = case
    name = "image" if model == "scores" else "x"
    item = tensor([], shape) | {"name": name}
    for given in (item, {key: value for key, value in item.items() if key != "data"}):
        outputs = client.post(path_of(model), json={"inputs": [given]}).raise_for_status().json()["outputs"]
        assert [(output["shape"], output["data"]) for output in outputs] == [(expected, [])] * len(outputs)
    for is_binary in (True, False):
        sent = triton.InferInput(name, shape, "FP32")
        sent.set_data_from_numpy(np.empty(shape, np.float32), binary_data=is_binary)
        for wanted in (None, [triton.InferRequestedOutput(output["name"], is_binary) for output in outputs]):
            result = triton_client.infer(model, [sent], outputs=wanted)
            assert all(result.as_numpy(output["name"]).shape == tuple(expected) for output in outputs)


@pytest.mark.parametrize(("model", "datatype"), [("texts", "BYTES"), ("brain", "BF16"), ("flags", "BOOL")])
def test_no_rows_of_every_kind_are_answered(
    triton_client: triton.InferenceServerClient, model: str, datatype: str
) -> None:
    """Texts, BF16 and booleans too, with their datatype."""
    values = np.empty((0, 3), DATATYPES[datatype].dtype)
    given = triton.InferInput("x", values.shape, datatype)
    given.set_data_from_numpy(values)
    result = triton_client.infer(model, [given])
    assert (result.as_numpy("y").shape, result.get_output("y")["datatype"]) == ((0, 3), datatype)


def test_no_rows_have_no_classes(client: httpx.Client) -> None:
    """A classification of no rows has as many columns as ever."""
    outputs = [{"name": "logits", "parameters": {"classification": 2}}]
    body = {"inputs": [tensor([], [0, 1, 2, 2]) | {"name": "image"}], "outputs": outputs}
    [output] = client.post(path_of("scores"), json=body).json()["outputs"]
    assert output == {"name": "logits", "datatype": "BYTES", "shape": [0, 2], "data": []}


def test_model_that_fails_on_nothing_fails_that_request_only(client: httpx.Client) -> None:
    """An operator that has no answer for an empty axis raises, and the next request is answered."""
    assert_error(
        client.post(path_of("greatest"), json={"inputs": [tensor([], [2, 0])]}),
        400,
        "the graph cannot be run on them at ArgMax",
    )
    [output] = client.post(path_of("greatest"), json={"inputs": [tensor([3, 7], [1, 2])]}).json()["outputs"]
    assert output["data"] == [1]


def test_task_routes_take_no_empty_rows(client: httpx.Client) -> None:
    """Rows for people have elements: KServe's predict refuses those that have none, whatever the model."""
    response = client.post("/v1/models/floats:predict", json={"instances": [[], []]})
    assert_error(response, 400, "expected at least one row and no empty axis, got x [2, 0]")


def test_brain_floats_pass_as_bytes(triton_client: triton.InferenceServerClient, client: httpx.Client) -> None:
    """BF16 by the real client: what the model makes of it, NaN and infinity included, and what metadata call it."""
    values = np.array([[1.5, -2, 0.25], [np.nan, np.inf, 1e38]], BF16)
    given = triton.InferInput("x", values.shape, "BF16")
    given.set_data_from_numpy(values)
    tripled = triton_client.infer("brain", [given]).as_numpy("y")
    wide = values.astype(np.float32)
    np.testing.assert_array_equal(tripled.astype(np.float32), (3 * wide).astype(BF16).astype(np.float32))
    assert triton_client.get_model_metadata("brain")["inputs"][0]["datatype"] == "BF16"
    assert triton_client.get_model_config("brain")["input"][0]["data_type"] == "TYPE_BF16"
    row = values[0].tobytes()
    header, rest = split(client.post(path_of("brain"), content=row, headers={LENGTH: "0"}))
    assert (header["outputs"][0]["datatype"], rest) == ("BF16", (values[0] * BF16(3)).tobytes())


@pytest.mark.parametrize("count", [3, 5000])
@pytest.mark.parametrize("wrap", [float, str], ids=["literals", "texts"])
def test_nan_and_infinities_pass(client: httpx.Client, count: int, wrap: Callable[[str], Any]) -> None:
    """As literals and as texts, beside ordinary numbers, in a small answer and in one that is compressed.

    What comes is JSON for strict parsers.
    """
    special = ["NaN", "Infinity", "-Infinity"]
    values = [*map(wrap, special), *[0.5] * count]
    text = json.dumps({"inputs": [tensor(values, [1, len(values)])]})
    [output] = orjson.loads(client.post(path_of("floats"), content=text).content)["outputs"]
    assert output["data"] == [*special, *[0.5] * count]


async def settle(handler: RequestHandler) -> None:
    """Return when whatever was being done in a thread has been told to the loop: both threads are free again."""
    both = threading.Barrier(2)
    loop = asyncio.get_running_loop()
    await asyncio.gather(*[loop.run_in_executor(handler.threads, both.wait, 60) for _ in range(2)])


def test_caller_that_goes_while_its_body_is_inflated_leaves_nothing(server: Serving) -> None:
    """No answer is made, no model is asked, and no room stays reserved."""

    async def go() -> tuple[AwaitedRequest, int]:
        handler = server.worker.handler
        call = AwaitedRequest(Endpoint(INFER, "floats"), b"", {b"content-encoding": b"gzip"})
        body = json.dumps({"inputs": [tensor([1.5] * 200_000, [1, 200_000])], "id": os.urandom(9000).hex()}).encode()
        call.body = gzip.compress(body)
        handler.start(call)
        assert call.work is not None
        call.work.cancel()
        await settle(handler)
        return call, handler.body_budget.held_bytes

    assert server.worker is not None
    call, held_bytes = asyncio.run_coroutine_threadsafe(go(), server.worker.tasks.loop).result(60)
    assert (call.answer.done(), call.work, held_bytes) == (False, None, 0)


def test_caller_that_goes_while_its_answer_is_compressed_gets_none(server: Serving) -> None:
    """The compressed answer of a call that was cancelled is thrown away; one that stays gets it."""

    async def go() -> list[AwaitedRequest]:
        handler = server.worker.handler
        calls = [AwaitedRequest(Endpoint(INFER, "floats"), b"", {b"accept-encoding": b"gzip"}) for _ in range(2)]
        for call in calls:
            responder = Responder(handler, call)
            call.work = responder
            responder.finish(Reply(200, [bytes(100_000)], [JSON]), None)
        calls[0].work.cancel()
        await settle(handler)
        return calls

    assert server.worker is not None
    gone, stays = asyncio.run_coroutine_threadsafe(go(), server.worker.tasks.loop).result(60)
    assert not gone.answer.done()
    assert gzip.decompress(b"".join(stays.answer.result().chunks)) == bytes(100_000)
