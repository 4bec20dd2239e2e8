"""All routes except the task routes, as operations of the OpenAPI document."""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from service.access.routes import find_scope
from service.api.admin.admin import REGIONS
from service.api.admin.changes import IndexRequest, LoadRequest, LogChanges, RegisterRequest, TraceChanges
from service.api.embeddings import EMBEDDINGS
from service.api.generate import GENERATE, GENERATE_STREAM
from service.api.kserve import EXPLAIN, FORECAST, PREDICT
from service.api.openapi import protocol_types as types
from service.api.openapi.card_types import Cards, RolloutState
from service.api.openapi.examples import DIGITS, MODELS, PROTOCOL
from service.api.openapi.model_config import ModelConfig
from service.protocol.openai.embeddings import EmbeddingsRequest
from service.protocol.timeseries import ForecastRequest

JSON = "application/json"
EVENTS = "text/event-stream"
REQUEST_ID = {"description": "the caller's, or a new one", "schema": {"type": "string"}}
ERRORS: Mapping[int, str] = {
    400: "The request is malformed, or has the wrong shape, datatype or value, or an unknown field",
    401: "The server asks for keys, and the request has none, or not a good one",
    403: "The settings of this server, or the scopes of the key, do not allow it",
    404: "No such model or version, or none that does this task",
    408: "The body did not come in time",
    413: "The body is over the limit, or one of its pictures, or the memory of a run",
    415: "Not a picture, or a media type that is not supported",
    426: "Not version 13 of the protocol for WebSockets",
    429: "The queue is full, or the answer would come too late, or the key has used up its share",
    500: "A failure in the model; the log of the server has the reason under the request id",
    501: "Not offered by this server",
    503: "Not ready, or stopping",
    504: "The deadline passed",
}
_RETRY_AFTER = {"description": "seconds until another try makes sense", "schema": {"type": "integer"}}
_BINARY = "application/octet-stream"
_LENGTH = "Inference-Header-Content-Length"
_MODEL = "/v2/models/{model}"
_INFER = f"{_MODEL}/infer"
_STREAM = f"{_MODEL}/stream"
_REPOSITORY = "/v2/repository/models/{model}"
_REGION = f"{REGIONS}/region/{{region}}"
_OPTIONAL_BODIES = ("/v2/repository", "/v2/trace", "/v2/logging", f"{_MODEL}/trace")

_TENSORS = (400, 404, 408, 413, 415, 429, 500, 503, 504)
_OF_MODEL = (404, 503)
_OF_STREAM = (400, *_OF_MODEL, 426, 429, 501)
_CHANGE = (400, 403, 408, 413, 415, 501, 503)
"""Error statuses, by what a route does."""
_CHANGE_OF_MODEL = (*_CHANGE, 404)


class Operation(NamedTuple):
    """``answer``, ``request`` and ``error`` are types of JSON. ``error`` None: the error is in the usual form."""

    method: str
    path: str
    summary: str
    answer: Any
    errors: tuple[int, ...] = ()
    request: Any = None
    error: Any = None

    @property
    def name(self) -> str:
        return self.path[1:] if self.tag == "information" else self.method + re.sub(r"\W+", "_", self.path).rstrip("_")

    @property
    def tag(self) -> str:
        if self.errors[: len(_CHANGE)] == _CHANGE:
            return "administration"
        return {"/v2": "protocol", "/v1": "kserve", "/": "kserve"}.get(self.path[:3], "information")


_get = functools.partial(Operation, "get")
_post = functools.partial(Operation, "post")

_OF_VERSIONS = (
    _post(_INFER, "Tensors to tensors", types.InferAnswer, (*_TENSORS, 501), types.InferRequest),
    _post(GENERATE, "Flat JSON to flat JSON", types.FlatAnswer, _TENSORS, types.FlatRequest),
    _post(GENERATE_STREAM, "Flat JSON to events", types.FlatAnswer, _TENSORS, types.FlatRequest),
    _get(_MODEL, "Inputs and outputs of a model", types.ModelMetadata | types.PipelineMetadata, _OF_MODEL),
    _get(f"{_MODEL}/ready", "Whether a model serves", types.ModelReady, _OF_MODEL),
    _get(f"{_MODEL}/config", "How a model is served", ModelConfig, _OF_MODEL),
    _get(f"{_MODEL}/stats", "Statistics of a model", types.Statistics, _OF_MODEL),
    _get(f"{_MODEL}/example", "Requests that a model answers", types.Examples, _OF_MODEL),
    _get(_STREAM, "Live streams: a WebSocket; without Upgrade, what it takes", types.StreamFacts, _OF_STREAM),
)
"""Each of these also exists for one version of a model."""

_OTHERS = (
    _get("/v2", "Name, version and extensions of the server", types.ServerMetadata),
    _get("/v2/health/live", "Whether the server runs", types.Live),
    _get("/v2/health/ready", "Whether a model serves", types.Ready, (503,)),
    _get("/v2/models", "Names of all models", types.Names),
    _get("/v2/models/stats", "Statistics of all versions in service", types.Statistics),
    _post(
        "/v2/repository/index", "All versions and their states", list[types.IndexEntry], (400, 408, 413), IndexRequest
    ),
    _post(f"{_REPOSITORY}/load", "Load a version of a model", types.Loaded, _CHANGE_OF_MODEL, LoadRequest),
    _post(f"{_REPOSITORY}/unload", "Unload a model, or a version", types.Unloaded, _CHANGE_OF_MODEL, LoadRequest),
    _get(f"{_MODEL}/rollout", "The canary and the shadow of a model", RolloutState, _OF_MODEL),
    _get("/v2/trace/setting", "How requests are traced", types.TraceSettings),
    _post("/v2/trace/setting", "Change how requests are traced", types.TraceSettings, _CHANGE, TraceChanges),
    _get(f"{_MODEL}/trace/setting", "How requests of a model are traced", types.TraceSettings, (404,)),
    _post(f"{_MODEL}/trace/setting", "Change traces of a model", types.TraceSettings, _CHANGE_OF_MODEL, TraceChanges),
    _get("/v2/logging", "What is logged", types.LogSettings),
    _post("/v2/logging", "Change what is logged", types.LogSettings, _CHANGE, LogChanges),
    _get(f"{REGIONS}/status", "Regions of shared memory of the caller", list[types.Region], (403, 501)),
    _get(f"{_REGION}/status", "A region of shared memory", list[types.Region], (403, 404, 501)),
    _post(f"{_REGION}/register", "Register a region of shared memory", types.Nothing, _CHANGE, RegisterRequest),
    _post(f"{_REGION}/unregister", "Unregister a region of shared memory", types.Nothing, _CHANGE),
    _post(f"{REGIONS}/unregister", "Unregister all regions of the caller", types.Nothing, _CHANGE),
    _get(
        "/models",
        "Cards: name, versions, labels, quality, parity, provider, ready or the reason why not",
        Cards,
    ),
    _get("/livez", "Whether the server runs", types.Live),
    _get("/readyz", "Whether a model serves", types.Ready, (503,)),
    _get("/metrics", "Metrics for Prometheus", str),
    _get("/", "Whether the server runs; browsers get a page", types.Alive),
    _get("/v1/models", "Names of all models", types.Names),
    _get("/v1/models/{model}", "Whether a model serves", types.ModelReady, _OF_MODEL),
    _post(PREDICT, "Rows to rows of the outputs", types.Predictions, _TENSORS, types.Instances),
    _post(EXPLAIN, "Rows to labels, and why", types.Explanations, _TENSORS, types.Instances),
    _post(EMBEDDINGS, "Texts to vectors, as OpenAI's", types.Embeddings, _TENSORS, EmbeddingsRequest),
    _get("/v1/timeseries/models", "Names of the models that forecast", list[str]),
    _post(FORECAST, "Series to forecasts", types.ForecastAnswer, _TENSORS, ForecastRequest, types.ForecastError),
)

_LOADING = "`loading` names the models that do not serve yet because they load slowly: others do not wait for them."

_DESCRIPTIONS: Mapping[str, str] = {
    "/readyz": _LOADING,
    "/v2/health/ready": _LOADING,
    _INFER: "The body is JSON, or JSON followed by the bytes of tensors; `parameters.binary_data_size` of each has "
    f"their number. Then the header {_LENGTH} has the length of the JSON; with 0 the whole body is one row of the "
    "only input. Requests and answers may be compressed with gzip or deflate.",
    _STREAM: "A model with `sound` in its manifest takes binary messages with samples (`rate` in Hz, `format` int16 or "
    'float32) and answers each row that is complete; `{"end": true}` ends the stream with what is left. Other models '
    "take requests of infer as text messages. An error is a last message before the stream is closed.",
    f"{_REGION}/register": "The server needs `SLUICE_SHARED_MEMORY`. The region is part of a file below /dev/shm; only "
    "its caller may use it, by its name in `parameters.shared_memory_region` of inputs and outputs of infer.",
    GENERATE: "`steps` is how often a model with a loop is run. Its state is zeros where it is left out.",
    GENERATE_STREAM: "`steps` is how often a model with a loop is run. Each step is an event.",
}


def list_operations() -> Iterator[Operation]:
    for operation in _OF_VERSIONS:
        yield operation
        yield operation._replace(path=operation.path.replace("{model}", "{model}/versions/{version}"))
    yield from _OTHERS


def describe_operation(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    """An operation of the document. ``schemas`` has the schema of each type."""
    about = operation.path.replace("/versions/{version}", "")
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation.path, about)),
        "responses": {"200": _answer(operation, about, schemas[operation.answer])},
    }
    if about in _DESCRIPTIONS:
        described["description"] = _DESCRIPTIONS[about]
    if operation.request is not None:
        described["requestBody"] = _body(about, schemas[operation.request])
    of_keys = (401, 403) if find_scope(operation.path) else ()
    for status in sorted({*operation.errors, *of_keys}):
        described["responses"][str(status)] = describe_error(status, schemas.get(operation.error))
    return described


def describe_error(status: int, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The response of an error. ``schema`` None: the response that most routes share."""
    if schema is None:
        return ref(f"responses/Error{status}")
    response: dict[str, Any] = {"description": ERRORS[status], "content": {JSON: {"schema": schema}}}
    return {**response, "headers": {"Retry-After": _RETRY_AFTER}} if status in (429, 503) else response


def ref(what: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{what}"}


def _parameters(path: str, about: str) -> Iterator[dict[str, Any]]:
    for name, example in {"model": MODELS.get(about, DIGITS), "version": "1", "region": "frames"}.items():
        if f"{{{name}}}" in path:
            text = {"type": "string", "minLength": 1}
            yield {"name": name, "in": "path", "required": True, "schema": text, "example": example}
    if about == _INFER:
        number = {"type": "integer", "minimum": 0}
        yield {"name": _LENGTH, "in": "header", "schema": number, "description": "for bodies with bytes after the JSON"}


def binary(description: str) -> dict[str, Any]:
    """The schema of bytes."""
    return {"type": "string", "format": "binary", "description": description}


def describe_examples(examples: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    return {name: {"summary": summary, "value": value} for name, (summary, value) in examples.items()}


def _body(about: str, body: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {JSON: {"schema": body, "examples": describe_examples(PROTOCOL[about])}}
    if about == _INFER:
        content[_BINARY] = {"schema": binary("JSON, then bytes")}
    return {"required": not about.startswith(_OPTIONAL_BODIES), "content": content}


def _answer(operation: Operation, about: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"text/plain" if about == "/metrics" else JSON: {"schema": answer}}
    if about == GENERATE_STREAM:
        text = "the `data` of each event is an answer of generate; if a step fails, the last event is an Error"
        content = {EVENTS: {"schema": {"description": text}}}
    if about == _INFER:
        text = f"JSON, then the bytes of binary outputs; {_LENGTH} has the length of the JSON"
        content[_BINARY] = {"schema": binary(text)}
    return {"description": operation.summary, "content": content, "headers": {"X-Request-Id": REQUEST_ID}}
