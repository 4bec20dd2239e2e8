"""The methods besides inference: against a real server, and against routes that answer what the protocol says."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import tritonclient.grpc as triton
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from service.metrics.exposition import expose
from service.metrics.meters import Metrics
from service.transport.grpc.info import INFO_REQUESTS, InfoServicer
from service.transport.grpc.messages import METHODS
from tests.support.grpc_servers import GrpcServing, ones, settings_of

DURATION = {"count": 3, "ns": 5}
STATISTICS = {
    "model_stats": [
        {
            "name": "m",
            "version": "1",
            "last_inference": 1_700_000_000_000,
            "inference_count": 2**40,
            "execution_count": 2,
            "inference_stats": {"success": DURATION, "queue": DURATION},
            "response_stats": {"0": {"compute_infer": DURATION}},
            "batch_stats": [{"batch_size": 8, "compute_infer": DURATION}],
            "memory_usage": [],
        }
    ]
}
CONFIG = {
    "name": "m",
    "platform": "onnxruntime_onnx",
    "max_batch_size": 64,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3]}],
    "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": [1]}],
    "dynamic_batching": {"preferred_batch_size": [8], "max_queue_delay_microseconds": 0},
    "model_transaction_policy": {"decoupled": False},
    "something_new": 1,
}
INDEX = [{"name": "m", "version": "1", "state": "READY", "reason": ""}, {"name": "n"}]
TRACE = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "1000"}
LOG = {"log_file": "", "log_info": True, "log_verbose_level": 2}


class Aborted(Exception):
    """What a context raises when a call is ended with an error."""


class Context:
    """A call whose metadata and end are kept."""

    def __init__(self) -> None:
        self.trailing: dict[str, str] = {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-request-id", "of-mine"),)

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailing = dict(metadata)

    async def abort(self, code: grpc.StatusCode, text: str, metadata: tuple[tuple[str, str], ...]) -> None:
        raise Aborted(code.name, text, dict(metadata))


def ask(method: str, message: Any, answer: Any, status: int = 200) -> tuple[Any, str, Any]:
    """Ask a server whose every route answers so: the answer as tritonclient's message, verb and path, and JSON sent."""
    asked: list[Any] = []

    async def handle(request: Request) -> Response:
        request.scope["sluice.route"] = "known"
        asked.extend((f"{request.method} {request.url.path}", await request.body()))
        if answer is Exception:
            raise RuntimeError("a secret")
        return Response() if answer is None else JSONResponse(answer, status)

    application = Starlette(routes=[Route("/v2{rest:path}", handle, methods=["GET", "POST"])])
    info = InfoServicer(application, Metrics(), lambda: 0.0)
    content = asyncio.run(info.answer(method, message.SerializeToString(), Context()))
    reply = getattr(service_pb2, f"{method}Response").FromString(content)
    return reply, asked[0], orjson.loads(asked[1]) if asked[1] else None


def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as raised:
        call()
    return str(raised.value.status()).removeprefix("StatusCode."), str(raised.value.message())


def test_every_method_is_there() -> None:
    """Each method of the interface that is not inference is a request."""
    assert set(INFO_REQUESTS) | {"ModelInfer", "ModelStreamInfer"} == set(METHODS)


@pytest.mark.parametrize(
    ("method", "message", "said"),
    [
        ("RepositoryIndex", service_pb2.RepositoryIndexRequest(repository_name="r"), "repository_name: expected none"),
        (
            "RepositoryModelLoad",
            service_pb2.RepositoryModelLoadRequest(parameters={"file:1/model.onnx": {"bytes_param": b"x"}}),
            "files are not taken over the network",
        ),
        (
            "RepositoryModelUnload",
            service_pb2.RepositoryModelUnloadRequest(parameters={"a": {}}),
            "parameters: expected each with a value, got 'a'",
        ),
        (
            "LogSettings",
            service_pb2.LogSettingsRequest(settings={"log_info": {}}),
            "settings: expected each with a value, got 'log_info'",
        ),
        ("ModelMetadata", service_pb2.ModelMetadataRequest(), "expected the name of a model, got none"),
        ("RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(), "expected the name of a model, got none"),
    ],
)
def test_question_that_no_route_has_is_refused(method: str, message: Any, said: str) -> None:
    """What HTTP has no words for is an INVALID_ARGUMENT with the caller's request id."""
    with pytest.raises(Aborted) as raised:
        ask(method, message, {})
    code, text, metadata = raised.value.args
    assert code == "INVALID_ARGUMENT"
    assert said in text
    assert metadata["x-request-id"] == "of-mine"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (service_pb2.ModelMetadataRequest(name="m" * (1 << 20)), "RESOURCE_EXHAUSTED"),
        (service_pb2.TraceSettingRequest(settings={"trace_rate": {"value": [""] * 5000}}), "INVALID_ARGUMENT"),
        (service_pb2.TraceSettingRequest(settings={str(number): {} for number in range(5000)}), "INVALID_ARGUMENT"),
    ],
)
def test_question_that_takes_long_to_read_is_refused(message: Any, code: str) -> None:
    """Long messages, and those of many fields, are read by nobody: the event loop is there for all."""
    with pytest.raises(Aborted) as raised:
        ask(type(message).__name__.removesuffix("Request"), message, {})
    assert raised.value.args[0] == code
    assert "message: expected" in raised.value.args[1]


@pytest.mark.parametrize(("status", "code"), [(404, "NOT_FOUND"), (501, "UNIMPLEMENTED"), (503, "UNAVAILABLE")])
def test_error_of_a_route_is_that_of_the_method(status: int, code: str) -> None:
    """A route that refuses gives the method's code and its text."""
    with pytest.raises(Aborted) as raised:
        ask("ModelConfig", service_pb2.ModelConfigRequest(name="m"), {"error": "no such thing"}, status)
    assert raised.value.args[:2] == (code, "no such thing")


def test_fault_of_a_route_is_withheld() -> None:
    """A route that breaks is an INTERNAL that says nothing of why."""
    with pytest.raises(Aborted) as raised:
        ask("ServerMetadata", service_pb2.ServerMetadataRequest(), Exception)
    code, text, _ = raised.value.args
    assert code == "INTERNAL"
    assert "secret" not in text


@pytest.mark.parametrize(
    ("method", "message", "path", "sent"),
    [
        ("ModelReady", {"name": "a/b", "version": "1"}, "GET /v2/models/a%2Fb/versions/1/ready", None),
        ("ModelMetadata", {"name": "m", "version": "stable"}, "GET /v2/models/m/versions/stable", None),
        ("ModelConfig", {"name": "m"}, "GET /v2/models/m/config", None),
        ("ModelStatistics", {"name": "m", "version": "2"}, "GET /v2/models/m/versions/2/stats", None),
        ("ModelStatistics", {}, "GET /v2/models/stats", None),
        ("RepositoryIndex", {"ready": True}, "POST /v2/repository/index", {"ready": True}),
        (
            "RepositoryModelLoad",
            {"model_name": "m", "parameters": {"version": {"int64_param": 2}}},
            "POST /v2/repository/models/m/load",
            {"parameters": {"version": 2}},
        ),
        (
            "RepositoryModelUnload",
            {"model_name": "m", "parameters": {"unload_dependents": {"bool_param": True}}},
            "POST /v2/repository/models/m/unload",
            {"parameters": {"unload_dependents": True}},
        ),
        ("TraceSetting", {"model_name": "m"}, "GET /v2/models/m/trace/setting", None),
        (
            "TraceSetting",
            {"settings": {"trace_level": {"value": ["OFF"]}, "trace_rate": {"value": ["9"]}, "trace_count": {}}},
            "POST /v2/trace/setting",
            {"trace_level": ["OFF"], "trace_rate": "9", "trace_count": None},
        ),
        ("LogSettings", {}, "GET /v2/logging", None),
        (
            "LogSettings",
            {"settings": {"log_info": {"bool_param": False}, "log_verbose_level": {"uint32_param": 0}}},
            "POST /v2/logging",
            {"log_info": False, "log_verbose_level": 0},
        ),
    ],
)
def test_method_asks_its_route(method: str, message: dict[str, Any], path: str, sent: Any) -> None:
    """Each message becomes the request that a client of HTTP would send; names cannot leave their place in the path."""
    answers: dict[str, Any] = {"RepositoryIndex": []}
    request = getattr(service_pb2, f"{method}Request")(**message)
    _, asked, body = ask(method, request, answers.get(method, {}))
    assert asked.replace("/a/b/", "/a%2Fb/") == path
    assert body == sent


def test_answers_of_routes_become_messages() -> None:
    """Statistics, configuration, index and settings arrive in the client's messages with every number and name."""
    statistics, _, _ = ask("ModelStatistics", service_pb2.ModelStatisticsRequest(), STATISTICS)
    (model,) = statistics.model_stats
    assert (model.last_inference, model.inference_count) == (1_700_000_000_000, 2**40)
    assert (model.inference_stats.queue.count, model.inference_stats.queue.ns) == (3, 5)
    assert model.response_stats["0"].compute_infer.ns == 5
    assert model.batch_stats[0].batch_size == 8
    config = ask("ModelConfig", service_pb2.ModelConfigRequest(name="m"), CONFIG)[0].config
    assert (config.name, config.max_batch_size, config.input[0].data_type) == ("m", 64, 11)
    assert list(config.input[0].dims) == [-1, 3]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    index, _, _ = ask("RepositoryIndex", service_pb2.RepositoryIndexRequest(), INDEX)
    assert [(found.name, found.state) for found in index.models] == [("m", "READY"), ("n", "")]
    trace, _, _ = ask("TraceSetting", service_pb2.TraceSettingRequest(), TRACE)
    assert {name: list(setting.value) for name, setting in trace.settings.items()} == {
        "trace_level": ["TIMESTAMPS", "TENSORS"],
        "trace_rate": ["1000"],
    }
    log, _, _ = ask("LogSettings", service_pb2.LogSettingsRequest(), LOG)
    assert log.settings["log_info"].bool_param is True
    assert log.settings["log_verbose_level"].uint32_param == 2
    assert log.settings["log_file"].WhichOneof("parameter_choice") == "string_param"


def test_empty_answer_is_an_empty_message() -> None:
    """Loading and unloading answer nothing over HTTP, and nothing here."""
    assert ask("RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name="m"), None)[0].ByteSize() == 0


def test_route_that_is_not_there_is_a_method_that_is_not_there() -> None:
    """A method whose route this server does not have is UNIMPLEMENTED and says which."""
    info = InfoServicer(Starlette(), Metrics(), lambda: 0.0)
    with pytest.raises(Aborted) as raised:
        asyncio.run(info.answer("TraceSetting", b"", Context()))
    code, text, metadata = raised.value.args
    assert (code, text) == ("UNIMPLEMENTED", "this server does not offer TraceSetting")
    assert metadata["x-request-id"] == "of-mine"


def test_health_is_told(client: triton.InferenceServerClient) -> None:
    """Alive and ready are yes; a model that is broken or unknown is not ready, which is no error."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double", "1")
    assert not client.is_model_ready("broken")
    assert not client.is_model_ready("none")


def test_metadata_is_told(server: GrpcServing, client: triton.InferenceServerClient) -> None:
    """Server and model describe themselves, and an unknown model is NOT_FOUND; each is counted under its method."""
    assert client.get_server_metadata().name == "sluice"
    model = client.get_model_metadata("double", "1")
    assert (model.name, list(model.versions)) == ("double", ["1"])
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in model.inputs] == [("x", "FP32", [-1, 3])]
    code, text = refused(lambda: client.get_model_metadata("none"))
    assert code == "NOT_FOUND"
    assert "no model 'none'" in text
    exposed = expose(server.worker.metrics, "")[0].decode()
    assert 'sluice_requests_total{model="",route="grpc ModelMetadata",status="404"}' in exposed


def test_administration_is_that_of_the_server(grpc_store: Path) -> None:
    """Configuration, statistics, the repository, traces and logs work by the real client against the real routes."""
    settings = settings_of(grpc_store, control=True, models=("double",))
    with GrpcServing(settings) as server, server.client() as client:
        client.infer("double", ones(3))
        assert client.get_model_config("double").config.input[0].name == "x"
        (statistics,) = client.get_inference_statistics("double").model_stats
        assert (statistics.inference_count, statistics.inference_stats.success.count) == (3, 1)
        states = {found.name: found.state for found in client.get_model_repository_index().models}
        assert (states["double"], states["other"]) == ("READY", "UNAVAILABLE")
        client.unload_model("double")
        assert not client.is_model_ready("double")
        client.load_model("double")
        assert client.is_model_ready("double")
        assert list(client.get_trace_settings().settings["trace_level"].value) == ["OFF"]
        changed = client.update_trace_settings(settings={"trace_rate": "7"})
        assert list(changed.settings["trace_rate"].value) == ["7"]
        verbose = client.get_log_settings().settings["log_verbose_level"].uint32_param
        changed = client.update_log_settings({"log_verbose_level": 1})
        assert changed.settings["log_verbose_level"].uint32_param == 1
        client.update_log_settings({"log_verbose_level": verbose})
