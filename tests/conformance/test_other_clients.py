"""Clients that have environments of their own: KServe's, perf_analyzer, and schemathesis over the OpenAPI document."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest

from model_store import DEFAULT_ROOT, Store
from tests.conformance.clients import run_client
from tests.conformance.performance import CALLERS, FORMS, MODEL, measure
from tests.support.models import graphs, triton_models, triton_sequences
from tests.support.processes import Process, free_port, served
from tests.support.servers import settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GRPC_PORT = free_port()


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    """All reference models, over HTTP and gRPC. Without shared memory its routes would be 501."""
    with served(settings_for(DEFAULT_ROOT, provider="cpu", grpc_port=GRPC_PORT, shared_memory=("a-*",))) as process:
        yield process


def test_line_17_kserve_clients_are_answered(server: Process) -> None:
    """KServe's clients for both its protocols and for gRPC read health and get the probabilities of the golden rows."""
    golden = Store(DEFAULT_ROOT).find(MODEL).read_golden(Store(DEFAULT_ROOT).find(MODEL).read_manifest())
    assert golden is not None
    rows = golden.inputs["image"][:2]
    calls = Path(__file__).with_name("kserve_calls.py")
    done = run_client("kserve", "python", str(calls), server.url, f"127.0.0.1:{GRPC_PORT}", json.dumps(rows.tolist()))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.partition("RESULT")[2])
    rest = ("v1 live", "v1 model ready", "live", "ready", "model ready")
    healthy = (*rest, "grpc live", "grpc ready", "grpc model ready")
    assert {name: found[name] for name in healthy} == dict.fromkeys(healthy, True)
    assert found["unknown"] == [404, 404]
    for name, expected in golden.outputs.items():
        for form in ("json", "binary", "grpc"):
            np.testing.assert_allclose(found[form][name], expected[:2], atol=1e-4, err_msg=form)
        np.testing.assert_allclose([row[name] for row in found["v1"]], expected[:2], atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_line_16_perf_analyzer_reports_where_time_goes(server: Process, form: str) -> None:
    """The report has the time in the queue and in the run at each number of callers."""
    for callers in CALLERS:
        port = GRPC_PORT if form == "gRPC" else server.port
        figures = measure(f"127.0.0.1:{port}", form, callers, requests=500)
        assert figures["requests/s"] > 0
        assert figures["run µs"] > 0
        assert figures["queue µs"] + figures["run µs"] < 1e6 * callers / figures["requests/s"]
        assert callers < 4 or figures["queue µs"] > 0


SEQUENCES = {"data": [[{"x": [1.0]}, {"x": [2.0]}, {"x": [4.0]}], [{"x": [10.0]}, {"x": [20.0]}]]}
TOTALS = [[1.0, 3.0, 7.0], [10.0, 30.0]]
ADDERS = {"adder": "next_total", "accumulator": "y"}
"""Models that add up what they get, plain and with a configuration of Triton, and the output that has the total."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Where the adders and models of a Triton repository are served: over HTTP, over gRPC."""
    root = tmp_path_factory.mktemp("repository")
    shapes = [((1,), ()), ((4, 4), (16,))]
    graphs.write_loop(root, "adder", graphs.add_up(), {"total": "next_total", "x": None})
    triton_sequences.write_accumulator(root, "FP32", 8, name="accumulator")
    triton_models.write_add_sub(root, ("FP32", "FP32", "INT32"), (16,), True, name="add_sub")
    triton_models.write_identities(root, "shaped", "FP32", shapes, [((1,), ()), ((16,), (16,))], True)
    port = free_port()
    with served(settings_for(root, provider="cpu", grpc_port=port, shared_memory=("INPUT*", "OUTPUT*"))) as process:
        yield f"127.0.0.1:{process.port}", f"127.0.0.1:{port}"


def analyze(url: str, *arguments: str, model: str) -> subprocess.CompletedProcess[str]:
    windows = ("--measurement-mode", "count_windows", "--measurement-request-count", "200", "-s", "50", "-r", "10")
    return run_client("perf", "perf_analyzer", "-m", model, "-u", url, *windows, *arguments)


SEQUENCE_FORMS = {
    "http": ("-i", "http", "--concurrency-range", "4"),
    "grpc": ("-i", "grpc", "--concurrency-range", "4"),
    "grpc stream": ("-i", "grpc", "--streaming", "--concurrency-range", "4"),
}


@pytest.mark.parametrize("form", SEQUENCE_FORMS)
@pytest.mark.parametrize("model", ADDERS)
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_line_16_perf_analyzer_checks_sequences(
    repository: tuple[str, str], tmp_path: Path, form: str, model: str, right: bool
) -> None:
    """perf_analyzer sends four sequences at a time and gets its totals and no others, also of Triton's models."""
    told = tmp_path / "sequences.json"
    wrong_by = 0.0 if right else 1.0
    totals = [[{ADDERS[model]: [total + wrong_by]} for total in sequence] for sequence in TOTALS]
    told.write_text(json.dumps({**SEQUENCES, "validation_data": totals}))
    done = analyze(repository["grpc" in form], *SEQUENCE_FORMS[form], "--input-data", str(told), model=model)
    if right:
        assert done.returncode == 0, done.stdout + done.stderr
        assert int(re.findall(r"Sequence count: (\d+)", done.stdout)[-1]) >= 40
    else:
        assert done.returncode != 0
        assert "Output doesn't match expected output" in done.stdout + done.stderr


@pytest.mark.parametrize("form", ["http", "grpc"])
@pytest.mark.parametrize("ids", [("--num-of-sequences", "4"), ("--sequence-id-range", "5:9", "--serial-sequences")])
def test_line_16_perf_analyzer_makes_sequences(repository: tuple[str, str], form: str, ids: tuple[str, ...]) -> None:
    """perf_analyzer makes sequences at a rate of requests too, several at once or with ids of a range."""
    made = ("--request-rate-range", "400", "--sequence-length", "5", "--sequence-length-variation", "0", *ids)
    done = analyze(repository[form == "grpc"], "-i", form, *made, model="adder")
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.findall(r"\(([\d.]+) seq/sec\)", done.stdout)[-1]) > 0


@pytest.mark.parametrize("form", ["http", "grpc"])
@pytest.mark.parametrize("name", ["add_sub", "shaped"])
def test_perf_analyzer_sends_batches_as_configured(repository: tuple[str, str], form: str, name: str) -> None:
    """It makes requests of eight rows from the dims of the configuration, and all are answered."""
    done = analyze(repository[form == "grpc"], "-i", form, "-b", "8", "--concurrency-range", "2", model=name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.findall(r"Throughput: ([\d.]+) infer/sec", done.stdout)[-1]) > 0


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_perf_analyzer_passes_tensors_in_shared_memory(repository: tuple[str, str], form: str) -> None:
    """It registers regions for inputs and outputs, whose requests are answered, and unregisters them."""
    shared = ("--shared-memory", "system", "--output-shared-memory-size", "4096", "-b", "8")
    done = analyze(repository[form == "grpc"], "-i", form, *shared, "--concurrency-range", "2", model="add_sub")
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.findall(r"Throughput: ([\d.]+) infer/sec", done.stdout)[-1]) > 0
    status = httpx.get(f"http://{repository[0]}/v2/systemsharedmemory/status")
    assert status.json() == []


def run_schemathesis(folder: Path, url: str, *arguments: str, options: Sequence[str] = ()) -> None:
    """Requests made from the published document, valid and not, with its examples."""
    checks = (
        *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
        *("response_headers_conformance", "unsupported_method", "allow_header_conformance"),
    )
    bounds = ("--max-examples", "30", "--seed", "6", "--workers", "1", "--request-timeout", "20")
    done = run_client(
        *("schemathesis", "schemathesis", *options),
        *("run", f"{url}/docs.json", "--url", url, *bounds, "--checks", ",".join(checks)),
        *("--phases", "examples,coverage,fuzzing", "--no-color", *arguments),
        timeout_s=500,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_schemathesis_gets_what_the_document_says(server: Process, tmp_path: Path) -> None:
    """Every route: no 5xx at all, and statuses, types, bodies and headers as the document says."""
    run_schemathesis(tmp_path, server.url, "--max-time", "90")


def test_schemathesis_changes_a_server_that_lets_it(tmp_path: Path) -> None:
    """The same of models loaded, traces and logs where the settings allow it. Unloading would make all others 503.

    The only 5xx is the 501 that the protocol has for parts of it that a server does not offer, such as a trace's file.
    """
    config = Path(__file__).with_name("schemathesis.toml")
    with served(settings_for(DEFAULT_ROOT, provider="cpu", control=True)) as process:
        changes = ("--include-tag", "administration", "--exclude-path-regex", "unload")
        run_schemathesis(tmp_path, process.url, *changes, "--max-time", "40", options=("--config-file", str(config)))
