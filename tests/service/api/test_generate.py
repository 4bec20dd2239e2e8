"""The protocol's generate routes: flat JSON, shapes by what is there, one answer or events. Through each path."""

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from onnx import TensorProto

from tests.support.models import graphs
from tests.support.servers import ServerPath, Serving, settings_for

Json = dict[str, Any]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generate")
    graphs.write_plain(root, "double", graphs.double())
    graphs.write_plain(root, "open", graphs.double("width"))
    graphs.write_plain(root, "add", graphs.add())
    graphs.write_plain(root, "fixed", graphs.one_at_a_time())
    graphs.write_plain(root, "exhausting", graphs.exhausting())
    graphs.write_plain(root, "texts", graphs.echo(TensorProto.STRING))
    graphs.write_plain(root, "flags", graphs.echo(TensorProto.BOOL))
    graphs.write_plain(root, "halves", graphs.echo(TensorProto.FLOAT16))
    graphs.write_loop(root, "counter", graphs.count_up(), {"total": "next_total", "x": None})
    return root


@pytest.fixture(scope="module")
def server(store: Path, server_path: ServerPath) -> Iterator[Serving]:
    with Serving(settings_for(store, base_path="/team"), server_path) as serving:
        yield serving


def ask(client: httpx.Client, model: str, body: Any, route: str = "generate") -> httpx.Response:
    return client.post(f"/team/v2/models/{model}/{route}", content=json.dumps(body))


def read_events(response: httpx.Response) -> list[Json]:
    """The data of each event; an event with a name, or anything else, is none of this route's."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = response.text.split("\n\n")
    assert parts.pop() == ""
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
    "null": ("double", {"x": None}, "input 'x': expected FP32, got null"),
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
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_bad_request_is_plain_json_with_400(client: httpx.Client, case: tuple[str, Any, str], route: str) -> None:
    """What is wrong before anything ran is said as JSON with its status, on both routes."""
    model, body, text = case
    response = ask(client, model, body, route)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/json"
    assert text in response.json()["error"]


@pytest.mark.parametrize("route", ["generate", "generate_stream"])
def test_model_that_fails_at_once_is_plain_json_with_500(client: httpx.Client, route: str) -> None:
    """A failure before the first event keeps its status."""
    response = ask(client, "exhausting", {"x": 9}, route)
    assert (response.status_code, response.headers["content-type"]) == (500, "application/json")
    assert "the model failed" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("nobody/generate", "no model 'nobody'"),
        ("{model}/generate", "no model '{model}'"),
        ("double/versions/9/generate", "no version '9'"),
        ("double/generate/more", "no route"),
    ],
)
def test_unknown_model_version_and_path_are_404(client: httpx.Client, path: str, text: str) -> None:
    """The routes name models and versions like all others."""
    response = client.post(f"/team/v2/models/{path}", json={"x": [1, 2, 3]})
    assert response.status_code == 404
    assert text in response.json()["error"]


def test_parameter_that_is_null_is_as_absent(client: httpx.Client) -> None:
    """Beside the inputs and in the object of parameters, and this object itself."""
    nulls = {"id": None, "steps": None, "timeout": None, "mine": None}
    plain = ask(client, "double", {"x": [1, 2, 3]})
    assert plain.status_code == 200
    for body in ({**nulls, "parameters": None}, {"parameters": nulls}):
        assert ask(client, "double", {"x": [1, 2, 3], **body}).text == plain.text


def test_other_methods_are_405(client: httpx.Client) -> None:
    """The routes take POST only and say so."""
    response = client.get("/team/v2/models/double/generate")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_failure_after_the_first_event_is_an_event(client: httpx.Client) -> None:
    """Once the stream has begun an error is its last event: data alone, with the text that all errors have."""
    response = ask(client, "counter", {"x": 2, "steps": 5}, "generate_stream")
    assert response.status_code == 200
    *steps, error = read_events(response)
    assert [step["value"] for step in steps] == [10.0, 12.0]
    assert error["error"].startswith("the model failed on this request")


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
    """The id comes back, a version may be named, inputs may be within `parameters`, and other fields are parameters."""
    body = {"id": "me", "parameters": {"x": [1, 2, 3], "temperature": 0.5}, "stream": False, "timeout": 9_000_000}
    answer = ask(client, "double/versions/1", body).json()
    assert answer == {"id": "me", "model_name": "double", "model_version": "1", "y": [2.0, 4.0, 6.0]}


def test_numbers_that_are_not_finite_go_both_ways(client: httpx.Client) -> None:
    """NaN and infinities are taken as Python writes them and as texts, and come as texts, in arrays and alone."""
    for nan, infinity in ((math.nan, math.inf), ("NaN", "Infinity")):
        assert ask(client, "open", {"x": nan}).json()["y"] == "NaN"
        values = ask(client, "double", {"x": [infinity, 1, -math.inf]}).json()["y"]
        assert values == ["Infinity", 2.0, "-Infinity"]
    [event] = read_events(ask(client, "double", {"x": ["-Infinity", 1, 2]}, "generate_stream"))
    assert event["y"] == ["-Infinity", 2.0, 4.0]


def test_timeout_of_the_request_counts(client: httpx.Client) -> None:
    """A request that leaves a microsecond is 504, or 429 where it is clear beforehand."""
    assert ask(client, "double", {"x": [1, 2, 3], "timeout": 1}).status_code in (429, 504)


def test_loop_streams_its_steps(client: httpx.Client) -> None:
    """Each step is an event, the last one the last; what the model carries begins with zeros where it is left out."""
    events = read_events(ask(client, "counter", {"id": "a", "x": 1, "steps": 3}, "generate_stream"))
    told = {"id": "a", "model_name": "counter", "model_version": "1"}
    assert events == [told | {"next_total": n + 1, "value": 10.0 + n} for n in range(3)]


def test_loop_without_a_stream_answers_with_its_last_step(client: httpx.Client) -> None:
    """One request has one answer: that of the last step, from the state that was sent."""
    answer = ask(client, "counter", {"x": 1, "total": 1, "steps": 3}).json()
    assert (answer["next_total"], answer["value"]) == (4, 13.0)


def test_body_may_come_compressed(client: httpx.Client) -> None:
    """The routes take content codings like the others."""
    body = gzip.compress(b'{"x": [1, 2, 3]}')
    response = client.post("/team/v2/models/double/generate", content=body, headers={"content-encoding": "gzip"})
    assert response.json()["y"] == [2.0, 4.0, 6.0]


def test_calls_are_counted_by_route(client: httpx.Client) -> None:
    """The metrics know the routes by their templates."""
    ask(client, "add", {"a": [1, 2], "b": [3, 4]}, "generate_stream")
    exposed = client.get("/team/metrics").text
    series = 'sluice_requests_total{model="add",route="/v2/models/{model}/generate_stream",status="200"}'
    assert series in exposed
