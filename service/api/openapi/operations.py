"""The routes of the Open Inference Protocol and of KServe, as operations of the OpenAPI document."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from service.api.generate import GENERATE, GENERATE_STREAM
from service.api.kserve import EXPLAIN, FORECAST, PREDICT
from service.api.openapi import kserve_types as kserve
from service.api.openapi import protocol_types as types
from service.api.openapi.examples import DIGITS, MODELS, PROTOCOL
from service.api.openapi.model_config import ModelConfig
from service.protocol.timeseries import ForecastRequest

_JSON = "application/json"
_BINARY = "application/octet-stream"
_EVENTS = "text/event-stream"
_LENGTH = "Inference-Header-Content-Length"
_MODEL = "/v2/models/{model}"
_REPOSITORY = "/v2/repository/models/{model}"

_TENSORS = (400, 404, 408, 413, 415, 429, 500, 503, 504)
_INFER = (*_TENSORS, 501)
_OF_MODEL = (404, 503)
_CHANGE = (400, 403, 408, 413, 415, 501, 503)
"""Statuses of errors, by what a route does."""


class Operation(NamedTuple):
    """``request`` and ``answer`` are types of JSON; ``error`` too, where it is not that of all other routes."""

    method: str
    path: str
    summary: str
    answer: Any
    errors: tuple[int, ...] = ()
    request: Any = None
    error: Any = None

    @property
    def name(self) -> str:
        return self.method + re.sub(r"\W+", "_", self.path).rstrip("_")

    @property
    def tag(self) -> str:
        if self.errors[: len(_CHANGE)] == _CHANGE:
            return "administration"
        return "protocol" if self.path.startswith("/v2") else "kserve"


_OF_VERSIONS = (
    Operation("post", f"{_MODEL}/infer", "Tensors to tensors", types.InferAnswer, _INFER, types.InferRequest),
    Operation("post", GENERATE, "Flat JSON to flat JSON", types.FlatAnswer, _TENSORS, types.FlatRequest),
    Operation("post", GENERATE_STREAM, "Flat JSON to events", types.FlatAnswer, _TENSORS, types.FlatRequest),
    Operation("get", _MODEL, "Inputs and outputs of a model", types.ModelMetadata, _OF_MODEL),
    Operation("get", f"{_MODEL}/ready", "Whether a model serves", types.ModelReady, _OF_MODEL),
    Operation("get", f"{_MODEL}/config", "How a model is served", ModelConfig, _OF_MODEL),
    Operation("get", f"{_MODEL}/stats", "Statistics of a model", types.Statistics, _OF_MODEL),
)
"""Those that are there below a version of a model too."""

_CHANGE_OF_MODEL = (*_CHANGE, 404)
_OTHERS = (
    Operation("get", "/v2", "Name, version and extensions of the server", types.ServerMetadata),
    Operation("get", "/v2/health/live", "Whether the server runs", types.Live),
    Operation("get", "/v2/health/ready", "Whether a model serves", types.Ready, (503,)),
    Operation("get", "/v2/models", "Names of all models", types.Names),
    Operation("get", "/v2/models/stats", "Statistics of all versions in service", types.Statistics),
    Operation(
        *("post", "/v2/repository/index", "All versions and their states"),
        *(list[types.IndexEntry], (400, 408, 413), types.IndexRequest),
    ),
    Operation(
        *("post", f"{_REPOSITORY}/load", "Serve the newest version of a model, or the one that is named"),
        *(types.Loaded, _CHANGE_OF_MODEL, types.LoadRequest),
    ),
    Operation(
        *("post", f"{_REPOSITORY}/unload", "Take a model out of service, or a version of it"),
        *(types.Unloaded, _CHANGE_OF_MODEL, types.LoadRequest),
    ),
    Operation("get", "/v2/trace/setting", "How requests are traced", types.TraceSettings),
    Operation(
        *("post", "/v2/trace/setting", "Change how requests are traced"),
        *(types.TraceSettings, _CHANGE, types.TraceChanges),
    ),
    Operation("get", f"{_MODEL}/trace/setting", "How requests of a model are traced", types.TraceSettings, (404,)),
    Operation(
        *("post", f"{_MODEL}/trace/setting", "Change how requests of a model are traced"),
        *(types.TraceSettings, _CHANGE_OF_MODEL, types.TraceChanges),
    ),
    Operation("get", "/v2/logging", "What is logged", types.LogSettings),
    Operation("post", "/v2/logging", "Change what is logged", types.LogSettings, _CHANGE, types.LogChanges),
    Operation("get", "/", "Whether the server runs; who wants HTML gets a page", types.Alive),
    Operation("get", "/v1/models", "Names of all models", types.Names),
    Operation("get", "/v1/models/{model}", "Whether a model serves", types.ModelReady, _OF_MODEL),
    Operation("post", PREDICT, "Rows to rows of the outputs", kserve.Predictions, _TENSORS, kserve.Instances),
    Operation("post", EXPLAIN, "Rows to labels, and why", kserve.Explanations, _TENSORS, kserve.Instances),
    Operation("get", "/v1/timeseries/models", "Names of the models that forecast", list[str]),
    Operation(
        *("post", FORECAST, "Series to their forecasts", kserve.ForecastAnswer, _TENSORS),
        *(ForecastRequest, kserve.ForecastError),
    ),
)

_DESCRIPTIONS: Mapping[str, str] = {
    f"{_MODEL}/infer": "The body is JSON, or JSON with the bytes of tensors behind it, as many as each tells in "
    f"`parameters.binary_data_size`. Then the header {_LENGTH} has the length of the JSON; 0: all of the body is one "
    "row of the only input. Bodies may be compressed with gzip or deflate, both ways.",
    GENERATE: "With `steps` a model with a loop goes through it, and what it carries is zeros where it is left out.",
    GENERATE_STREAM: "With `steps` a model with a loop goes through it, each step an event.",
}


def list_operations() -> Iterator[Operation]:
    for operation in _OF_VERSIONS:
        yield operation
        yield operation._replace(path=operation.path.replace("{model}", "{model}/versions/{version}"))
    yield from _OTHERS


def list_types() -> Iterator[tuple[str, Any]]:
    """The types of JSON that operations have, by a name."""
    for operation in list_operations():
        parts = {"request": operation.request, "answer": operation.answer, "error": operation.error}
        yield from ((f"{operation.name} {part}", kind) for part, kind in parts.items() if kind is not None)


def describe_operation(
    operation: Operation, schemas: Mapping[str, Any], describe_error: Callable[[int, Any], dict[str, Any]]
) -> dict[str, Any]:
    """An operation, given the schemas of ``list_types``, and what makes the response of an error of a status and the
    schema that it has on this route alone, or None."""
    about = operation.path.replace("/versions/{version}", "")
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation.path, about)),
        "responses": {"200": _answer(operation, about, schemas[f"{operation.name} answer"])},
    }
    if about in _DESCRIPTIONS:
        described["description"] = _DESCRIPTIONS[about]
    if operation.request is not None:
        described["requestBody"] = _body(about, schemas[f"{operation.name} request"])
    for status in operation.errors:
        described["responses"][str(status)] = describe_error(status, schemas.get(f"{operation.name} error"))
    return described


def _parameters(path: str, about: str) -> Iterator[dict[str, Any]]:
    examples = {"model": MODELS.get(about, DIGITS), "version": "1"}
    for name, example in examples.items():
        if f"{{{name}}}" in path:
            text = {"type": "string", "minLength": 1}
            yield {"name": name, "in": "path", "required": True, "schema": text, "example": example}
    if about == f"{_MODEL}/infer":
        number = {"type": "integer", "minimum": 0}
        yield {"name": _LENGTH, "in": "header", "schema": number, "description": "of a body with bytes behind its JSON"}


def _body(about: str, body: Mapping[str, Any]) -> dict[str, Any]:
    examples = {name: {"summary": summary, "value": value} for name, (summary, value) in PROTOCOL[about].items()}
    content: dict[str, Any] = {_JSON: {"schema": body, "examples": examples}}
    if about == f"{_MODEL}/infer":
        content[_BINARY] = {"schema": {"type": "string", "format": "binary", "description": "JSON, then bytes"}}
    is_optional = about.startswith(("/v2/repository", "/v2/trace", "/v2/logging", f"{_MODEL}/trace"))
    return {"required": not is_optional, "content": content}


def _answer(operation: Operation, about: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {_JSON: {"schema": answer}}
    if about == GENERATE_STREAM:
        text = "events whose `data` are each what generate answers; a failure on the way is the last, as Error"
        content = {_EVENTS: {"schema": {"description": text}}}
    if about == f"{_MODEL}/infer":
        text = f"JSON, then the bytes of the outputs that are wanted so; {_LENGTH} has the length of the JSON"
        content[_BINARY] = {"schema": {"type": "string", "format": "binary", "description": text}}
    told = {"X-Request-Id": {"description": "the caller's, or a new one", "schema": {"type": "string"}}}
    return {"description": operation.summary, "content": content, "headers": told}
