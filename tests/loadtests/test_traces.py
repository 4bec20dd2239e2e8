"""A trace begins at the load generator and goes through the server to the batch."""

import os
from pathlib import Path

import pytest

import sluice
from loadtests import cli
from loadtests.sending.traces import Traces
from tests.loadtests.locustfiles import write_locustfile
from tests.support.connections.collector import Collector, collecting
from tests.support.grpc_servers import GrpcServing, settings_of
from tests.support.models.graphs import double, write_plain
from tests.support.servers import FAST

LOCUSTFILE = write_locustfile(5, "BinaryUser", "GrpcUser", "JsonUser")


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collector:
    """What a receiver of OTLP has after a short load test of JSON, binary and gRPC with all requests traced."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra tracing")
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    (tmp_path / "brief.py").write_text(LOCUSTFILE)
    monkeypatch.setattr("loadtests.run.LOCUSTFILE", tmp_path / "brief.py")
    path = [str(Path(cli.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    store = write_plain(tmp_path / "store", "double", double())
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        settings = settings_of(store, max_rows=8, tracing=True, trace_ratio=0.0)
        with GrpcServing(settings, FAST) as server:
            words = ["--host", server.url, "--grpc", server.grpc_url, "--model", "double", "--users", "3"]
            words += ["--protocol", "json,binary,grpc", "--trace", "1", "--max-p99-ms", "60000"]
            words += ["--spawn-rate", "100", "--run-time", "60", "--report", str(tmp_path / "report.html")]
            assert sluice.main(["loadtest", *words]) == 0
        return collector


def test_trace_goes_from_the_generator_to_the_batch(collected: Collector):
    """The trace of a client's span is that of the request's span, and the batch is linked to that."""
    clients = {span.span_id: span for span in collected.spans if span.kind == span.SPAN_KIND_CLIENT}
    requests = {span.span_id: span for span in collected.spans if span.kind == span.SPAN_KIND_SERVER}
    batches = collected.named("batch double")
    assert {span.name for span in clients.values()} == {"/infer (json)", "/infer (binary)", "/infer (grpc)"}
    assert len(requests) >= 15
    for request in requests.values():
        assert clients[request.parent_span_id].trace_id == request.trace_id
    linked = {(link.trace_id, link.span_id) for batch in batches for link in batch.links}
    answered = {(span.trace_id, span.span_id) for span in requests.values()}
    assert linked == answered


def test_share_of_requests_is_traced():
    """Without a share no request carries a context; with one, so many do, each with ids of its own."""
    with Traces(0.0).span("/x") as span:
        assert span.headers == {}
    traces = Traces(1.0)
    traces._processor = None  # nobody takes the spans
    found = set()
    for _ in range(10):
        with traces.span("/x") as span:
            found.add(span.headers["traceparent"])
    assert len(found) == 10
