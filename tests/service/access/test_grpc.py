"""Ways in over gRPC that are tried and refused."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from service.access.routes import find_rpc_scope
from service.transport.grpc.messages import FULL_NAME, METHODS
from tests.service.access.asking import KEYS, Clock, guard_of, render_keys, settings_with_keys
from tests.support.grpc_servers import GrpcServing, ones, settings_of
from tests.support.servers import FAST

Metadata = Sequence[tuple[str, str]]
KEY = KEYS["infer"]
OPEN = {"ServerLive", "ServerReady"}
ADMIN = {
    *("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
    *("SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
}


@pytest.fixture(scope="module")
def server(plain_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServing]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    with GrpcServing(settings_with_keys(plain_store, file), FAST) as serving:
        yield serving


@pytest.fixture
def channel(server: GrpcServing) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_url) as channel:
        yield channel


def metadata_of(name: str) -> Metadata:
    return (("authorization", f"Bearer {KEYS[name]}"),)


def code_of(call: Callable[[], Any]) -> tuple[StatusCode, str]:
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return StatusCode.OK, ""


def call(channel: grpc.Channel, method: str, metadata: Metadata = (), content: bytes = b"") -> tuple[StatusCode, str]:
    """Any method, as one that takes and gives a stream."""
    path = method if method.startswith("/") else f"/{FULL_NAME}/{method}"
    return code_of(lambda: list(channel.stream_stream(path)(iter([content]), metadata=metadata, timeout=20)))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_but_the_probes_needs_a_key(channel: grpc.Channel, method: str) -> None:
    """Without one the code is UNAUTHENTICATED; the methods are those that the protocol has."""
    code, text = call(channel, method)
    assert (code is StatusCode.UNAUTHENTICATED) == (method not in OPEN), text


@pytest.mark.parametrize("method", sorted(METHODS.keys() - OPEN))
def test_method_needs_its_scope(channel: grpc.Channel, clock: Clock, method: str) -> None:
    """The methods that change the server need admin, the others infer; a key for metrics opens nothing."""
    needed = "admin" if method in ADMIN else "infer"
    for name in ("infer", "admin", "metrics"):
        code, text = call(channel, method, metadata_of(name))
        assert (code is StatusCode.PERMISSION_DENIED) == (name != needed), (name, text)
        assert code is not StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "method",
    [
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        f"/{FULL_NAME}/modelInfer",
        f"/{FULL_NAME}/ModelInfer/",
        f"//{FULL_NAME}/ModelInfer",
        f"/{FULL_NAME}/ServerLive/../ModelInfer",
        "/grpc.health.v2.Health/Check",
        "/nothing/Here",
    ],
)
def test_other_names_of_methods_are_refused(channel: grpc.Channel, method: str) -> None:
    """Reflection, and names that do not exist, need a key too."""
    content = ServerReflectionRequest(list_services="*").SerializeToString()
    assert call(channel, method, content=content)[0] is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", f"Basic {KEY}"),),
        (("authorization", KEY),),
        (("authorization", ""),),
        (("x-api-key", ""),),
        (("x-api-key", KEY[:-1]),),
        (("x-api-key", KEY), ("x-api-key", KEY)),
        (("authorization", f"Bearer {KEY}"), ("authorization", "Bearer wrong")),
        (("authorization", f"Bearer {KEY}"), ("x-api-key", KEYS["admin"])),
        (("x-api-key-bin", KEY.encode()),),
        (("cookie", f"x-api-key={KEY}"),),
        (("sec-websocket-protocol", f"sluice-key.{KEY}"),),
    ],
)
def test_metadata_without_exactly_one_good_key_is_refused(channel: grpc.Channel, metadata: Any) -> None:
    """As over HTTP; the text does not repeat the key."""
    code, text = call(channel, "ModelMetadata", metadata)
    assert code is StatusCode.UNAUTHENTICATED
    assert KEY[:12] not in text


@pytest.mark.parametrize("metadata", [(("x-api-key", KEY),), (("authorization", f"bearer {KEY}"),)])
def test_key_in_metadata_is_served(server: GrpcServing, clock: Clock, metadata: Metadata) -> None:
    """Both forms of the key work with Triton's client."""
    with server.grpc_client() as client:
        assert client.infer("double", ones(), headers=dict(metadata)).as_numpy("y").tolist() == [[2, 2, 2]]


def test_call_is_refused_before_its_message(channel: grpc.Channel) -> None:
    """A caller without a key is answered though its message never comes."""
    is_answered = threading.Event()

    def give_nothing() -> Iterator[bytes]:
        is_answered.wait(60)
        yield from ()

    found = channel.stream_unary(f"/{FULL_NAME}/ModelInfer").future(give_nothing(), timeout=20)
    code = found.code()
    is_answered.set()
    assert code is StatusCode.UNAUTHENTICATED


def check_health(channel: grpc.Channel, service: str, metadata: Metadata = ()) -> tuple[StatusCode, str]:
    check = channel.unary_unary("/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString)
    return code_of(lambda: check(HealthCheckRequest(service=service), metadata=metadata, timeout=20))


def test_health_of_the_server_is_open_and_that_of_a_model_is_not(channel: grpc.Channel, clock: Clock) -> None:
    """A probe needs no key; whether a model exists is told to callers with a key only, in watches too."""
    assert {check_health(channel, name)[0] for name in ("", FULL_NAME)} == {StatusCode.OK}
    assert {check_health(channel, name)[0] for name in ("double", "none")} == {StatusCode.UNAUTHENTICATED}
    assert check_health(channel, "double", metadata_of("infer"))[0] is StatusCode.OK
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString)
    refused = code_of(lambda: next(watch(HealthCheckRequest(service="double"), timeout=20)))
    assert refused[0] is StatusCode.UNAUTHENTICATED
    told = watch(HealthCheckRequest(), timeout=20)
    assert HealthCheckResponse.FromString(next(told)).status == HealthCheckResponse.SERVING
    told.cancel()


class Answers:
    """What comes back over a stream, as it comes."""

    def __init__(self, client: triton.InferenceServerClient, name: str) -> None:
        self._found: list[Any] = []
        self._more = threading.Condition()
        self._client = client
        client.start_stream(self._take, headers=dict(metadata_of(name)))

    def _take(self, result: Any, error: Any) -> None:
        with self._more:
            self._found.append(error or result)
            self._more.notify()

    def ask(self, rows: int = 1) -> Any:
        tensor = triton.InferInput("x", [rows, 3], "FP32")
        tensor.set_data_from_numpy(np.ones((rows, 3), np.float32))
        self._client.async_stream_infer("double", [tensor])
        with self._more:
            assert self._more.wait_for(lambda: self._found, 20)
            return self._found.pop()


def test_key_that_is_removed_is_refused_on_an_open_stream(server: GrpcServing, clock: Clock) -> None:
    """The next message is answered with an error; the stream is there until its client ends it."""
    file = guard_of(server)._keys._file
    assert file is not None
    with server.grpc_client() as client:
        answers = Answers(client, "infer")
        assert answers.ask().as_numpy("y").tolist() == [[2, 2, 2]]
        file.write_text(render_keys("other"))
        clock.move(1)
        assert "key 'infer' does not count any more" in str(answers.ask())
        file.write_text(render_keys())
        clock.move(1)
        assert answers.ask().as_numpy("y").tolist() == [[2, 2, 2]]


def test_messages_of_a_stream_count_as_requests_and_rows(server: GrpcServing, clock: Clock) -> None:
    """A stream is no way around the limits of its key."""
    with server.grpc_client() as client:
        answers = Answers(client, "limited")  # which is the first request
        assert answers.ask().as_numpy("y").tolist() == [[2, 2, 2]]
        assert "expected at most 2 requests in 1 s" in str(answers.ask())
        clock.move(1)
        assert answers.ask(4).as_numpy("y").shape == (4, 3)
        assert "expected at most 5 rows in 86400 s" in str(answers.ask())


def test_limit_is_resource_exhausted_with_what_is_left(channel: grpc.Channel, clock: Clock) -> None:
    """The trailing metadata of the refusal has the headers of HTTP."""
    ask = channel.unary_unary(f"/{FULL_NAME}/ModelReady")
    codes = []
    for _ in range(3):
        try:
            ask(b"\n\x06double", metadata=metadata_of("limited"), timeout=20)
            codes.append((StatusCode.OK, {}))
        except grpc.RpcError as error:
            codes.append((error.code(), dict(error.trailing_metadata())))
    assert [code for code, _ in codes] == [StatusCode.OK, StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED]
    assert codes[2][1]["retry-after"] == "1"
    assert codes[2][1]["ratelimit"].startswith('"requests";r=0;t=1')


@pytest.mark.parametrize(
    ("metadata", "is_open"),
    [
        ((), True),
        ((("x-forwarded-for", "127.0.0.1"),), False),
        ((("forwarded", "for=127.0.0.1"),), False),
        ((("x-real-ip", "10.0.0.1"),), False),
        ((("via", "1.1 proxy"),), False),
    ],
)
def test_changes_without_keys_are_for_local_callers_only(plain_store: Any, metadata: Metadata, is_open: bool) -> None:
    """Where no keys are set, a caller behind a proxy of this machine is not local."""
    content = METHODS["LogSettings"].request()
    content.settings["log_verbose_level"].uint32_param = 0
    with (
        GrpcServing(settings_of(plain_store, control=True)) as server,
        grpc.insecure_channel(server.grpc_url) as channel,
    ):
        code, text = call(channel, "LogSettings", metadata, content.SerializeToString())
    assert code is (StatusCode.OK if is_open else StatusCode.PERMISSION_DENIED), text


def test_new_method_is_not_open() -> None:
    """What the table does not name needs a key."""
    assert find_rpc_scope("/inference.GRPCInferenceService/New") == "infer"
    assert find_rpc_scope("/grpc.health.v1.HealthX/Check") == "infer"
