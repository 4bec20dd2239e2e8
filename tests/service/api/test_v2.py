"""The infer route: refusals, content codings, limits, callers that leave, JSON parts that come again, keys twice."""

import asyncio
import gzip
import json
import os
import threading
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.handler import RequestHandler, Responder
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER, JSON, Endpoint, Reply
from tests.support.answers import assert_error
from tests.support.servers import FAST, Serving, settings_for

LIMIT_BYTES = 4 << 20
LENGTH = "inference-header-content-length"
GZIP = {"content-encoding": "gzip"}
CLASSIFIER, DOUBLE, FLOATS = (f"/v2/models/{name}/infer" for name in ("digits-classifier", "double", "floats"))
Json = dict[str, Any]


def tensor(data: Any, shape: list[int], datatype: str = "FP32", name: str = "x") -> Json:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def infer(client: httpx.Client, model: str, *inputs: Json, **fields: Any) -> httpx.Response:
    return client.post(f"/v2/models/{model}/infer", json={"inputs": inputs, **fields})


ONE = tensor([1, 2], [1, 2])
REFUSED: dict[str, tuple[str, list[Json], Json, str]] = {
    "unknown field": ("floats", [ONE], {"input": 1}, "unknown field 'input'"),
    "bad timeout": ("floats", [ONE], {"parameters": {"timeout": -1}}, "parameters.timeout: expected microseconds"),
    "reserved parameter": ("floats", [ONE], {"parameters": {"triton_x": 1}}, "parameters.triton_x: this server"),
    "same output twice": (
        "floats",
        [ONE],
        {"outputs": [{"name": "y"}] * 2},
        "outputs[1].name: expected each output",
    ),
    "same input twice": ("floats", [ONE, ONE], {}, "inputs: expected each name once"),
    "text as a number": ("floats", [tensor(["1", 2], [1, 2])], {}, "input 'x': expected FP32, got '1'"),
    "wrong datatype": ("floats", [tensor([1], [1, 1], "INT32")], {}, "input 'x': expected FP32, got INT32"),
    "wrong rank": ("floats", [tensor([1], [1])], {}, "expected shape [batch, width], got [1]"),
    "missing input": ("add", [tensor([1, 2], [1, 2], name="a")], {}, "inputs: expected a, b, got a"),
    "no rows, but of a width": ("add", [tensor([], [0, 3], name=n) for n in "ab"], {}, "shape [batch, 2]"),
    "empty series": ("recurrent", [tensor([], [1, 0, 1])], {}, "may not survive in GRU, got x [1, 0, 1]"),
    "values of the caller": ("greatest", [tensor([], [2, 0])], {}, "the graph cannot be run on them at ArgMax"),
    "unknown output": ("floats", [ONE], {"outputs": [{"name": "q"}]}, "no output 'q'"),
    "classes of texts": (
        *("texts", [tensor(["a"], [1, 1], "BYTES")]),
        {"outputs": [{"name": "y", "parameters": {"classification": 1}}]},
        "for a classification, got BYTES",
    ),
}


@pytest.mark.parametrize(("model", "inputs", "fields", "text"), REFUSED.values(), ids=REFUSED)
def test_request_at_fault_is_a_400(client: httpx.Client, model: str, inputs: list[Json], fields: Json, text: str):
    """Each step that may refuse a request answers 400, with what was expected and what came."""
    assert_error(infer(client, model, *inputs, **fields), 400, text)


@pytest.mark.parametrize("path", [FLOATS, "/classify"])
@pytest.mark.parametrize("size", [100, 100_000], ids=["small", "large"])
def test_damaged_coding_is_refused(client: httpx.Client, path: str, size: int) -> None:
    """A body that is not what its content coding says is 400, whether it is inflated at once or in a thread."""
    assert_error(client.post(path, content=b"x" * size, headers=GZIP), 400, "body: expected gzip, got something else")


@pytest.mark.parametrize(
    ("path", "coding", "accepted"),
    [(FLOATS, "br", "gzip, deflate"), ("/classify", "gzip, gzip", "gzip, deflate"), ("/generate", "gzip", "identity")],
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
        response = client.post(FLOATS, content=bomb, headers={"content-encoding": "deflate"})
        assert_error(response, 413, "bytes when inflated, got more")
    assert infer(client, "floats", ONE).status_code == 200


def test_inflated_body_has_to_fit_beside_the_others(store: Path) -> None:
    """A compressed body counts with its inflated size; without room for it the answer is 503 with Retry-After."""
    body = json.dumps({"inputs": [ONE], "id": "i" * 4000}).encode()
    packed = gzip.compress(body)
    settings = settings_for(store, models=("floats",), max_held_bytes=4096, max_body_bytes=1 << 20)
    with Serving(settings, FAST) as server, server.client() as client:
        body_budget = server.worker.handler.body_budget
        body_budget.grow(1000)  # what another connection holds
        response = client.post(FLOATS, content=packed, headers=GZIP)
        assert_error(response, 503, f"expected room for {len(body)} more bytes")
        body_budget.release(1000)
        bad = (gzip.compress(body[:-1]), gzip.compress(bytes(2 << 20)), b"?", packed[:-1])
        statuses = [client.post(FLOATS, content=content, headers=GZIP).status_code for content in (packed, *bad)]
        assert statuses == [200, 400, 413, 400, 400]
        assert body_budget.held_bytes == 0


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("width", [10, 20_000], ids=["small", "large"])
@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "binary"])
def test_codings_change_only_bytes_on_the_way(client: httpx.Client, coding: str, width: int, is_binary: bool) -> None:
    """Content codings change neither tensors nor header length, for requests and answers, JSON and binary."""
    values = np.random.default_rng(0).standard_normal((1, width)).astype(np.float32)
    item = tensor(None if is_binary else values.ravel().tolist(), [1, width])
    item["parameters"] = {"binary_data_size": values.nbytes} if is_binary else {}
    text = json.dumps({"inputs": [item], "parameters": {"binary_data_output": is_binary}}).encode()
    headers = {LENGTH: str(len(text))} if is_binary else {}
    body = text + (values.tobytes() if is_binary else b"")
    plain = client.post(FLOATS, content=body, headers={**headers, "accept-encoding": "identity"})
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding]
    wish = f"{coding}, identity;q=0.5"
    headers |= {"content-encoding": coding, "accept-encoding": wish}
    coded = client.post(FLOATS, content=pack(body), headers=headers)
    assert (coded.status_code, coded.content) == (200, plain.content)
    assert coded.headers.get(LENGTH) == plain.headers.get(LENGTH)
    is_packed = coding != "identity" and len(plain.content) >= 1024
    assert coded.headers.get("content-encoding") == (coding if is_packed else None)
    assert "content-encoding" not in plain.headers
    assert (int(coded.headers["content-length"]) < len(plain.content)) == is_packed


def test_classes_have_the_labels_of_the_manifest(reference: httpx.Client) -> None:
    """A class of the probabilities is value, index and label; the label of a digit is its index."""
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}]
    response = infer(reference, "digits-classifier", tensor([0] * 64, [1, 1, 8, 8], name="image"), outputs=outputs)
    texts = response.json()["outputs"][0]["data"]
    assert len(texts) == 2
    assert all(text.split(":")[1] == text.split(":")[2] for text in texts)


async def settle(handler: RequestHandler) -> None:
    """Wait until both threads are free and the loop knows what they did."""
    both = threading.Barrier(2)
    loop = asyncio.get_running_loop()
    await asyncio.gather(*[loop.run_in_executor(handler.threads, both.wait, 60) for _ in range(2)])


def test_caller_that_goes_while_a_thread_works_for_it_gets_nothing(server: Serving) -> None:
    """A caller that leaves during inflation or compression gets no answer, and its room is given back."""

    async def go() -> list[AwaitedRequest]:
        handler = server.worker.handler
        inflating = AwaitedRequest(Endpoint(INFER, "floats"), b"", {b"content-encoding": b"gzip"})
        body = json.dumps({"inputs": [tensor([1.5] * 200_000, [1, 200_000])], "id": os.urandom(9000).hex()}).encode()
        inflating.body = gzip.compress(body)
        handler.start(inflating)
        deflating, stays = (
            AwaitedRequest(Endpoint(INFER, "floats"), b"", {b"accept-encoding": b"gzip"}) for _ in range(2)
        )
        for call in (deflating, stays):
            call.work = Responder(handler, call)
            call.work.finish(Reply(200, [bytes(100_000)], [JSON]), None)
        inflating.work.cancel()
        deflating.work.cancel()
        await settle(handler)
        return [inflating, deflating, stays]

    *gone, stays = asyncio.run_coroutine_threadsafe(go(), server.worker.tasks.loop).result(60)
    assert [(call.answer.done(), call.work) for call in gone] == [(False, None)] * 2
    assert gzip.decompress(b"".join(stays.answer.result().chunks)) == bytes(100_000)
    assert server.worker.handler.body_budget.held_bytes == 0


def ask(client: httpx.Client, path: str, name: str, array: np.ndarray, request_id: str = "") -> httpx.Response:
    content = array.astype("<f4").tobytes()
    item = {"name": name, "shape": array.shape, "datatype": "FP32", "parameters": {"binary_data_size": len(content)}}
    header = json.dumps({"id": request_id, "inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    headers = {LENGTH: str(len(header))}
    return client.post(path, content=header + content, headers=headers)


def read(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], "<f4")


def test_values_are_looked_at_each_time(client: httpx.Client):
    """A NaN is refused where only finite numbers are allowed, also when the JSON part was accepted before."""
    good = np.zeros((1, 1, 8, 8), np.float32)
    bad = good.copy()
    bad[0, 0, 3, 3] = np.nan
    first = read(ask(client, CLASSIFIER, "image", good))
    for _ in range(2):
        refused = ask(client, CLASSIFIER, "image", bad)
        assert_error(refused, 400, "expected finite numbers, got nan at [0, 0, 3, 3]")
        assert read(ask(client, CLASSIFIER, "image", good)).tobytes() == first.tobytes()


@pytest.mark.parametrize("change", [-4, 4])
def test_length_is_looked_at_each_time(client: httpx.Client, change: int):
    """A body of another length than its JSON part says is refused, also when the JSON part was accepted before."""
    row = np.ones((1, 3), np.float32)
    sent = ask(client, DOUBLE, "x", row).request
    content = sent.content[:change] if change < 0 else sent.content + b"\0" * change
    headers = {LENGTH: sent.headers[LENGTH]}
    refused = client.post(DOUBLE, content=content, headers=headers)
    assert_error(refused, 400, f"expected 12 bytes of tensors after the header, got {12 + change}")
    assert read(ask(client, DOUBLE, "x", row)).tolist() == [2.0, 2.0, 2.0]


def test_each_caller_gets_its_own_answer_however_many_forms_there_are(client: httpx.Client):
    """With more different JSON parts than are kept, each request still gets its own numbers and id."""
    for number in range(300):
        for _ in range(2):
            rows = 1 + number % 3
            answer = ask(client, DOUBLE, "x", np.full((rows, 3), number, np.float32), f"id {number}")
            assert read(answer).tolist() == [2.0 * number] * 3 * rows
            text = answer.content[: int(answer.headers[LENGTH])]
            assert json.loads(text)["id"] == f"id {number}"


ITEM = '"name":"x","datatype":"FP32","shape":[1,3]'
DATA = '"data":[1,2,3]'
GOOD = f'{{"inputs":[{{{ITEM},{DATA}}}]}}'
LARGE = ",".join(["0.5"] * 200_000)


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        (DOUBLE, f'{{"inputs":[{{{ITEM},{DATA}}}],"id":"a","id":"b"}}', "id"),
        (DOUBLE, f'{{"inputs":[{{{ITEM},{DATA},{DATA}}}]}}', "data"),
        (DOUBLE, f'{{"inputs":[{{{ITEM},{DATA},"parameters":{{"a":1,"a":2}}}}]}}', "a"),
        (DOUBLE, f'{{"inputs":[{{{ITEM},"data":[[1,2,3]]}}],"id":"a:b","id":"a:b"}}', "id"),
        (DOUBLE, f'{{"id":"a","inputs":[{{{ITEM},"data":[1,2,3,{LARGE}]}}],"id":"b"}}', "id"),
        (DOUBLE, f'{{"inputs":[{{{ITEM},"data":[{LARGE},1],"shape":[1,3]}}]}}', "shape"),
        ("/classify", f'{{"model":"a","inputs":[{LARGE},1],"model":"b"}}', "model"),
        ("/v1/models/double:predict", f'{{"instances":[{LARGE},1],"instances":[1]}}', "instances"),
        ("/generate", '{"x":[1],"x":[2]}', "x"),
        ("/v2/models/double/generate", '{"x":[1],"x":[2]}', "x"),
    ],
)
def test_key_twice_is_refused(client: httpx.Client, path: str, body: str, key: str):
    """A key that comes twice in an object is refused, near or far apart, each time; a good request still passes."""
    for _ in range(2):
        response = client.post(path, content=body)
        assert_error(response, 400, f"expected each key of an object once, got {key!r} twice")
        assert client.post(DOUBLE, content=GOOD).status_code == 200


def test_key_twice_before_binary_tensors(client: httpx.Client):
    """A key twice in the JSON part of a binary request is refused, also when a similar part was accepted before."""
    for extra, status in (("", 200), (',"id":"a","id":"b"', 400), ("", 200)):
        head = f'{{"inputs":[{{{ITEM},"parameters":{{"binary_data_size":12}}}}]{extra}}}'.encode()
        headers = {LENGTH: str(len(head))}
        assert client.post(DOUBLE, content=head + bytes(12), headers=headers).status_code == status
