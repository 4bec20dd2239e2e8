"""Traces: spans of requests, batches, steps and loops, as a receiver of OTLP gets them."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.settings import SettingsError
from service.telemetry.telemetry import Telemetry
from service.transport.grpc.messages import MESSAGES
from tests.support.connections.collector import Collector, attributes_of, collecting
from tests.support.connections.live import LiveClient
from tests.support.gates import gated
from tests.support.grpc_servers import GrpcServing, channel, settings_of
from tests.support.models import graphs
from tests.support.pipelines.models import BLUE, RED, as_row, halves, write_store
from tests.support.servers import FAST, PATHS, ServerPath
from tests.support.wires import INFER, Answer, Wire, body_of, exchange, request_bytes

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra tracing")

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"traceparent: 00-{TRACE}-{CALLER}-01"
UNSAMPLED = f"traceparent: 00-{TRACE}-{CALLER}-00"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


@pytest.fixture
def traced(store: Path, collector: Collector) -> Callable[..., Collector]:
    """Runs a server while something asks it, and gives what the collector has when it has stopped."""

    def run(
        ask: Callable[[GrpcServing], object], way: ServerPath = FAST, root: Path = store, **changes: object
    ) -> Collector:
        usual = {"max_rows": 8, "tracing": True, "trace_ratio": 0.0}
        with GrpcServing(settings_of(root, **usual | changes), way) as server:
            ask(server)
        return collector

    return run


@pytest.mark.parametrize("way", PATHS, ids=lambda way: way.name)
def test_trace_goes_from_the_caller_through_the_request_to_the_batch(traced: Callable[..., Collector], way: ServerPath):
    """The span of a request is the child of its caller's. It and the span of its batch are linked to each other."""
    answers: list[Answer] = []
    asked = request_bytes(body_of(1.0), INFER, PARENT, "tracestate: vendor=1")
    collector = traced(exchange(asked, answers=answers), way, models=("double",))
    (request,), (batch,) = collector.named("POST /v2/models/{model}/infer"), collector.named("batch double")
    assert (request.trace_id.hex(), request.parent_span_id.hex(), request.trace_state) == (TRACE, CALLER, "vendor=1")
    assert request.kind == request.SPAN_KIND_SERVER
    [(_, headers, _)] = answers
    assert headers["traceresponse"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert (batch.trace_id, batch.parent_span_id) == (request.trace_id, request.span_id)
    assert [(link.trace_id, link.span_id) for link in batch.links] == [(request.trace_id, request.span_id)]
    assert [(link.trace_id, link.span_id) for link in request.links] == [(batch.trace_id, batch.span_id)]
    assert request.start_time_unix_nano < batch.start_time_unix_nano <= batch.end_time_unix_nano
    assert batch.end_time_unix_nano <= request.end_time_unix_nano
    about = attributes_of(request)
    assert (about["http.response.status_code"], about["http.route"], about["url.path"]) == (
        200,
        "/v2/models/{model}/infer",
        INFER,
    )
    assert attributes_of(batch) == {
        "sluice.model": "double",
        "sluice.version": "1",
        "sluice.provider": "CPUExecutionProvider",
        "sluice.rows": 1,
        "sluice.padded_rows": 1,
    }
    assert collector.resources[0]["service.name"] == "sluice"


def test_batch_is_linked_to_each_of_its_sampled_requests(traced: Callable[..., Collector]):
    """Requests of other traces that shared a batch are linked to it; those that were not sampled are only counted."""

    def ask(server: GrpcServing) -> None:
        model = server.model("double")
        other = PARENT.replace(TRACE, "1" * 32)
        with gated(model) as gate, ExitStack() as stack:
            first, *others = (stack.enter_context(Wire(server)) for _ in range(4))
            first.send(request_bytes(body_of(0.0)))  # holds the lane, so that the others wait together
            server.until(lambda: not model.dispatcher.is_idle and model.dispatcher.waiting_rows == 0)
            for wire, header in zip(others, (PARENT, other, UNSAMPLED), strict=True):
                wire.send(request_bytes(body_of(1.0), INFER, header))
            server.until(lambda: model.dispatcher.waiting_rows == 3)
            gate.opened.set()
            assert [wire.read()[0] for wire in (first, *others)] == [200] * 4

    collector = traced(ask, models=("double",), lanes=1)
    (batch,) = collector.named("batch double")
    requests = collector.named("POST /v2/models/{model}/infer")
    assert {span.trace_id.hex() for span in requests} == {TRACE, "1" * 32}
    assert {link.span_id for link in batch.links} == {span.span_id for span in requests}
    assert all([link.span_id for link in span.links] == [batch.span_id] for span in requests)
    assert attributes_of(batch)["sluice.rows"] == 3


def test_request_that_is_not_sampled_has_no_span(traced: Callable[..., Collector]):
    """A caller that does not sample, and one that says nothing where the share is 0, have no span and no header."""
    answers: list[Answer] = []
    asked = [request_bytes(body_of(1.0), INFER, header) for header in (UNSAMPLED, "X-Nothing: 1")]
    assert traced(exchange(*asked, answers=answers), models=("double",)).spans == []
    assert [(status, "traceresponse" in headers) for status, headers, _ in answers] == [(200, False)] * 2


def test_share_of_requests_begins_traces(traced: Callable[..., Collector]):
    """With a share of 1 each request of a model begins a trace; pages have none."""
    answers: list[Answer] = []
    ask = exchange(request_bytes(body_of(1.0)), request_bytes(b"", "/v2/health/live", method="GET"), answers=answers)
    (request,) = traced(ask, models=("double",), trace_ratio=1.0).named("POST /v2/models/{model}/infer")
    assert request.parent_span_id == b""
    assert ["traceresponse" in headers for _, headers, _ in answers] == [True, False]


@pytest.mark.parametrize(
    ("request_", "status", "is_failed"),
    [
        (request_bytes(b"{}", INFER, PARENT), 400, False),
        (request_bytes(b"x" * (2 << 20), INFER, PARENT), 413, False),
        (request_bytes(b'{"x": 9}', "/v2/models/exhausting/generate", PARENT), 500, True),
    ],
    ids=["invalid", "too large", "fault"],
)
def test_refused_request_has_a_span(
    traced: Callable[..., Collector], tmp_path: Path, request_: bytes, status: int, is_failed: bool
):
    """Errors have spans with their reason. Only those of the server are failures, as the conventions say."""
    graphs.write_plain(tmp_path, "double", graphs.double())
    graphs.write_plain(tmp_path, "exhausting", graphs.exhausting())
    answers: list[Answer] = []
    collector = traced(exchange(request_, answers=answers), root=tmp_path, max_body_bytes=1 << 20)
    assert answers[0][0] == status
    (request,) = (span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER)
    about = attributes_of(request)
    assert about["http.response.status_code"] == status
    assert about["error.type"]
    assert (request.status.code == request.status.STATUS_CODE_ERROR) == is_failed


def test_context_goes_in_and_out_over_grpc(traced: Callable[..., Collector]):
    """Metadata carry the caller's context, and the trace of the answer. The span has the name of the method."""
    trailing: dict[str, Any] = {}

    def ask(server: GrpcServing) -> None:
        message = MESSAGES["ModelInferRequest"](
            model_name="double", raw_input_contents=[np.ones(3, np.float32).tobytes()]
        )
        message.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        with channel(server) as opened:
            call = opened.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            metadata = [("traceparent", PARENT.partition(": ")[2])]
            _, called = call.with_call(message.SerializeToString(), metadata=metadata)
            trailing.update(called.trailing_metadata())

    (request,) = traced(ask, models=("double",)).named("inference.GRPCInferenceService/ModelInfer")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
    assert trailing["traceresponse"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    about = attributes_of(request)
    assert (about["rpc.system"], about["rpc.method"], about["sluice.rows"]) == ("grpc", "ModelInfer", 1)


def test_live_stream_is_one_span_with_links_to_its_batches(traced: Callable[..., Collector]):
    """The span of a stream ends with it. Each of its rows ran in a batch that it is linked to."""

    def ask(server: GrpcServing) -> None:
        with LiveClient(server, "/v2/models/double/stream", PARENT) as live:
            live.say(body_of(1.0).decode(), body_of(2.0).decode(), json.dumps({"end": True}))
            for _ in range(3):
                live.next()
        server.until(lambda: not server.connections())

    collector = traced(ask, models=("double",))
    (stream,) = collector.named("GET /v2/models/{model}/stream")
    assert stream.parent_span_id.hex() == CALLER
    assert {link.span_id for link in stream.links} == {span.span_id for span in collector.named("batch double")}
    assert len(stream.links) == 2


def test_loop_is_a_span_with_its_steps(traced: Callable[..., Collector], tmp_path: Path):
    """A request that runs a model step by step has one span for the loop, with the number of steps."""
    graphs.write_loop(tmp_path, "counter", graphs.count_up(), {"total": "next_total", "x": None})
    body = json.dumps({"x": 0, "steps": 4}).encode()
    collector = traced(exchange(request_bytes(body, "/v2/models/counter/generate", PARENT)), root=tmp_path)
    (request,), (loop,) = collector.named("POST /v2/models/{model}/generate"), collector.named("loop counter")
    assert loop.parent_span_id == request.span_id
    assert attributes_of(loop)["sluice.steps"] == 4


def test_collector_that_is_not_there_hurts_no_request(
    store: Path, monkeypatch: pytest.MonkeyPatch, collector: Collector
):
    """Requests are answered while nobody takes the spans, and the server stops in time."""
    monkeypatch.setattr("service.telemetry.tracing.STOP_S", 0.1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    settings = settings_of(store, max_rows=8, tracing=True, trace_ratio=1.0, models=("double",))
    with GrpcServing(settings, FAST) as server, Wire(server) as wire:
        for value in range(20):
            wire.send(request_bytes(body_of(value)))
            assert wire.read_y() == 2.0 * value


def test_step_of_a_pipeline_has_a_span(traced: Callable[..., Collector], tmp_path: Path):
    """Each step of a pipeline is a span below its request, and the batches of the step are below it."""
    write_store(tmp_path, "colours")
    body = json.dumps({"inputs": [as_row(halves(RED, BLUE))]}).encode()
    collector = traced(exchange(request_bytes(body, "/pipeline?model=colours", PARENT)), root=tmp_path)
    (request,) = collector.named("POST /pipeline")
    steps = {span.span_id: span for span in collector.spans if span.name.startswith("step ")}
    assert {span.parent_span_id for span in steps.values()} == {request.span_id}
    batches = [span for span in collector.spans if span.name.startswith("batch ")]
    assert batches
    assert {span.parent_span_id for span in batches} <= steps.keys()
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


def test_missing_package_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch, store: Path):
    """Without the extra, the setting is refused with a text that says how to install it."""
    monkeypatch.setitem(sys.modules, "service.telemetry.tracing", None)
    settings = settings_of(store, tracing=True)
    with pytest.raises(SettingsError, match=r"sluice-serving\[tracing\]"):
        Telemetry(settings, None, None, float)  # type: ignore[arg-type]  # they are not reached
