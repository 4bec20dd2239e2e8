"""The OpenAPI document of a running server, and whether the server does what it says."""

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

from model_store import DEFAULT_ROOT
from service.api.admin.admin import REGIONS
from service.api.openapi.document import make_document
from service.api.openapi.examples import EXAMPLES
from service.api.openapi.operations import list_operations
from service.api.tasks import PLANNERS, ROUTES
from service.transport.request import INFER
from service.transport.status import STATUS
from service.web.pages import PAGES
from tests.support.answers import read_events
from tests.support.connections.shared_memory import PATTERN, made_region, register_example
from tests.support.servers import FAST, Serving, settings_for

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


def url_of(path: str, described: dict[str, Any]) -> str:
    """The path with the examples of its parameters."""
    return path.format(**{of["name"]: of["example"] for of in described["parameters"] if of["in"] == "path"})


def test_document_is_valid_openapi(document: dict[str, Any]):
    """The published document follows the OpenAPI specification."""
    validate(document)
    assert document["openapi"].startswith("3.1")


@pytest.mark.parametrize(("task", "name"), CASES)
def test_examples_run_as_they_stand(reference: httpx.Client, document: dict[str, Any], task: str, name: str):
    """Each example of the document is answered with 200, and request and answer follow their schemas."""
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
    *steps, (last, answer) = read_events(iter(response.text.splitlines()))
    assert last == "done"
    whole = answers[JSON]["schema"]
    check(document, answer, whole)
    assert {event for event, _ in steps} == {"message"}
    for _, data in steps:  # their schema has the name of the answer's
        check(document, data, {"$ref": whole["$ref"].replace("Answer", "Event")})


@pytest.fixture(scope="module")
def changeable() -> Iterator[httpx.Client]:
    """A server that lets itself be changed, with what the examples of changes need."""
    models = ("digits-classifier", "digits-style")
    settings = settings_for(DEFAULT_ROOT, models=models, control=True, max_rows=8, shared_memory=(PATTERN,))
    with Serving(settings, FAST) as server, server.client() as client, made_region(256) as region:
        register_example(client, region)
        yield client


@pytest.mark.parametrize(("method", "path", "name"), OF_PROTOCOL)
def test_examples_of_the_protocol_run_as_they_stand(
    reference: httpx.Client, changeable: httpx.Client, document: dict[str, Any], method: str, path: str, name: str
):
    """Each example is answered with 200 as its schema says; changes are 403 where the settings do not allow them."""
    described = document["paths"][path][method]
    url = url_of(path, described)
    body = described["requestBody"]["content"][JSON] if name else None
    example = body["examples"][name]["value"] if body else None
    if body:
        check(document, example, body["schema"])
    is_shared = path.startswith(REGIONS)
    client = changeable if is_shared or "administration" in described["tags"] else reference
    if path.endswith("/register"):
        example = {**example, "key": client.get(url.replace("register", "status")).json()[0]["key"]}
    elif path.endswith("/unregister"):
        url = url.replace("frames", "others").replace(f"{REGIONS}/unregister", f"{REGIONS}/region/none/unregister")
    response = client.request(method, url, json=example)
    assert response.status_code == 200, response.text
    media_type = response.headers["content-type"].partition(";")[0]
    answers = described["responses"]["200"]["content"]
    assert media_type in answers
    if media_type == JSON:
        check(document, response.json(), answers[JSON]["schema"])
    elif media_type == "text/event-stream":
        alone = document["paths"][path.replace("_stream", "")][method]["responses"]["200"]["content"][JSON]
        for _, data in read_events(iter(response.text.splitlines())):
            check(document, data, alone["schema"])
    if client is changeable:
        refused = reference.request(method, url, json=example)
        assert refused.status_code == (501 if is_shared else 403)
        assert {"403", "501"} <= described["responses"].keys()


def routes_of(application: Any) -> set[tuple[str, str]]:
    return {(method.lower(), route.path) for route in application.routes for method in route.methods - {"HEAD"}}


def test_every_route_is_documented(reference_server: Serving, document: dict[str, Any]):
    """The document has every route of the server by path and method, and no other, but not the pages."""
    pages = {("get", "/docs.json"), ("get", "/web/{file:path}"), *(("get", path) for path in PAGES if path != "/")}
    served = routes_of(reference_server.worker.information) - pages
    for route in PLANNERS.keys() | {INFER}:
        served |= {("post", route)}
        if route.startswith("/v2"):
            served |= {("post", route.replace("{model}", "{model}/versions/{version}"))}
    assert served == {(method, path) for path, methods in document["paths"].items() for method in methods}


def test_every_model_is_configured_as_the_schema_says(reference: httpx.Client, document: dict[str, Any]):
    """The configurations of all reference models, with and without a loop, follow the schema and have one batching.

    A pipeline has none."""
    schema = document["paths"]["/v2/models/{model}/config"]["get"]["responses"]["200"]["content"][JSON]["schema"]
    batchings = set()
    for model in reference.get("/v2/models").json()["models"]:
        answer = reference.get(f"/v2/models/{model}/config")
        if model == "digits-reader":
            assert "is a pipeline, which has no configuration" in answer.json()["error"]
            continue
        config = answer.json()
        check(document, config, schema)
        [batching] = config.keys() & {"dynamic_batching", "sequence_batching"}
        batchings.add(batching)
    assert batchings == {"dynamic_batching", "sequence_batching"}


def changed(task: str, name: str, **changes: Any) -> tuple[str, Any]:
    return f"/{task}", {**EXAMPLES[task][name][1], **changes}


IMAGE = {"name": "image", "shape": [1], "datatype": "FP32", "data": [1]}
FORECAST = {"type": "univariate_time_series", "name": "a", "series": [1], "frequency": "decade"}
ONE_STEP = {"options": {"horizon": 1}}
REFUSED: dict[str, tuple[str, Any]] = {
    "no tensors": ("/v2/models/{model}/infer", {"inputs": None}),
    "unknown datatype": ("/v2/models/{model}/infer", {"inputs": [{**IMAGE, "datatype": "FP31"}]}),
    "list as id": ("/v2/models/{model}/generate", {"id": [1], "value": 1, "noise": 0}),
    "no steps": ("/v2/models/{model}/generate_stream", {"value": 1, "noise": 0, "steps": 0}),
    "number as ready": ("/v2/repository/index", {"ready": 1}),
    "no version": ("/v2/repository/models/{model}/load", {"parameters": {"version": ""}}),
    "two levels": ("/v2/trace/setting", {"trace_level": ["OFF", "TIMESTAMPS"]}),
    "negative verbosity": ("/v2/logging", {"log_verbose_level": -1}),
    "no instances": ("/v1/models/{model}:predict", {"instances": []}),
    "unknown frequency": (
        "/v1/timeseries/forecast",
        {"model": "sunspots", "inputs": [FORECAST], **ONE_STEP},
    ),
    "top_k": changed("classify", "digit", top_k=0),
    "no rows": changed("classify", "digit", inputs=[]),
    "no image": changed("classify", "digit", inputs=[{"picture": {"data": "AAAA"}}]),
    "horizon": changed("predict_sequence", "intervals", horizon=0),
    "quantile": changed("predict_sequence", "intervals", quantiles=[1]),
    "one seed": changed("generate", "interpolate", interpolate={"seeds": [1]}),
    **{
        f"unknown option of {task}": changed(task, name, colour="red")
        for task, name in CASES
        if name in ("digit", "text", "denoise", "labels")
    },
}


@pytest.mark.parametrize(("path", "body"), REFUSED.values(), ids=REFUSED)
def test_what_the_schemas_refuse_is_400(
    reference: httpx.Client, changeable: httpx.Client, document: dict[str, Any], path: str, body: Any
):
    """A body outside the published schema is refused with the published shape of an error."""
    described = document["paths"][path]["post"]
    with pytest.raises(jsonschema.ValidationError):
        check(document, body, described["requestBody"]["content"][JSON]["schema"])
    client = changeable if "administration" in described["tags"] else reference
    response = client.post(url_of(path, described), json=body)
    assert response.status_code == 400, response.text
    name = "ForecastError" if path == "/v1/timeseries/forecast" else "Error"
    check(document, response.json(), {"$ref": f"#/components/schemas/{name}"})


def test_document_has_every_task_option_and_status(document: dict[str, Any]):
    """The document has exactly the examples, routes, options and statuses of the code."""
    never = {405, 426, 431, 499, 501}  # for what follows the document
    usual = {str(status) for status in set(STATUS.values()) - never}
    for route, task in ROUTES.items():
        described = document["paths"][route]["post"]
        names = {parameter["name"] for parameter in described["parameters"]}
        assert names == set(task.Options.model_fields)
        assert set(described["responses"]) == usual | {"200"}
        assert all(parameter["description"] for parameter in described["parameters"])
    for task, examples in EXAMPLES.items():
        assert operation(document, task)["requestBody"]["content"][JSON]["examples"].keys() == examples.keys()


@pytest.mark.parametrize("path", ["/models", "/livez", "/readyz", "/metrics"])
def test_documented_information_is_there(reference: httpx.Client, document: dict[str, Any], path: str):
    """The other documented routes answer with the media type that the document says."""
    (media_type,) = document["paths"][path]["get"]["responses"]["200"]["content"]
    response = reference.get(path)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, media_type)


@pytest.mark.parametrize(("task", "name"), [("classify", "why"), ("reconstruct", "denoise"), ("generate", "labels")])
def test_documented_pictures_come_if_preferred(reference: httpx.Client, document: dict[str, Any], task: str, name: str):
    """The routes that document image/png answer with it; predict_sequence, which does not, has no picture."""
    response = reference.post(f"/{task}", json=EXAMPLES[task][name][1], headers={"accept": "image/png"})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert "image/png" in operation(document, task)["responses"]["200"]["content"]
    assert "image/png" not in operation(document, "predict_sequence")["responses"]["200"]["content"]
