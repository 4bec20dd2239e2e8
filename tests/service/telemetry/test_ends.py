"""Each request that ends has one line in the access log, whichever way it came and however it ended."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from service.errors import BodyTooLarge, HeaderTooLarge
from service.metrics.spans import Trace
from service.settings import Settings
from service.transport.observer import RequestEnd, RequestObserver
from tests.support.connections.live import LiveClient, refuse
from tests.support.gates import gated
from tests.support.grpc_servers import GrpcServing, channel, ones, settings_of, waiting_rows
from tests.support.pipelines.models import BLUE, RED, as_row, halves, write_store
from tests.support.servers import FAST, PATHS, ServerPath
from tests.support.wires import INFER, Wire, body_of, exchange, request_bytes

Line = dict[str, Any]


@pytest.fixture(params=PATHS, ids=lambda path: path.name)
def way(request: pytest.FixtureRequest) -> ServerPath:
    found: ServerPath = request.param
    return found


@pytest.fixture
def log(store: Path, tmp_path: Path, way: ServerPath) -> Callable[..., list[Line]]:
    """Runs a server while something asks it, and gives the lines of its access log."""

    def run(ask: Callable[[GrpcServing], object], **changes: object) -> list[Line]:
        path = tmp_path / "access.log"
        usual = {
            "store": store,
            "max_body_bytes": 1 << 20,
            "max_rows": 8,
            "models": ("double",),
            "access_log": str(path),
        }
        with GrpcServing(Settings(provider="cpu").replace(**usual | changes), way) as server:
            ask(server)
        return [json.loads(line) for line in path.read_text().splitlines()]

    return run


def test_answer_has_a_line_with_its_times_and_sizes(log: Callable[..., list[Line]]):
    """The line of an answer names the model, its version and rows, its stages, ids, sizes and the caller's address."""
    body = body_of(1.0)
    headers = ("X-Request-Id: mine", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
    (line,) = log(exchange(request_bytes(body, f"{INFER}?secret=1", *headers)))
    assert {name: line[name] for name in ("method", "path", "route", "status", "model", "version", "rows")} == {
        "method": "POST",
        "path": INFER,
        "route": "/v2/models/{model}/infer",
        "status": 200,
        "model": "double",
        "version": "1",
        "rows": 1,
    }
    assert (line["request_id"], line["trace_id"]) == ("mine", "0af7651916cd43dd8448eb211c80319c")
    assert (line["bytes_in"], line["client"], line["batch_rows"]) == (len(body), "127.0.0.1", 1)
    assert line["bytes_out"] > 20
    assert 0 < line["compute_s"] <= line["seconds"]
    assert {"queue_s", "batch_s", "time"} < line.keys()
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (request_bytes(b"{}"), 400, "invalid"),
        (request_bytes(body_of(1), "/v2/models/none/infer"), 404, "unknown_model"),
        (request_bytes(b"", INFER, method="GET"), 405, "wrong_method"),
        (request_bytes(b"x" * (2 << 20)), 413, BodyTooLarge.reason),
        (request_bytes(b"", "/nowhere", method="GET"), 404, "unknown_route"),
        (request_bytes(b"", "/v2/models/none", method="GET"), 404, "unknown_model"),
        (b"GET /x?y HTTP/1.1\r\n\r\n", 400, "invalid"),
        (b"NONSENSE\r\n\r\n", 400, "invalid"),
        (b"GET /x HTTP/1.1\r\nHost: t\r\na: " + b"b" * (70 << 10) + b"\r\n\r\n", 431, HeaderTooLarge.reason),
    ],
    ids=["body", "model", "method", "length", "route", "information", "no host", "no HTTP", "header"],
)
def test_refusal_has_one_line(log: Callable[..., list[Line]], request_: bytes, status: int, error: str):
    """A refused request has one line with its status and the reason, also if it was refused before it was read."""
    (line,) = log(exchange(request_))
    assert (line["status"], line["error"]) == (status, error)


def test_line_of_a_refused_header_has_the_path_without_its_query(log: Callable[..., list[Line]]):
    """The path of a request without a host is known, as is its method."""
    (line,) = log(exchange(b"GET /x?secret HTTP/1.1\r\n\r\n"))
    assert (line["method"], line["path"]) == ("GET", "/x")


def test_pages_and_preflights_have_a_line(log: Callable[..., list[Line]]):
    """Requests other than inference have a line too, with their route."""
    preflight = ("Origin: https://a.example", "Access-Control-Request-Method: POST")
    lines = log(
        exchange(
            request_bytes(b"", "/v2/health/live", method="GET"),
            request_bytes(b"", INFER, *preflight, method="OPTIONS"),
        ),
        cors_origins=("https://a.example",),
    )
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", "/v2/health/live", 200),
        ("OPTIONS", "", 200),
    ]


def test_caller_that_goes_has_a_line(log: Callable[..., list[Line]]):
    """A caller that goes while its body comes, or while its request waits, has one line each, with status 499."""

    def ask(server: GrpcServing) -> None:
        with Wire(server) as wire:
            wire.send(request_bytes(body_of(1.0))[:-5])
            server.until(lambda: len(server.connections()) == 1 and server.worker.handler.body_budget.held_bytes > 0)
        server.until(lambda: not server.connections())
        model = server.model("double")
        with gated(model):
            with Wire(server) as wire:
                wire.send(request_bytes(body_of(1.0)))
                server.until(lambda: not model.dispatcher.is_idle)
            server.until(lambda: not server.connections())

    lines = log(ask)
    assert [(line["status"], line["error"]) for line in lines] == [(499, "cancelled")] * 2


def test_pipelined_requests_have_a_line_each(log: Callable[..., list[Line]]):
    """Requests of one connection, of which the last is malformed, have a line each."""

    def ask(server: GrpcServing) -> None:
        with Wire(server) as wire:
            wire.send(request_bytes(body_of(1.0)) * 3 + b"NONSENSE\r\n\r\n")
            assert [wire.read()[0] for _ in range(4)] == [200, 200, 200, 400]

    assert sorted(line["status"] for line in log(ask)) == [200, 200, 200, 400]


def test_path_has_the_prefix_of_all_routes(log: Callable[..., list[Line]]):
    """The path of a line has the prefix, as the caller sent it."""
    lines = log(exchange(request_bytes(body_of(1.0), f"/team{INFER}")), base_path="/team")
    assert [line["path"] for line in lines] == [f"/team{INFER}"]


def test_compressed_body_counts_as_it_came(log: Callable[..., list[Line]]):
    """The size of a body is the compressed one."""
    body = gzip.compress(body_of(1.0))
    (line,) = log(exchange(request_bytes(body, INFER, "Content-Encoding: gzip")))
    assert (line["status"], line["bytes_in"]) == (200, len(body))


def test_stream_tells_its_times(log: Callable[..., list[Line]], tmp_path: Path):
    """The last event of a streamed answer has the times as a comment, and its line in the log has them too."""
    write_store(tmp_path / "store", "colours")
    body = json.dumps({"inputs": [as_row(halves(RED, BLUE))], "stream": True}).encode()
    said = []

    def ask(server: GrpcServing) -> None:
        with Wire(server) as wire:
            wire.send(request_bytes(body, "/pipeline?model=colours", "Connection: close"))
            said.append(wire.file.read())

    (line,) = log(ask, store=tmp_path / "store", models=("colours", "finder", "painter"))
    assert (line["status"], line["model"], line["rows"]) == (200, "colours", 1)
    assert line["compute_s"] > 0
    assert line["bytes_out"] > 100
    *_, last = said[0].split(b"event: done\n")
    assert re.match(rb": server-timing: queue;dur=[\d.]+, batch;dur=[\d.]+, compute;dur=[\d.]+, rows;desc=", last)


def test_calls_over_grpc_have_a_line_each(log: Callable[..., list[Line]], way: ServerPath):
    """Unary calls, each message of a stream, information, health and refused methods have a line."""
    if way is not FAST:
        pytest.skip("gRPC has one path")

    def ask(server: GrpcServing) -> None:
        with server.grpc_client() as client:
            client.infer("double", ones(), headers={"x-request-id": "unary"})
            with pytest.raises(InferenceServerException):
                client.infer("none", ones())
            client.get_model_metadata("double")
            with pytest.raises(InferenceServerException):
                client.get_system_shared_memory_status()
        with server.grpc_client() as client:
            answers: list[object] = []
            client.start_stream(lambda result, error: answers.append(error))
            client.async_stream_infer("double", ones(2), request_id="streamed")
            client.stop_stream()
            assert answers == [None]
        with channel(server) as opened:
            check = opened.unary_unary("/grpc.health.v1.Health/Check")
            check(b"")

    lines = log(ask)
    found = {(line["route"], line["status"]): line for line in lines}
    assert len(lines) == len(found) == 6
    unary = found["grpc ModelInfer", 200]
    assert (unary["path"], unary["request_id"]) == ("/inference.GRPCInferenceService/ModelInfer", "unary")
    assert (unary["client"], unary["model"], unary["rows"]) == ("127.0.0.1", "double", 1)
    assert (found["grpc ModelStreamInfer", 200]["request_id"], found["grpc ModelStreamInfer", 200]["rows"]) == (
        "streamed",
        2,
    )
    assert found["grpc ModelInfer", 404]["error"] == "unknown_model"
    assert {
        ("grpc ModelMetadata", 200),
        ("grpc SystemSharedMemoryStatus", 501),
        ("grpc Check", 200),
    } < found.keys()


def test_cancelled_call_over_grpc_has_a_line(log: Callable[..., list[Line]], way: ServerPath):
    """A call that its caller cancels while it waits has a line with status 499."""
    if way is not FAST:
        pytest.skip("gRPC has one path")

    def ask(server: GrpcServing) -> None:
        model = server.model("double")
        with gated(model), server.grpc_client() as client:
            call = client.async_infer("double", ones(), lambda result, error: None)
            server.until(lambda: not model.dispatcher.is_idle)
            call.cancel()
            server.until(lambda: waiting_rows(model) == 0 and not server.worker.handler.body_budget.held_bytes)

    assert [line["status"] for line in log(ask)] == [499]


def test_live_stream_has_one_line_at_its_end(log: Callable[..., list[Line]], way: ServerPath):
    """A live stream has a line with its messages and bytes; a refused handshake has one with its status."""
    if way is not FAST:
        pytest.skip("a stream has one path")

    def ask(server: GrpcServing) -> None:
        with LiveClient(server, "/v2/models/double/stream") as live:
            live.say(body_of(1.0).decode(), body_of(2.0).decode())
            assert [live.next()["outputs"][0]["data"][0] for _ in range(2)] == [2.0, 4.0]
            live.say(json.dumps({"end": True}))
            live.next()
        server.until(lambda: not server.connections())
        refuse(server, "/v2/models/none/stream")

    opened, refused = log(ask)
    assert (opened["status"], opened["rows"], opened["model"]) == (101, 3, "double")
    assert opened["bytes_in"] > 2 * len(body_of(1.0))
    assert (refused["status"], refused["error"], refused["path"]) == (404, "unknown_model", "/v2/models/none/stream")


def test_fault_of_the_observer_costs_no_answer(store: Path, way: ServerPath, caplog: pytest.LogCaptureFixture):
    """A request is answered even if the end of a request cannot be noted; the log has the fault."""

    class Broken(RequestObserver):
        def begin(self, route: str, headers: dict[bytes, bytes]) -> Trace | None:
            return None

        def end(self, request: RequestEnd) -> None:
            raise ValueError("no room")

    with GrpcServing(settings_of(store, max_rows=8, models=("double",)), way) as server:
        server.worker.handler.observer = Broken()
        with Wire(server) as wire:
            wire.send(request_bytes(body_of(3.0)))
            assert wire.read_y() == 6.0
    assert "no room" in caplog.text
