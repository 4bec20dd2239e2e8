"""What a worker uses of its limits, what it refuses, and answers in a content coding."""

import gzip
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import onnxruntime
import pytest

from service.compiled import is_compiled
from service.errors import InvalidInput
from tests.service.models.asking import X
from tests.support.answers import sum_series
from tests.support.gates import gated
from tests.support.models import graphs
from tests.support.servers import PATHS, ServerPath, Serving, settings_for, turn_until

LIMITS = {"max_queue_rows": 50, "max_connections": 60, "max_sequences": 70, "lanes": 1, "max_rows": 8}
INFER = "/v2/models/double/infer"
GRAPH = 'model="double",version="1"'


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.name)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path: ServerPath = request.param
    root = tmp_path_factory.mktemp("usage")
    for name in ("double", "triple", "more"):
        graphs.write_plain(root, name, graphs.double())
    with Serving(settings_for(root, **LIMITS), path) as serving:
        yield serving


def read(server: Serving) -> str:
    return httpx.get(f"{server.url}/metrics").text


def value(text: str, series: str) -> float:
    assert series in text
    return sum_series(text, series)


def test_use_stands_beside_its_limit(server: Serving) -> None:
    """A request that runs and one that waits are in flight, on connections, with their bodies; then nothing is."""
    model, handler = server.worker.registry.find("double"), server.worker.handler

    def ask(_: int) -> int:
        return httpx.post(f"{server.url}{INFER}", json={"inputs": [X]}, timeout=60).status_code

    with ThreadPoolExecutor(2) as pool:
        with gated(model) as gate:
            statuses = [pool.submit(ask, number) for number in range(2)]
            assert gate.entered.acquire(timeout=60)
            turn_until(server.worker._loop, lambda: handler.in_flight == 2 and model.dispatcher.waiting_rows > 0)
            text = read(server)
        assert [status.result() for status in statuses] == [200, 200]
    assert value(text, "sluice_requests_in_flight") == 2
    assert value(text, f'sluice_queue_rows{{graph="main",{GRAPH}}}') == 1
    assert value(text, f'sluice_max_queue_rows{{graph="main",{GRAPH}}}') == 50
    assert value(text, "sluice_connections") >= 3
    assert value(text, "sluice_max_connections") == 60
    assert 0 < value(text, "sluice_held_body_bytes") < value(text, "sluice_max_held_body_bytes")
    assert (value(text, "sluice_sequences"), value(text, "sluice_max_sequences")) == (0, 70)
    assert value(text, "sluice_max_streams") == 70
    turn_until(server.worker._loop, lambda: handler.in_flight == 0)
    assert value(read(server), f'sluice_queue_rows{{graph="main",{GRAPH}}}') == 0


def test_process_and_build_are_told(server: Serving) -> None:
    """The weights are the bytes of the file; versions are those that run; CPU time and lag have been measured."""
    text = read(server)
    assert value(text, f"sluice_model_weight_bytes{{{GRAPH}}}") == len(graphs.double())
    build = f'onnxruntime="{onnxruntime.__version__}",python="{platform.python_version()}"'
    assert build in text
    assert f'compiled="{"yes" if is_compiled() else "no"}"' in text
    assert value(text, "process_cpu_seconds_total") > 0
    assert value(text, "sluice_configured_workers") == value(text, "sluice_workers") == 1
    turn_until(server.worker._loop, lambda: "sluice_event_loop_lag_seconds_count 0.0" not in read_here(server))


def read_here(server: Serving) -> str:
    counts = server.worker.metrics.sums()["sluice_event_loop_lag_seconds"][()]
    return f"sluice_event_loop_lag_seconds_count {sum(counts[:-1])}"


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("GET", "/nowhere", "unknown_route"),
        ("POST", "/metrics", "wrong_method"),
        ("GET", "/v2/models/nobody", "unknown_model"),
        ("GET", INFER, "wrong_method"),
        ("POST", "/v2/models/nobody/infer", "unknown_model"),
        ("POST", "/classify", InvalidInput.reason),
    ],
)
def test_every_refusal_is_counted_with_its_reason(server: Serving, method: str, path: str, reason: str) -> None:
    """Of routes with and without tensors, each once."""
    series = f'sluice_rejected_total{{model="",reason="{reason}"}}'
    before = sum_series(read(server), series)
    assert httpx.request(method, f"{server.url}{path}").status_code in (400, 404, 405)
    turn_until(server.worker._loop, lambda: server.worker.handler.in_flight == 0)
    assert sum_series(read(server), series) == before + 1


@pytest.mark.parametrize("path", ["/metrics", "/models", "/docs.json"])
def test_large_answers_are_compressed_for_those_who_accept_it(server: Serving, path: str) -> None:
    """The content is the same, the header says which coding, and caches keep both apart. Others get it as it is."""
    for accept, coding in (("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None)):
        with httpx.stream("GET", f"{server.url}{path}", headers={"accept-encoding": accept}) as answer:
            body = b"".join(answer.iter_raw())
        assert answer.headers.get("content-encoding") == coding
        assert answer.headers["vary"] == "Accept-Encoding"
        assert int(answer.headers["content-length"]) == len(body)
        content = gzip.decompress(body) if coding else body
        assert (b"sluice_workers" if path == "/metrics" else b"double") in content or path == "/docs.json"
        assert content.startswith(b"#" if path == "/metrics" else b"{")


def test_small_answers_are_not_compressed(tmp_path: Path) -> None:
    """A list of no models would not get shorter."""
    with Serving(settings_for(tmp_path)) as serving:
        answer = httpx.get(f"{serving.url}/models", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert answer.json() == {"models": []}
