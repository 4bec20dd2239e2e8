"""The OpenAPI 3.1 document, which the page at /docs shows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from model_store.pictures.formats import MEDIA_TYPES, NAMES
from model_store.sounds.formats import MEDIA_TYPES as SOUND_TYPES
from model_store.sounds.formats import NAMES as SOUND_NAMES
from model_store.sounds.writing import MEDIA_TYPE as WAV
from service.api.openapi import task_types as types
from service.api.openapi.examples import EXAMPLES
from service.api.openapi.operations import (
    ERRORS,
    EVENTS,
    JSON,
    REQUEST_ID,
    binary,
    describe_error,
    describe_examples,
    describe_operation,
    list_operations,
    ref,
)
from service.codecs.pictures.writer import MEDIA_TYPE as PNG
from service.protocol.multipart import MEDIA_TYPE as FORM
from service.tasks import classify, detect, embed, regress, segment
from service.tasks.generation import generate
from service.tasks.pipelines import pipeline
from service.tasks.reconstruction import reconstruct
from service.tasks.request import TEXT
from service.tasks.sequences import sequence

_NOT_OF_TASKS = (426, 501)
_ONCE = "An option goes into the body or into the query string, not into both."
_BY_CONTENT = (
    f" A body that begins as {NAMES} files do is a picture, one that begins as {SOUND_NAMES} files do is a sound, "
    "whatever its content type."
)
_FILES = (*MEDIA_TYPES, *SOUND_TYPES)


class Route(NamedTuple):
    """A task route.

    ``events``: the type of the events of a stream before the last one. ``picture`` and ``sound`` describe the answer as
    image/png and audio/wav.
    """

    task: Any
    summary: str
    rows: Any
    answer: Any
    events: Any = None
    picture: str | None = None
    sound: str | None = None

    @property
    def name(self) -> str:
        return str(self.answer.__name__).removesuffix("Answer")


ROUTES = (
    Route(classify, "Rows to labels, and why", types.Row, types.ClassifyAnswer, picture="the explanation over the row"),
    Route(detect, "Pictures to boxes with labels", types.Row, types.DetectAnswer, picture="the boxes over the picture"),
    Route(
        segment,
        "Pictures to a label for each pixel",
        types.Row,
        types.SegmentAnswer,
        picture="the labels as colours over the picture",
    ),
    Route(regress, "Rows to numbers", types.Row, types.RegressAnswer),
    Route(embed, "Rows to vectors, and how similar they are", types.Row, types.EmbedAnswer),
    Route(
        sequence,
        "Series to their forecasts; texts, pictures and sounds to texts",
        list[float] | types.Series | str | types.EncodedPicture | types.EncodedSound | types.Numbers,
        types.SequenceAnswer,
        events=types.ForecastEvent | types.TextEvent,
    ),
    Route(
        reconstruct,
        "Rows to similar rows",
        types.Row,
        types.ReconstructAnswer,
        picture="the outputs in a grid",
        sound="the output",
    ),
    Route(
        pipeline,
        "Rows through several models",
        types.Row | str | dict[str, Any],
        types.PipelineAnswer,
        events=types.PipelineEvent,
    ),
    Route(generate, "New rows from noise", None, types.GenerateAnswer, types.GenerateEvent, "the rows in a grid"),
)


def make_document(release: str) -> dict[str, Any]:
    """The document of this version of the service, as a value for JSON."""
    kinds: dict[Any, Any] = {"Error": types.Error}
    for route in ROUTES:
        kinds[f"{route.name}Request"] = types.request_of(f"{route.name}Request", route.task.Options, route.rows)
        kinds[f"{route.name}Answer"] = route.answer
        if route.events is not None:
            kinds[f"{route.name}Event"] = route.events
    for operation in list_operations():
        kinds |= {kind: kind for kind in (operation.answer, operation.request, operation.error) if kind is not None}
    adapters = [(key, "validation", TypeAdapter(kind)) for key, kind in kinds.items()]
    template = "#/components/schemas/{model}"
    found, shared = TypeAdapter.json_schemas(adapters, ref_template=template)  # type: ignore[arg-type]  # a literal
    schemas: dict[str, Any] = dict(shared["$defs"])
    schema_of = {key: schema for (key, _), schema in found.items()}
    schemas |= {key: schema for key, schema in schema_of.items() if isinstance(key, str) and key not in schemas}
    paths: dict[str, Any] = {f"/{route.task.NAME}": {"post": _describe(route, schemas)} for route in ROUTES}
    for operation in list_operations():
        described = describe_operation(operation, schema_of)
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
        "security": [{}, {"bearer": []}, {"key": []}],
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, or a token of OIDC"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "schemas": schemas,
            "responses": {f"Error{status}": describe_error(status, ref("schemas/Error")) for status in ERRORS},
        },
    }


def _describe(route: Route, schemas: Mapping[str, Any]) -> dict[str, Any]:
    properties = schemas[f"{route.name}Request"]["properties"]
    fields = {name: schema for name, schema in properties.items() if name != "inputs"}
    return {
        "operationId": route.task.NAME,
        "summary": route.summary,
        "description": _ONCE + (_BY_CONTENT if route.rows is not None else ""),
        "tags": ["tasks"],
        "parameters": [_parameter(name, schema) for name, schema in fields.items()],
        "requestBody": {"required": True, "content": _bodies(route, fields)},
        "responses": {
            "200": _answers(route),
            **{str(status): describe_error(status) for status in ERRORS if status not in _NOT_OF_TASKS},
        },
    }


def _parameter(name: str, field: Mapping[str, Any]) -> dict[str, Any]:
    """An option in the query string. There lists are separated by commas, objects are JSON, and no option is null."""
    choices = [choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"]
    schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    schema = {key: value for key, value in schema.items() if key not in ("description", "title")}
    parameter: dict[str, Any] = {"name": name, "in": "query", "description": field["description"]}
    if "$ref" in schema:
        return {**parameter, "content": {JSON: {"schema": schema}}}
    return {**parameter, "schema": schema, "style": "form", "explode": False}


def _bodies(route: Route, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The forms of a request, by media type."""
    request = {"schema": ref(f"schemas/{route.name}Request"), "examples": describe_examples(EXAMPLES[route.task.NAME])}
    bodies: dict[str, Any] = {JSON: request}
    if route.rows is not None:
        bodies |= {kind: {"schema": binary("one row")} for kind in _FILES}
        bodies[TEXT] = {"schema": {"type": "string", "description": "one row, unless it is a JSON object"}}
        files = {
            "type": "array",
            "items": binary("one row"),
            "description": f"{NAMES} files, or {SOUND_NAMES} files, under any names; if the rows of a pipeline have "
            "fields, under their names",
        }
        form = {"type": "object", "properties": {"files": files, **fields}}
        bodies[FORM] = {"schema": form, "encoding": {"files": {"contentType": ", ".join(_FILES)}}}
    return bodies


def _answers(route: Route) -> dict[str, Any]:
    """The forms of the answer, by media type."""
    events = f"{route.name}Event in each event, then " if route.events is not None else ""
    stream = f"with `stream`: {events}`event: done` with {route.name}Answer; after a failure `event: error` with Error"
    content: dict[str, Any] = {
        JSON: {"schema": ref(f"schemas/{route.name}Answer")},
        EVENTS: {"schema": {"description": stream}},  # no type: readers disagree whether it would be that of an event
    }
    if route.picture is not None:
        content[PNG] = {"schema": binary(route.picture)}
    if route.sound is not None:
        content[WAV] = {"schema": binary(route.sound)}
    forms = ["a picture with `Accept: image/png`"] if route.picture else []
    forms += ["a sound with `Accept: audio/wav`"] if route.sound else []
    timing = {
        "description": "milliseconds: queue, batch, compute, total; rows: those of its batch",
        "schema": {"type": "string"},
    }
    return {
        "description": "; ".join(["The answer", *forms]),
        "content": content,
        "headers": {"X-Request-Id": REQUEST_ID, "Server-Timing": timing},
    }
