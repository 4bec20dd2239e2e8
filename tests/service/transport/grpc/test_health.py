"""The health checks of gRPC, as bytes on the wire, without generated stubs."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest

from service.metrics.meters import Metrics
from service.transport.grpc import health
from service.transport.grpc.codes import refusal_of
from service.transport.grpc.messages import FULL_NAME
from service.transport.request import Reply
from tests.support.grpc_servers import GrpcServing, channel, settings_of
from tests.support.models import graphs

SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def asked(service: str) -> bytes:
    name = service.encode()
    return b"\x0a" + bytes([len(name)]) + name if name else b""


def check(server: GrpcServing, service: str) -> bytes:
    with channel(server) as open_channel:
        answer: bytes = open_channel.unary_unary("/grpc.health.v1.Health/Check")(asked(service), timeout=20)
        return answer


@pytest.fixture
def watch(server: GrpcServing, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts to watch a service. The server checks it almost without a pause."""
    monkeypatch.setattr(health, "LOOK_AGAIN_S", 0.01)
    with channel(server) as open_channel:
        yield lambda service: open_channel.unary_stream("/grpc.health.v1.Health/Watch")(asked(service), timeout=60)


def test_unknown_service_is_not_found(server: GrpcServing) -> None:
    """A name that is neither a service nor a model is NOT_FOUND, and the error says what is expected."""
    for service in ("inference.Other", "nobody", "../double", "double/"):
        with pytest.raises(grpc.RpcError) as raised:
            check(server, service)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert f"service {service!r}: expected nothing, {FULL_NAME} or the name of a model" in raised.value.details()


def test_message_that_is_none_is_refused(server: GrpcServing) -> None:
    """Bytes that are no request are INVALID_ARGUMENT, for a check and for a watch."""
    with channel(server) as open_channel:
        for call in (
            lambda: open_channel.unary_unary("/grpc.health.v1.Health/Check")(b"\x0a", timeout=20),
            lambda: next(open_channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a", timeout=20)),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                call()
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "expected a HealthCheckRequest" in raised.value.details()


def test_health_is_that_of_the_server_and_of_its_models(server: GrpcServing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server, its service and a ready model are SERVING. A broken one is not; before all are tried, none is."""
    assert check(server, "") == check(server, FULL_NAME) == check(server, "double") == SERVING
    assert check(server, "broken") == NOT_SERVING
    assert server.count('sluice_requests_total{model="",route="grpc Check",status="200",version=""}')
    monkeypatch.setattr(server.worker.registry.lifecycle, "loaded", False)
    assert check(server, "") == check(server, FULL_NAME) == check(server, "nobody") == NOT_SERVING


def test_changes_are_told_to_those_who_watch(server: GrpcServing, watch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch reports the current state first, and then each change once."""
    states = watch("")
    assert next(states) == SERVING
    monkeypatch.setattr(server.worker.registry.lifecycle, "loaded", False)
    assert next(states) == NOT_SERVING
    monkeypatch.setattr(server.worker.registry.lifecycle, "loaded", True)
    assert next(states) == SERVING
    states.cancel()


def test_model_that_comes_and_goes_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch of an unknown model says so, follows its loads and unloads, and ends with the server."""
    monkeypatch.setattr(health, "LOOK_AGAIN_S", 0.01)
    graphs.write_plain(tmp_path, "double", graphs.double())
    with GrpcServing(settings_of(tmp_path)) as server, channel(server) as open_channel:
        states = open_channel.unary_stream("/grpc.health.v1.Health/Watch")(asked("other"), timeout=60)
        assert next(states) == SERVICE_UNKNOWN
        graphs.write_plain(tmp_path, "other", graphs.double())
        server.run(lambda: server.worker.registry.load("other"))
        came = next(states)  # it may have been seen while it was loaded
        assert (next(states) if came == NOT_SERVING else came) == SERVING
        server.run(lambda: server.worker.registry.unload("other"))
        assert next(states) == NOT_SERVING
        server.run(lambda: server.worker.registry.load("other"))
        assert next(states) == SERVING
        server.stop()
        assert next(states) == NOT_SERVING
        assert states.code() is grpc.StatusCode.UNAVAILABLE


class Watched:
    """The call of a client that watches."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    async def write(self, message: bytes) -> None:
        self.told.append(message)

    def refuse(self, reply: Reply) -> NoReturn:
        raise EOFError(refusal_of(reply)[1])


def test_stop_in_the_middle_of_a_look_is_told() -> None:
    """A watch reports NOT_SERVING before it ends, even if the server stops in the middle of a check."""

    async def ready_until_asked(scope: Any, receive: Any, send: Any) -> None:
        watching.drain()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    watching, call = health.Health(ready_until_asked, Metrics(), clock=float), Watched()
    with pytest.raises(EOFError, match="the server is stopping"):
        asyncio.run(watching.watch(asked(""), call))
    assert call.told == [SERVING, NOT_SERVING]


def test_watches_share_their_looks_and_are_limited(
    server: GrpcServing, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several watches of a service count as one service. A watch too many is refused until another has ended."""
    monkeypatch.setattr(health, "MAX_WATCHES", 5)
    monkeypatch.setattr(health, "MAX_WATCHED", 2)
    kept = server.grpc_server._health

    def refused(states: Any) -> bool:
        with pytest.raises(grpc.RpcError) as raised:
            next(states)
        return bool(raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)

    open_ones = [watch(service) for service in ("", "", "", "double")]
    assert [next(states) for states in open_ones] == [SERVING] * 4
    assert refused(watch("nobody"))
    open_ones.append(watch("double"))
    assert next(open_ones[-1]) == SERVING
    assert refused(watch("double"))
    open_ones.pop(0).cancel()
    server.until(lambda: kept._watches == 4)
    open_ones.append(watch("double"))
    assert next(open_ones[-1]) == SERVING
    for states in open_ones:
        states.cancel()
    server.until(lambda: not kept._watched)
