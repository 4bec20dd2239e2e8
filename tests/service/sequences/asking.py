"""Requests to sequences, over HTTP and within the server."""

from typing import Any

from service.api.handler import RequestHandler
from service.protocol.json import parse_json, render_json
from service.transport.awaited_request import AwaitedRequest
from service.transport.request import INFER, Endpoint, Reply

Json = dict[str, Any]


def integers(name: str, *values: int) -> Json:
    return {"name": name, "shape": [len(values)], "datatype": "INT64", "data": [*values]}


def body_of(x: int, sequence: Any, *marks: str, **fields: Any) -> Json:
    """A request to ``counter``: ``marks`` are start and end."""
    parameters = {"sequence_id": sequence, **{f"sequence_{mark}": True for mark in marks}}
    return {"inputs": [integers("x", x)], "parameters": parameters, **fields}


def begin(
    handler: RequestHandler, body: Json | bytes, model: str = "counter", route: str = INFER, **headers: bytes
) -> AwaitedRequest:
    """Start a request as the ASGI path does."""
    call = AwaitedRequest(Endpoint(route, model), b"", {k.replace("_", "-").encode(): v for k, v in headers.items()})
    call.body = body if isinstance(body, bytes) else render_json(body)
    handler.start(call)
    return call


def read(reply: Reply) -> Any:
    return parse_json(b"".join(reply.chunks))


def total_of(answer: Any) -> int:
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    total: int = found["next_total"][0]
    return total
