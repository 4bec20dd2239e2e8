"""Triton's perf_analyzer against a server: one row of figures for each form of the body and number of callers.

``python -m tests.conformance.performance`` prints the table of docs/protocol.md.
"""

import csv
import platform
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime

from model_store import DEFAULT_ROOT
from tests.conformance.clients import run_client
from tests.support.processes import free_port, served
from tests.support.servers import settings_for

MODEL = "digits-classifier"
CALLERS = (1, 2, 4, 8, 16, 32)
_JSON = ("-i", "http", "--input-tensor-format", "json", "--output-tensor-format", "json")
FORMS: Mapping[str, Sequence[str]] = {"JSON": _JSON, "binary": ("-i", "http"), "gRPC": ("-i", "grpc")}
COLUMNS = {
    "Inferences/Second": "requests/s",
    "p50 latency": "p50 µs",
    "p99 latency": "p99 µs",
    "Server Queue": "queue µs",
    "Server Compute Input": "input µs",
    "Server Compute Infer": "run µs",
    "Server Compute Output": "output µs",
}
"""Columns of the report, by the name that they get here."""


def measure(url: str, form: str, callers: int, requests: int = 2000) -> dict[str, float]:
    """The columns of one report, of a window of so many requests that was stable. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.csv"
        windows = ("--measurement-mode", "count_windows", "--measurement-request-count", str(requests))
        stable = ("-s", "30", "-r", "10", "--percentile", "99")
        command = ("-m", MODEL, "-u", url, *FORMS[form], *windows, *stable)
        done = run_client("perf", "perf_analyzer", *command, "--concurrency-range", str(callers), "-f", str(report))
        if done.returncode or not report.exists():
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        [row] = csv.DictReader(report.read_text().splitlines())
    return {name: float(row[column]) for column, name in COLUMNS.items()}


def main() -> None:
    """Print the table, with what it was measured on."""
    grpc_port = free_port()
    with served(settings_for(DEFAULT_ROOT, provider="cpu", models=(MODEL,), grpc_port=grpc_port)) as server:
        print(f"{platform.platform()}, Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}\n")
        print(f"| form | callers | {' | '.join(COLUMNS.values())} |\n|{'---|' * (len(COLUMNS) + 2)}")
        for form in FORMS:
            url = f"127.0.0.1:{grpc_port if form == 'gRPC' else server.port}"
            for callers in CALLERS:
                figures = measure(url, form, callers)
                print(
                    f"| {form} | {callers} | {' | '.join(f'{value:,.0f}' for value in figures.values())} |", flush=True
                )


if __name__ == "__main__":
    main()
