"""What a request says twice: parsers and proxies disagree on which one counts, so it is refused, on every route."""

import json

import httpx
import pytest

from tests.support.wires import INFER

X = '"name":"x","datatype":"FP32","shape":[1,3]'
DATA = '"data":[1,2,3]'
GOOD = f'{{"inputs":[{{{X},{DATA}}}]}}'


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (f'{{"inputs":[{{{X},{DATA}}}],"id":"a","id":"b"}}', "id"),
        (f'{{"id":"a","inputs":[{{{X},{DATA}}}],"inputs":[{{{X},{DATA}}}]}}', "inputs"),
        (f'{{"inputs":[{{{X},"shape":[1,3],{DATA}}}]}}', "shape"),
        (f'{{"inputs":[{{{X},{DATA},{DATA}}}]}}', "data"),
        (f'{{"inputs":[{{{X},{DATA},"parameters":{{"a":1,"a":2}}}}]}}', "a"),
        (f'{{"inputs":[{{{X},{DATA}}}],"outputs":[{{"name":"y","name":"y"}}]}}', "name"),
        (f'{{"inputs":[{{{X},{DATA}}}],"parameters":{{"priority":1,"priority" : 2}}}}', "priority"),
        (f'{{"inputs":[{{{X},"data":[[1,2,3]]}}],"id":"a:b","id":"a:b"}}', "id"),
    ],
)
def test_key_twice_in_a_request_for_tensors(client: httpx.Client, body: str, key: str):
    """In the request's object, a tensor's and its parameters; each time it comes, and the good one after it passes."""
    for _ in range(2):
        response = client.post(INFER, content=body)
        assert response.status_code == 400
        assert f"expected each key of an object once, got {key!r} twice" in response.json()["error"]
        assert client.post(INFER, content=GOOD).status_code == 200


def test_key_twice_before_binary_tensors(client: httpx.Client):
    """The JSON part of a binary request is looked at as closely, also when one like it is known."""
    for extra, status in (("", 200), (',"id":"a","id":"b"', 400), ("", 200)):
        head = f'{{"inputs":[{{{X},"parameters":{{"binary_data_size":12}}}}]{extra}}}'.encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        assert client.post(INFER, content=head + bytes(12), headers=headers).status_code == status


@pytest.mark.parametrize(
    "path", ["/classify", "/generate", "/v2/models/double/generate", "/v1/models/double:predict", "/predict_sequence"]
)
def test_key_twice_on_other_routes(client: httpx.Client, path: str):
    """Requests to the tasks, and those of the other protocols."""
    response = client.post(path, content=b'{"inputs":[1],"x":[1],"x":[2]}')
    assert response.status_code == 400
    assert "expected each key of an object once, got 'x' twice" in json.dumps(response.json())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (INFER, f'{{"id":"a","inputs":[{{{X},"data":[1,2,3,@]}}],"id":"b"}}'),
        (INFER, f'{{"inputs":[{{{X},"data":[@,1],"shape":[1,3]}}]}}'),
        ("/classify", '{"model":"a","inputs":[@,1],"model":"b"}'),
        ("/v1/models/double:predict", '{"instances":[@,1],"instances":[1]}'),
    ],
)
def test_key_twice_in_a_large_body(client: httpx.Client, path: str, body: str):
    """Also far apart, in a body that is read in pieces."""
    response = client.post(path, content=body.replace("@", ",".join(["0.5"] * 200_000)))
    assert response.status_code == 400
    assert "expected each key of an object once, got" in json.dumps(response.json())


def test_output_that_is_asked_for_twice(client: httpx.Client):
    """An output has one place in an answer, so it is asked for once."""
    for parameters in ({}, {"binary_data": True}):
        outputs = [{"name": "y"}, {"name": "y", "parameters": parameters}]
        response = client.post(INFER, json={**json.loads(GOOD), "outputs": outputs})
        assert response.status_code == 400
        assert "outputs[1].name: expected each output once, got 'y' twice" in response.json()["error"]
