"""Every route is asked once, over HTTP and gRPC. The routes are those of a running worker, so a new one is asked too.

`make test-fast` runs it with the tests that need no server.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import message_factory

from model_store import DEFAULT_ROOT
from model_store.triton.schema import POOL
from service.api.openapi.document import make_document
from service.api.openapi.examples import DIGITS
from service.transport.grpc.messages import FULL_NAME, METHODS
from tests.support.connections.shared_memory import PATTERN, made_region, register_example
from tests.support.grpc_servers import GrpcServing
from tests.support.servers import FAST, settings_for

JSON = "application/json"
PATHS = make_document("0")["paths"]
CHANGED = "digits-style"
"""The model that is loaded and unloaded; nothing else is asked of it."""


class Routes:
    """A server with all reference models, and the tables of its routes. ``key``: of a region of shared memory."""

    def __init__(self, server: GrpcServing, rpcs: Mapping[str, Sequence[str]], key: str) -> None:
        self.server, self.rpcs, self.key = server, rpcs, key
        tables: Any = server.worker.information
        self.http = {("post", path) for path in server.worker.handler.starts if path.startswith("/")}
        self.http |= {(each.lower(), route.path) for route in tables.routes for each in route.methods - {"HEAD"}}
        # The paths of a version have no line in the handler's table.
        self.http |= {(method, path) for path, methods in PATHS.items() for method in methods}


@pytest.fixture(scope="module")
def routes() -> Iterator[Routes]:
    settings = settings_for(DEFAULT_ROOT, control=True, max_rows=8, shared_memory=(PATTERN,))
    with GrpcServing(settings, FAST) as server, made_region(256) as region:
        with server.client() as client:
            register_example(client, region)
        assert server.worker.grpc is not None
        services = server.worker.grpc.services
        yield Routes(server, {**services, FULL_NAME: [*services[FULL_NAME], "ModelInfer"]}, region.key)


def ask(client: httpx.Client, key: str, method: str, path: str) -> httpx.Response:
    """With the first example of the document, which says what a path of it stands for."""
    described = PATHS.get(path, {}).get(method, {})
    given = {each["name"]: each["example"] for each in described.get("parameters", ()) if each["in"] == "path"}
    body = described.get("requestBody", {"content": {JSON: {"examples": {"": {"value": None}}}}})
    example = next(iter(body["content"][JSON]["examples"].values()))["value"]
    if path.endswith("/register"):
        example = {**example, "key": f"/{key}"}
    return client.request(method, path.replace("{file:path}", "style.css").format(**given), json=example)


def test_every_http_route_answers(routes: Routes) -> None:
    """Each route is 200 for its documented example, and the metrics have counted each under its own path."""
    with routes.server.client() as client:
        answers = {route: ask(client, routes.key, *route) for route in sorted(routes.http)}
        metrics = client.get("/metrics").text
    assert {route: answer.text for route, answer in answers.items() if answer.status_code != 200} == {}
    paths = {path.replace("{model}/versions/{version}", "{model}") for _, path in routes.http}
    assert [path for path in paths if f'route="{path}"' not in metrics] == []


def message_of(method: Any, key: str) -> Any:
    """A request that names a model or a region where it can, with rows where it must."""
    message = message_factory.GetMessageClass(method.input_type)()
    if method.name == "SystemSharedMemoryRegister":
        return type(message)(name="frames", key=f"/{key}", byte_size=256)
    if method.name.startswith("SystemSharedMemory"):
        return message  # all regions
    for field in {"name", "model_name"} & set(message.DESCRIPTOR.fields_by_name):
        setattr(message, field, CHANGED if method.name.startswith("Repository") else DIGITS)
    if method.name in ("ModelInfer", "ModelStreamInfer"):
        message.inputs.add(name="image", datatype="FP32", shape=[1, 1, 8, 8])
        message.raw_input_contents.append(np.zeros((1, 1, 8, 8), "<f4").tobytes())
    return message


def call(channel: grpc.Channel, key: str, service: str, name: str) -> str:
    """The status and, of an error, its text. Of a stream the first message is read."""
    method = POOL.FindServiceByName(service).methods_by_name.get(name)
    path = f"/{service}/{name}"
    try:
        if method is None:
            channel.unary_unary(path)(b"", timeout=30)
            return "a method that its service does not declare"
        content = message_of(method, key).SerializeToString()
        if method.client_streaming:
            answer = next(channel.stream_stream(path)(iter([content]), timeout=30))
        elif method.server_streaming:
            answers = channel.unary_stream(path)(content, timeout=30)
            answer = next(answers)
            answers.cancel()
        else:
            answer = channel.unary_unary(path)(content, timeout=30)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    told = getattr(message_factory.GetMessageClass(method.output_type).FromString(answer), "error_message", "")
    return f"error message: {told}" if told and isinstance(told, str) else "OK"


def test_every_grpc_method_answers(routes: Routes) -> None:
    """Each method is answered; those of shared memory of CUDA are refused with what to do instead."""
    with grpc.insecure_channel(routes.server.grpc_url) as channel:
        told = {
            name: call(channel, routes.key, service, name) for service, names in routes.rpcs.items() for name in names
        }
    assert set(METHODS) <= set(told)
    assert {name: text for name, text in told.items() if text != "OK" and "Cuda" not in name} == {}
    [refusal] = {text for name, text in told.items() if "Cuda" in name}
    assert refusal.startswith("UNIMPLEMENTED: this server does not offer shared memory of CUDA: send raw contents")
