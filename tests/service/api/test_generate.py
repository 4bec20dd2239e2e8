"""The protocol's generate routes: flat JSON, shapes by what is there, one answer or events."""

import json
from typing import Any

import httpx
import pytest

from tests.support.answers import assert_error

Json = dict[str, Any]


def ask(client: httpx.Client, model: str, body: Any, route: str = "generate") -> httpx.Response:
    return client.post(f"/v2/models/{model}/{route}", content=json.dumps(body))


def read_events(response: httpx.Response) -> list[Json]:
    """The data of each event; an event with a name, or anything else, is none of this route's."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = response.text.removesuffix("\n\n").split("\n\n")
    assert all(part.startswith("data: ") and "\n" not in part for part in parts), parts
    return [json.loads(part.removeprefix("data: ")) for part in parts]


REFUSED: dict[str, tuple[str, Any, str]] = {
    "no object": ("double", [1, 2], "body: expected a JSON object, got an array"),
    "no input": ("double", {}, "inputs: expected x, got none"),
    "one of two inputs": ("add", {"a": [1, 2]}, "inputs: expected a, b, got a"),
    "count that does not divide": ("double", {"x": [1, 2, 3, 4]}, "'x': expected a multiple of 3 elements for"),
    "count of a fixed shape": ("fixed", {"x": [1, 2]}, "input 'x': expected 4 elements for [2, 2], got 2"),
    "nothing in it": ("double", {"x": []}, "input 'x': expected a multiple of 3 elements for ['batch', 3], got 0"),
    "nested": ("double", {"x": [[1, 2, 3]]}, "input 'x': expected a value or a flat array of them, got nested arrays"),
    "wrong type": ("double", {"x": ["1", "2", "3"]}, "input 'x': expected FP32, got '1'"),
    "id": ("double", {"id": 7, "x": [1, 2, 3]}, "id: expected a string, got a number"),
    "parameters": ("double", {"parameters": 1, "x": [1, 2, 3]}, "parameters: expected an object, got a number"),
    "input twice": ("double", {"parameters": {"x": 1}, "x": [1, 2, 3]}, "parameters.x: expected once"),
    "list as parameter": ("double", {"x": [1, 2, 3], "y": [1]}, "parameters.y: expected a string, a number or a bool"),
    "reserved parameter": ("double", {"x": [1, 2, 3], "triton_x": 1}, "parameters.triton_x: this server does not"),
    "sequence": ("counter", {"x": 1, "sequence_id": 4}, "sequence_id: expected none on this route"),
    "bad timeout": ("double", {"x": [1, 2, 3], "timeout": "1"}, "parameters.timeout: expected microseconds"),
    "half precision": ("halves", {"x": [1.5]}, "output 'y': FP16 has no JSON form"),
    "steps without a loop": ("double", {"x": [1, 2, 3], "steps": 2}, "steps: model 'double' has no loop"),
    "no steps": ("counter", {"x": 1, "steps": 0}, "steps: expected 1 to 20, got 0"),
    "too many steps": ("counter", {"x": 1, "steps": 21}, "steps: expected 1 to 20, got 21"),
    "steps of several rows": ("counter", {"x": [1, 2], "total": [0, 0], "steps": 2}, "steps: expected one row, got 2"),
}


@pytest.mark.parametrize("route", ["generate", "generate_stream"])
@pytest.mark.parametrize(("model", "body", "text"), REFUSED.values(), ids=REFUSED)
def test_bad_request_is_plain_json_with_400(client: httpx.Client, model: str, body: Any, text: str, route: str) -> None:
    """A request that is refused before anything runs is answered with JSON and 400 on both routes."""
    assert_error(ask(client, model, body, route), 400, text)


@pytest.mark.parametrize("route", ["generate", "generate_stream"])
def test_model_that_fails_at_once_is_plain_json_with_500(client: httpx.Client, route: str) -> None:
    """A failure before the first event keeps its status."""
    assert_error(ask(client, "exhausting", {"x": 9}, route), 500, "the model failed")


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        ("double", {"x": [1, 2, 3]}, {"y": [2.0, 4.0, 6.0]}),
        ("double", {"x": [1, 2, 3, 4, 5, 6]}, {"y": [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]}),
        ("open", {"x": 4}, {"y": 8.0}),
        ("open", {"x": [1, 2, 3, 4]}, {"y": [2.0, 4.0, 6.0, 8.0]}),
        ("fixed", {"x": [1, 2, 3, 4]}, {"y": [2.0, 4.0, 6.0, 8.0]}),
        ("add", {"a": [1, 2], "b": [3, 4]}, {"total": [4.0, 6.0], "negative": [-4.0, -6.0]}),
        ("texts", {"x": "grüezi"}, {"y": "grüezi"}),
        ("texts", {"x": ["a", ""]}, {"y": ["a", ""]}),
        ("flags", {"x": True}, {"y": True}),
        ("counter", {"x": 2, "total": 1}, {"next_total": 3, "value": 11.0}),
    ],
)
def test_inputs_and_outputs_are_flat(client: httpx.Client, model: str, inputs: Json, outputs: Json) -> None:
    """Values and arrays become tensors of the model's shapes; outputs come back flat, a single element by itself."""
    told = {"model_name": model, "model_version": "1", **outputs}
    assert ask(client, model, inputs).json() == told
    assert read_events(ask(client, model, inputs, "generate_stream")) == [told]


def test_id_version_and_parameters(client: httpx.Client) -> None:
    """The id comes back, inputs may be within `parameters`, version and timeout count, and null is as absent."""
    body = {"id": "me", "parameters": {"x": [1, 2, 3], "temperature": 0.5}, "stream": False, "timeout": 60_000_000}
    answer = ask(client, "double/versions/1", body).json()
    assert answer == {"id": "me", "model_name": "double", "model_version": "1", "y": [2.0, 4.0, 6.0]}
    assert ask(client, "double", {**body, "timeout": 1}).status_code in (429, 504)
    nulls = {"id": None, "steps": None, "timeout": None, "mine": None}
    plain = ask(client, "double", {"x": [1, 2, 3]})
    assert plain.status_code == 200
    for body in ({**nulls, "parameters": None}, {"parameters": nulls}):
        assert ask(client, "double", {"x": [1, 2, 3], **body}).text == plain.text


def test_loop_streams_its_steps(client: httpx.Client) -> None:
    """Each step is an event, from zeros or the state sent; the last one is the answer alone; an error ends it."""
    events = read_events(ask(client, "counter", {"id": "a", "x": 1, "steps": 3}, "generate_stream"))
    told = {"id": "a", "model_name": "counter", "model_version": "1"}
    assert events == [told | {"next_total": n + 1, "value": 10.0 + n} for n in range(3)]
    answer = ask(client, "counter", {"x": 1, "total": 1, "steps": 3}).json()
    assert (answer["next_total"], answer["value"]) == (4, 13.0)
    response = ask(client, "counter", {"x": 2, "steps": 5}, "generate_stream")
    assert response.status_code == 200
    *begun, error = read_events(response)
    assert [step["value"] for step in begun] == [10.0, 12.0]
    assert error["error"].startswith("the model failed on this request")
