"""The OpenAPI document of a running server, and whether the server does what it says."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

from model_store import DEFAULT_ROOT
from service.api.openapi.document import make_document
from service.api.openapi.examples import EXAMPLES
from service.api.openapi.operations import list_operations
from service.api.openapi.task_types import OPTIONS
from service.api.tasks import PLANNERS, ROUTES
from service.transport.request import INFER
from service.transport.status import STATUS
from tests.support.servers import ServerPath, Serving, settings_for

CASES = [(task, name) for task, examples in EXAMPLES.items() for name in examples]
JSON = "application/json"
DOCUMENT = make_document("0")
OF_PROTOCOL = [
    (operation.method, operation.path, name)
    for operation in list_operations()
    for name in DOCUMENT["paths"][operation.path][operation.method].get(
        "requestBody", {"content": {JSON: {"examples": {"": None}}}}
    )["content"][JSON]["examples"]
]
"""Method, path, name of an example; "" where there is no body."""


@pytest.fixture
def document(reference: httpx.Client) -> dict[str, Any]:
    response = reference.get("/docs.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def check(document: dict[str, Any], value: Any, schema: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError."""
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def operation(document: dict[str, Any], task: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][f"/{task}"]["post"]
    return found


def component(operation: dict[str, Any], kind: str) -> dict[str, Any]:
    """The schema of a kind of event: they are named in the text of the answer."""
    name = operation["responses"]["200"]["content"][JSON]["schema"]["$ref"]
    return {"$ref": name.replace("Answer", kind)}


def events_of(text: str) -> Iterator[tuple[str, Any]]:
    """(name, data) of each."""
    for block in text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        yield fields.get("event", "message"), json.loads(fields["data"])


def test_document_is_valid_openapi(document: dict[str, Any]):
    """The published document follows the OpenAPI specification."""
    validate(document)
    assert document["openapi"].startswith("3.1")


@pytest.mark.parametrize(("task", "name"), CASES)
def test_examples_run_as_they_stand(reference: httpx.Client, document: dict[str, Any], task: str, name: str):
    """Each example of the published document is answered with 200, and request and answer follow their schemas."""
    described = operation(document, task)
    body = described["requestBody"]["content"][JSON]
    example = body["examples"][name]["value"]
    check(document, example, body["schema"])
    response = reference.post(f"/{task}", json=example)
    assert response.status_code == 200, response.text
    answers = described["responses"]["200"]["content"]
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type == ("text/event-stream" if example.get("stream") else JSON)
    assert media_type in answers
    if media_type == JSON:
        check(document, response.json(), answers[JSON]["schema"])
        return
    *steps, (last, answer) = events_of(response.text)
    assert last == "done"
    check(document, answer, answers[JSON]["schema"])
    assert {event for event, _ in steps} == {"message"}
    for _, data in steps:
        check(document, data, component(described, "Event"))


@pytest.fixture(scope="module")
def changeable(server_path: ServerPath) -> Iterator[httpx.Client]:
    """A server that lets itself be changed, with what the examples of changes need."""
    logger = logging.getLogger("sluice")
    level = logger.level
    settings = settings_for(DEFAULT_ROOT, models=("digits-classifier", "digits-style"), control=True)
    with Serving(settings, server_path) as server, server.client() as client:
        yield client
    logger.setLevel(level)


@pytest.mark.parametrize(("method", "path", "name"), OF_PROTOCOL)
def test_examples_of_the_protocol_run_as_they_stand(
    reference: httpx.Client, changeable: httpx.Client, document: dict[str, Any], method: str, path: str, name: str
):
    """Each route of the protocols is answered with 200 for the examples of its path and body, and as its schema says.

    Changes are 403, as documented too, where the settings do not allow them.
    """
    described = document["paths"][path][method]
    url = path.format(**{of["name"]: of["example"] for of in described["parameters"] if of["in"] == "path"})
    body = described["requestBody"]["content"][JSON] if name else None
    example = body["examples"][name]["value"] if body else None
    if body:
        check(document, example, body["schema"])
    client = changeable if "administration" in described["tags"] else reference
    response = client.request(method, url, json=example)
    assert response.status_code == 200, response.text
    media_type = response.headers["content-type"].partition(";")[0]
    answers = described["responses"]["200"]["content"]
    assert media_type in answers
    if media_type == JSON:
        check(document, response.json(), answers[JSON]["schema"])
    elif media_type == "text/event-stream":
        alone = document["paths"][path.replace("_stream", "")][method]["responses"]["200"]["content"][JSON]
        for _, data in events_of(response.text):
            check(document, data, alone["schema"])
    if client is changeable:
        refused = reference.request(method, url, json=example)
        assert refused.status_code == 403
        assert "403" in described["responses"]


def routes_of(application: Any) -> set[tuple[str, str]]:
    return {(method.lower(), route.path) for route in application.routes for method in route.methods - {"HEAD"}}


def test_every_route_is_documented(reference_server: Serving, document: dict[str, Any]):
    """Whatever the server answers is in the document, by path and method, and there is nothing else in it."""
    assert reference_server.worker is not None
    served = routes_of(reference_server.worker.information) - {("get", "/docs.json")}
    for route in PLANNERS.keys() | {INFER}:
        served |= {("post", route)}
        if route.startswith("/v2"):
            served |= {("post", route.replace("{model}", "{model}/versions/{version}"))}
    assert served == {(method, path) for path, methods in document["paths"].items() for method in methods}


def test_every_model_is_configured_as_the_schema_says(reference: httpx.Client, document: dict[str, Any]):
    """The configurations of all reference models, with and without a loop, follow the schema and have one batching."""
    schema = document["paths"]["/v2/models/{model}/config"]["get"]["responses"]["200"]["content"][JSON]["schema"]
    batchings = set()
    for model in reference.get("/v2/models").json()["models"]:
        config = reference.get(f"/v2/models/{model}/config").json()
        check(document, config, schema)
        [batching] = config.keys() & {"dynamic_batching", "sequence_batching"}
        batchings.add(batching)
    assert batchings == {"dynamic_batching", "sequence_batching"}


REFUSED: dict[str, tuple[str, Any]] = {
    "no tensors": ("/v2/models/{model}/infer", {"inputs": None}),
    "unknown datatype": (
        "/v2/models/{model}/infer",
        {"inputs": [{"name": "image", "shape": [1], "datatype": "FP31", "data": [1]}]},
    ),
    "list as id": ("/v2/models/{model}/generate", {"id": [1], "value": 1, "noise": 0}),
    "no steps": ("/v2/models/{model}/generate_stream", {"value": 1, "noise": 0, "steps": 0}),
    "number as ready": ("/v2/repository/index", {"ready": 1}),
    "no version": ("/v2/repository/models/{model}/load", {"parameters": {"version": ""}}),
    "two levels": ("/v2/trace/setting", {"trace_level": ["OFF", "TIMESTAMPS"]}),
    "negative verbosity": ("/v2/logging", {"log_verbose_level": -1}),
    "no rows": ("/v1/models/{model}:predict", {"instances": []}),
    "unknown frequency": (
        "/v1/timeseries/forecast",
        {
            "model": "sunspots-forecaster",
            "inputs": [{"type": "univariate_time_series", "name": "a", "series": [1], "frequency": "decade"}],
            "options": {"horizon": 1},
        },
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_the_schemas_of_the_protocol_refuse_is_400(
    reference: httpx.Client, changeable: httpx.Client, document: dict[str, Any], case: tuple[str, Any]
):
    """A body outside the published schema is refused with the published shape of an error."""
    path, body = case
    described = document["paths"][path]["post"]
    with pytest.raises(jsonschema.ValidationError):
        check(document, body, described["requestBody"]["content"][JSON]["schema"])
    url = path.format(**{of["name"]: of["example"] for of in described["parameters"] if of["in"] == "path"})
    client = changeable if "administration" in described["tags"] else reference
    response = client.post(url, json=body)
    assert response.status_code == 400, response.text
    name = "ForecastError" if path == "/v1/timeseries/forecast" else "Error"
    check(document, response.json(), {"$ref": f"#/components/schemas/{name}"})


def test_every_example_is_published(document: dict[str, Any]):
    """The examples that these tests send are all that the document has."""
    published = {
        (task, name)
        for task in EXAMPLES
        for name in operation(document, task)["requestBody"]["content"][JSON]["examples"]
    }
    assert published == set(CASES)


def test_document_has_every_task_option_and_status(document: dict[str, Any]):
    """Routes, options and statuses of the code are those of the document, none missing and none made up."""
    options: set[str] = set()
    usual = {
        str(status) for status in set(STATUS.values()) - {403, 405, 431, 499, 501}
    }  # not for what follows the document
    for route, task in ROUTES.items():
        described = document["paths"][route]["post"]
        names = {parameter["name"] for parameter in described["parameters"]}
        assert names == set(task.Options.model_fields)
        assert set(described["responses"]) == usual | {"200"}
        options |= names
    assert set(OPTIONS) == options


@pytest.mark.parametrize("path", ["/models", "/livez", "/readyz", "/metrics"])
def test_documented_information_is_there(reference: httpx.Client, document: dict[str, Any], path: str):
    """The other documented routes answer with the media type that the document says."""
    (media_type,) = document["paths"][path]["get"]["responses"]["200"]["content"]
    response = reference.get(path)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, media_type)


@pytest.mark.parametrize(
    ("task", "name", "change"),
    [
        ("classify", "digit", {"top_k": 0}),
        ("classify", "digit", {"explain": "guessing"}),
        ("classify", "digit", {"inputs": []}),
        ("classify", "digit", {"inputs": [{"picture": "AAAA"}]}),
        ("predict_sequence", "intervals", {"horizon": 0}),
        ("predict_sequence", "intervals", {"quantiles": [1]}),
        ("predict_sequence", "text", {"beams": 9}),
        ("predict_sequence", "text", {"inputs": [7]}),
        ("reconstruct", "denoise", {"output_format": "jpeg"}),
        ("reconstruct", "denoise", {"error_map": "yes"}),
        ("generate", "diffusion", {"eta": 2}),
        ("generate", "interpolate", {"interpolate": {"seeds": [1]}}),
        *[(task, name, {"colour": "red"}) for task, name in CASES if name in ("digit", "text", "denoise", "labels")],
    ],
)
def test_what_the_schema_refuses_the_server_refuses(
    reference: httpx.Client, document: dict[str, Any], task: str, name: str, change: dict[str, Any]
):
    """A request outside the published limits is 400, in the published shape of an error."""
    described = operation(document, task)
    body = {**EXAMPLES[task][name][1], **change}
    with pytest.raises(jsonschema.ValidationError):
        check(document, body, described["requestBody"]["content"][JSON]["schema"])
    response = reference.post(f"/{task}", json=body)
    assert response.status_code == 400
    check(document, response.json(), {"$ref": "#/components/schemas/Error"})


@pytest.mark.parametrize(("task", "name"), [("classify", "why"), ("reconstruct", "denoise"), ("generate", "labels")])
def test_documented_pictures_come_where_they_are_preferred(
    reference: httpx.Client, document: dict[str, Any], task: str, name: str
):
    """The routes that document image/png answer with it; predict_sequence, which does not, has no picture."""
    response = reference.post(f"/{task}", json=EXAMPLES[task][name][1], headers={"accept": "image/png"})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert "image/png" in operation(document, task)["responses"]["200"]["content"]
    assert "image/png" not in operation(document, "predict_sequence")["responses"]["200"]["content"]
