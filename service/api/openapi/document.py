"""The OpenAPI document: what the page at /docs shows and what clients are generated from. OpenAPI 3.1."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from service.api.openapi import task_types
from service.api.openapi.examples import EXAMPLES
from service.api.openapi.operations import describe_operation, list_operations, list_types
from service.codecs.picture_reader import MEDIA_TYPES
from service.codecs.picture_writer import MEDIA_TYPE as PNG
from service.protocol.multipart import MEDIA_TYPE as FORM
from service.tasks import classify, generate, reconstruct, sequence
from service.tasks.request import TaskOptions

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_EVENTS = "text/event-stream"

_ERRORS: Mapping[int, str] = {
    400: "The request is malformed, or has the wrong shape, datatype or value, or an unknown field",
    403: "The settings of this server do not allow it",
    404: "No such model or version, or none that does this task",
    408: "The body did not come in time",
    413: "The body is over the limit, or a picture in it, or the memory that its run would take",
    415: "Not a picture, or a media type that is not supported",
    429: "The queue is full, or the answer would come too late",
    500: "A failure in the model; the log of the server has the reason under the request id",
    501: "Not offered by this server",
    503: "Not ready, or stopping",
    504: "The deadline passed",
}
_OF_CHANGES = (403, 501)
"""Errors that no task route has."""
_RETRY_AFTER = {"description": "seconds until it is worth another try", "schema": {"type": "integer"}}
_INFORMATION: Mapping[str, str] = {
    "/models": "Cards: name, versions, labels, quality, parity, provider, ready or the reason why not",
    "/livez": "Whether the server runs",
    "/readyz": "Whether a model serves",
    "/metrics": "Metrics, as Prometheus reads them",
}


class Route(NamedTuple):
    """A task route. ``events``: of a stream, before its last; ``picture``: what Accept: image/png answers with."""

    task: str
    summary: str
    options: type[TaskOptions]
    rows: Any
    answer: Any
    events: Any = None
    takes_pictures: bool = False
    picture: str | None = None


_ROUTES = (
    Route(
        "classify",
        "Rows to labels with probabilities, and why",
        classify.Options,
        task_types.Row,
        task_types.ClassifyAnswer,
        takes_pictures=True,
        picture="the explanation over the row, which `explain` asks for",
    ),
    Route(
        "predict_sequence",
        "Series to their forecasts, texts to texts",
        sequence.Options,
        list[float] | task_types.Series | str,
        task_types.SequenceAnswer,
        events=task_types.ForecastEvent | task_types.TextEvent,
    ),
    Route(
        "reconstruct",
        "Rows to rows like them, with how far they are apart, and whether that is too far",
        reconstruct.Options,
        task_types.Row,
        task_types.ReconstructAnswer,
        takes_pictures=True,
        picture="the outputs in a grid",
    ),
    Route(
        "generate",
        "New rows from noise",
        generate.Options,
        None,
        task_types.GenerateAnswer,
        events=task_types.GenerateEvent,
        picture="the rows in a grid",
    ),
)


def make_document(release: str) -> dict[str, Any]:
    """The document of this version of the service, as a value for JSON."""
    types: dict[str, Any] = {"Error": task_types.Error}
    for route in _ROUTES:
        name = _name(route)
        types |= {f"{name}Request": task_types.request_of(f"{name}Request", route.options, route.rows)}
        types |= {f"{name}Answer": route.answer}
        if route.events is not None:
            types |= {f"{name}Event": route.events}
    types |= list_types()
    adapters = [(name, "validation", TypeAdapter(kind)) for name, kind in types.items()]
    found, shared = TypeAdapter.json_schemas(adapters, ref_template=_REF)  # type: ignore[arg-type]  # a literal
    schemas: dict[str, Any] = dict(shared["$defs"])
    of_protocol = {name: found.pop((name, "validation")) for name, _ in list_types()}
    schemas |= {name: schema for (name, _), schema in found.items() if name not in schemas}
    paths: dict[str, Any] = {f"/{route.task}": {"post": _describe(route, schemas)} for route in _ROUTES}
    paths |= {path: {"get": _inform(path, text)} for path, text in _INFORMATION.items()}
    for operation in list_operations():
        described = describe_operation(operation, of_protocol, _error)
        paths.setdefault(operation.path, {})[operation.method] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": release,
            "description": "Batched predictions of ONNX models: tasks for people, Open Inference Protocol v2 at /v2 "
            "for programs that send tensors, KServe's first protocol and its forecasts at /v1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {f"Error{status}": _error(status, _ref("schemas/Error")) for status in _ERRORS},
        },
    }


def _name(route: Route) -> str:
    return str(route.answer.__name__).removesuffix("Answer")


def _describe(route: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The operation of a task route."""
    fields = {name: of for name, of in schemas[f"{_name(route)}Request"]["properties"].items() if name != "inputs"}
    return {
        "operationId": route.task,
        "summary": route.summary,
        "description": "Options go into the body or into the query string; none into both.",
        "tags": ["tasks"],
        "parameters": [_parameter(name, of) for name, of in fields.items()],
        "requestBody": {"required": True, "content": _bodies(route, fields)},
        "responses": {
            "200": _answers(route),
            **{str(status): _error(status) for status in _ERRORS if status not in _OF_CHANGES},
        },
    }


def _parameter(name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    """An option in the query string: lists are parts between commas, objects are JSON. No text stands for null."""
    choices = [choice for choice in of.get("anyOf", [of]) if choice.get("type") != "null"]
    schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    schema = {key: value for key, value in schema.items() if key not in ("description", "title")}
    parameter: dict[str, Any] = {"name": name, "in": "query", "description": of["description"]}
    if "$ref" in schema:
        return {**parameter, "content": {_JSON: {"schema": schema}}}
    return {**parameter, "schema": schema, "style": "form", "explode": False}


def _bodies(route: Route, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a request may be, by media type."""
    examples = {name: {"summary": summary, "value": body} for name, (summary, body) in EXAMPLES[route.task].items()}
    bodies: dict[str, Any] = {
        _JSON: {"schema": _ref(f"schemas/{_name(route)}Request"), "examples": examples},
    }
    if route.takes_pictures:
        file = {"type": "string", "format": "binary"}
        bodies |= {kind: {"schema": {**file, "description": "one row"}} for kind in MEDIA_TYPES}
        files = {"type": "array", "items": file, "description": "PNG or JPEG pictures, a row each, under any names"}
        form = {"type": "object", "properties": {"files": files, **fields}}
        bodies[FORM] = {"schema": form, "encoding": {"files": {"contentType": ", ".join(MEDIA_TYPES)}}}
    return bodies


def _answers(route: Route) -> dict[str, Any]:
    """What comes back, by media type."""
    name = _name(route)
    events = f"an event each of {name}Event, then" if route.events is not None else "one event,"
    content: dict[str, Any] = {
        _JSON: {"schema": _ref(f"schemas/{name}Answer")},
        _EVENTS: {
            "schema": {  # without a type: some take it for that of the whole, some for that of an event
                "description": f"with `stream`: {events} `event: done` with {name}Answer; should it fail on the way, "
                "`event: error` with Error is the last",
            }
        },
    }
    if route.picture is not None:
        content[PNG] = {"schema": {"type": "string", "format": "binary", "description": route.picture}}
    text = {"type": "string"}
    return {
        "description": "The answer" if route.picture is None else "The answer; a picture with `Accept: image/png`",
        "content": content,
        "headers": {
            "X-Request-Id": {"description": "the caller's, or a new one", "schema": text},
            "Server-Timing": {"description": "milliseconds: queue, batch, compute, total", "schema": text},
        },
    }


def _error(status: int, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The response of an error: with a schema of its own, or the one that all routes have."""
    if schema is None:
        return _ref(f"responses/Error{status}")
    response: dict[str, Any] = {"description": _ERRORS[status], "content": {_JSON: {"schema": schema}}}
    return {**response, "headers": {"Retry-After": _RETRY_AFTER}} if status in (429, 503) else response


def _inform(path: str, text: str) -> dict[str, Any]:
    media_type = "text/plain" if path == "/metrics" else _JSON
    responses = {"200": {"description": text, "content": {media_type: {}}}}
    if path == "/readyz":
        responses["503"] = _error(503)
    return {"operationId": path.strip("/"), "summary": text, "tags": ["information"], "responses": responses}


def _ref(what: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{what}"}
