"""The methods besides inference: against a real server, and against routes whose answers the test sets."""

import asyncio
from typing import Any, NoReturn

import orjson
import pytest
import tritonclient.grpc as triton
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tritonclient.grpc import service_pb2 as pb2
from tritonclient.utils import InferenceServerException

from service.metrics.meters import Metrics
from service.transport.grpc.codes import refusal_of
from service.transport.grpc.contexts import Aborted
from service.transport.grpc.info import INFO_REQUESTS, InfoServicer
from service.transport.grpc.messages import METHODS
from service.transport.request import Reply
from tests.support.grpc_servers import GrpcServing

DURATION = {"count": 3, "ns": 5}
MODEL = {
    "name": "m",
    "version": "1",
    "last_inference": 1_700_000_000_000,
    "inference_count": 2**40,
    "inference_stats": {"success": DURATION, "queue": DURATION},
    "response_stats": {"0": {"compute_infer": DURATION}},
    "batch_stats": [{"batch_size": 8, "compute_infer": DURATION}],
    "memory_usage": [],
    "something_new": 1,
}


class Context:
    """A call that keeps its metadata and its end."""

    grant, client, fields, request_id = None, "127.0.0.1", (), "of-mine"

    def __init__(self) -> None:
        self.trailing: dict[str, str] = {}

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailing = dict(metadata)

    def refuse(self, reply: Reply) -> NoReturn:
        raise Aborted(reply.status, *refusal_of(reply))


def ask(message: Any, answer: Any, status: int = 200) -> tuple[Any, str, Any]:
    """Call a server whose routes all give ``answer``.

    Returns the reply as tritonclient's message, the method and path that were asked, and the JSON that was sent.
    """
    method = type(message).__name__.removesuffix("Request")
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
    reply = getattr(pb2, f"{method}Response").FromString(content)
    return reply, asked[0], orjson.loads(asked[1]) if asked[1] else None


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (pb2.RepositoryIndexRequest(repository_name="r"), "repository_name: expected none"),
        (pb2.RepositoryModelLoadRequest(parameters={"file:1": {"bytes_param": b"x"}}), "files are not taken over"),
        (pb2.RepositoryModelUnloadRequest(parameters={"a": {}}), "parameters: expected each with a value, got 'a'"),
        (pb2.LogSettingsRequest(settings={"log_info": {}}), "settings: expected each with a value, got 'log_info'"),
        (pb2.ModelMetadataRequest(), "expected the name of a model, got none"),
        (pb2.RepositoryModelLoadRequest(), "expected the name of a model, got none"),
    ],
)
def test_question_that_no_route_has_is_refused(message: Any, said: str) -> None:
    """A message that has no equivalent over HTTP is INVALID_ARGUMENT with the caller's request id."""
    with pytest.raises(Aborted) as raised:
        ask(message, {})
    code, text, metadata = raised.value.code.name, raised.value.text, dict(raised.value.metadata)
    assert code == "INVALID_ARGUMENT"
    assert said in text
    assert metadata["x-request-id"] == "of-mine"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (pb2.ModelMetadataRequest(name="m" * (1 << 20)), "RESOURCE_EXHAUSTED"),
        (pb2.TraceSettingRequest(settings={"trace_rate": {"value": [""] * 5000}}), "INVALID_ARGUMENT"),
        (pb2.TraceSettingRequest(settings={str(number): {} for number in range(5000)}), "INVALID_ARGUMENT"),
    ],
)
def test_question_that_takes_long_to_read_is_refused(message: Any, code: str) -> None:
    """A message that is long or has many fields is refused, so that it does not block the event loop."""
    with pytest.raises(Aborted) as raised:
        ask(message, {})
    assert raised.value.code.name == code
    assert "message: expected" in raised.value.text


@pytest.mark.parametrize(
    ("answer", "status", "code", "text"),
    [
        ({"error": "no such thing"}, 404, "NOT_FOUND", "no such thing"),
        ({"error": "no such thing"}, 501, "UNIMPLEMENTED", "no such thing"),
        ({"error": "no such thing"}, 503, "UNAVAILABLE", "no such thing"),
        (Exception, 500, "INTERNAL", "the log has the reason"),
    ],
)
def test_error_of_a_route_is_that_of_the_method(answer: Any, status: int, code: str, text: str) -> None:
    """The error of a route has its code and text in gRPC. A route that breaks does not say why."""
    with pytest.raises(Aborted) as raised:
        ask(pb2.ModelConfigRequest(name="m"), answer, status)
    assert raised.value.code.name == code
    assert text in raised.value.text
    assert "secret" not in raised.value.text


@pytest.mark.parametrize(
    ("message", "path", "sent"),
    [
        (pb2.ModelReadyRequest(name="a/b", version="1"), "GET /v2/models/a%2Fb/versions/1/ready", None),
        (pb2.ModelMetadataRequest(name="m", version="stable"), "GET /v2/models/m/versions/stable", None),
        (pb2.ModelConfigRequest(name="m"), "GET /v2/models/m/config", None),
        (pb2.ModelStatisticsRequest(name="m", version="2"), "GET /v2/models/m/versions/2/stats", None),
        (pb2.ModelStatisticsRequest(), "GET /v2/models/stats", None),
        (pb2.RepositoryIndexRequest(ready=True), "POST /v2/repository/index", {"ready": True}),
        (
            pb2.RepositoryModelLoadRequest(model_name="m", parameters={"version": {"int64_param": 2}}),
            *("POST /v2/repository/models/m/load", {"parameters": {"version": 2}}),
        ),
        (
            pb2.RepositoryModelUnloadRequest(model_name="m", parameters={"unload_dependents": {"bool_param": True}}),
            *("POST /v2/repository/models/m/unload", {"parameters": {"unload_dependents": True}}),
        ),
        (pb2.TraceSettingRequest(model_name="m"), "GET /v2/models/m/trace/setting", None),
        (
            pb2.TraceSettingRequest(settings={"trace_level": {"value": ["OFF"]}, "trace_rate": {"value": ["9"]}}),
            *("POST /v2/trace/setting", {"trace_level": ["OFF"], "trace_rate": "9"}),
        ),
        (pb2.TraceSettingRequest(settings={"trace_rate": {}}), "POST /v2/trace/setting", {"trace_rate": None}),
        (pb2.LogSettingsRequest(), "GET /v2/logging", None),
        (
            pb2.LogSettingsRequest(settings={"log_info": {"bool_param": False}, "log_format": {"string_param": "a"}}),
            *("POST /v2/logging", {"log_info": False, "log_format": "a"}),
        ),
    ],
)
def test_method_asks_its_route(message: Any, path: str, sent: Any) -> None:
    """Each message becomes the request that a client of HTTP would send; names cannot leave their place in the path."""
    _, asked, body = ask(message, [] if isinstance(message, pb2.RepositoryIndexRequest) else {})
    assert asked.replace("/a/b/", "/a%2Fb/") == path
    assert body == sent


def test_answer_of_a_route_becomes_a_message() -> None:
    """Every number and name of an answer is in the client's message; unknown fields are ignored."""
    statistics, _, _ = ask(pb2.ModelStatisticsRequest(), {"model_stats": [MODEL]})
    (model,) = statistics.model_stats
    assert (model.last_inference, model.inference_count) == (1_700_000_000_000, 2**40)
    assert (model.inference_stats.queue.count, model.inference_stats.queue.ns) == (3, 5)
    assert model.response_stats["0"].compute_infer.ns == 5
    assert model.batch_stats[0].batch_size == 8
    assert ask(pb2.RepositoryModelLoadRequest(model_name="m"), None)[0].ByteSize() == 0
    [found] = ask(pb2.RepositoryIndexRequest(), [{"name": "m", "version": "1", "state": "READY"}])[0].models
    assert (found.name, found.version, found.state, found.reason) == ("m", "1", "READY", "")
    traces = ask(pb2.TraceSettingRequest(), {"trace_level": ["OFF"], "trace_rate": "7"})[0].settings
    assert [list(traces[name].value) for name in ("trace_level", "trace_rate")] == [["OFF"], ["7"]]
    logs = ask(pb2.LogSettingsRequest(), {"log_verbose_level": 1, "log_info": True, "log_format": "a"})[0].settings
    assert (logs["log_verbose_level"].uint32_param, logs["log_info"].bool_param) == (1, True)
    assert logs["log_format"].string_param == "a"


def test_route_that_is_not_there_is_a_method_that_is_not_there() -> None:
    """Each method that is not inference asks a route; one whose route this server does not have is UNIMPLEMENTED."""
    info = InfoServicer(Starlette(), Metrics(), lambda: 0.0)
    with pytest.raises(Aborted) as raised:
        asyncio.run(info.answer("TraceSetting", b"", Context()))
    code, text, metadata = raised.value.code.name, raised.value.text, dict(raised.value.metadata)
    assert (code, text) == ("UNIMPLEMENTED", "this server does not offer TraceSetting")
    assert metadata["x-request-id"] == "of-mine"
    assert set(INFO_REQUESTS) | {"ModelInfer", "ModelStreamInfer"} == set(METHODS)


def test_health_and_metadata_are_told(server: GrpcServing, client: triton.InferenceServerClient) -> None:
    """A broken or unknown model is not ready, without an error; metadata of an unknown one are NOT_FOUND."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert [client.is_model_ready(name) for name in ("double", "broken", "none")] == [True, False, False]
    assert client.get_server_metadata().name == "sluice"
    model = client.get_model_metadata("double", "1")
    assert (model.name, list(model.versions)) == ("double", ["1"])
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in model.inputs] == [("x", "FP32", [-1, 3])]
    with pytest.raises(InferenceServerException, match="no model 'none'") as raised:
        client.get_model_metadata("none")
    assert raised.value.status() == "StatusCode.NOT_FOUND"
    assert server.count('sluice_requests_total{model="",route="grpc ModelMetadata",status="404",version=""}')
