"""Triton's perf_analyzer, a client in C++ that speaks HTTP and gRPC and uses shared memory.

It is in the wheel of an old `tritonclient`, and linked to CUDA's runtime, which is a wheel too.
"""

import csv
import dataclasses
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.bench.load.wrk import Sample, WrkFailed
from loadtests.bench.models.model import INPUT, OUTPUT, BenchModel
from loadtests.bench.peer import BINARY
from loadtests.bench.peers.sluice import PEER
from loadtests.bench.results.transport_verdict import GRPC, GRPC_SHARED, SHARED, STREAMS

ANALYZER = dataclasses.replace(
    PEER,
    name="perf_analyzer",
    requirements=("tritonclient==2.50.0", "nvidia-cuda-runtime-cu12"),
    distributions=("tritonclient",),
    facts=dict,
)
"""Not a server: only its environment is used."""
FORMS: Mapping[str, Sequence[str]] = {
    BINARY: ("-i", "http"),
    GRPC: ("-i", "grpc"),
    STREAMS: ("-i", "grpc", "--streaming"),
    SHARED: ("-i", "http", "--shared-memory", "system"),
    GRPC_SHARED: ("-i", "grpc", "--shared-memory", "system"),
}
REGIONS = f"{INPUT}*,{OUTPUT}*"
"""What it calls its regions."""
_OUTPUT_BYTES = 4096
_WINDOWS, _MOST_WINDOWS = 3, 10
"""It takes three windows of time at least, and more if they do not agree. The rounds show what varies, so they may."""
_AGREEMENT_PERCENT = 1000
_GRACE_S = 60.0
_RATE, _P50, _P99 = "Inferences/Second", "p50 latency", "p99 latency"


@dataclasses.dataclass(frozen=True)
class Analyzer:
    """``python`` is that of the environment that has it. Reports go into ``folder``."""

    python: Path
    folder: Path

    def command(self, model: BenchModel, form: str, clients: int, url: str, window_s: float) -> list[str]:
        return [
            *(str(self.python.with_name("perf_analyzer")), "-m", model.name, "-u", url, *FORMS[form]),
            *("--shape", f"{INPUT}:{','.join(map(str, model.row_shape))}", "--concurrency-range", str(clients)),
            *("--max-threads", str(clients)),  # else fewer threads, and so fewer streams
            *("--output-shared-memory-size", str(_OUTPUT_BYTES)),
            *("--measurement-mode", "time_windows", "-p", str(round(window_s * 1e3))),
            *("-s", str(_AGREEMENT_PERCENT), "-r", str(_MOST_WINDOWS), "--percentile", "99", "-f", str(self.report)),
        ]

    @property
    def report(self) -> Path:
        return self.folder / "perf_analyzer.csv"

    def run(self, model: BenchModel, form: str, clients: int, url: str, window_s: float) -> Sample:
        """One round. Raises WrkFailed with the end of what it says; a wrong status is such a failure too."""
        self.report.unlink(missing_ok=True)
        libraries = next(self.python.parents[1].glob("lib/python*/site-packages/nvidia/cuda_runtime/lib"), Path())
        command = self.command(model, form, clients, url, window_s)
        limit_s = _MOST_WINDOWS * window_s + _GRACE_S
        try:
            done = subprocess.run(
                command, env={"LD_LIBRARY_PATH": str(libraries)}, capture_output=True, text=True, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            text = f"perf_analyzer, {form}, {clients} clients: it was still running after {limit_s:.0f} s"
            raise WrkFailed(text) from None
        if done.returncode != 0 or not self.report.exists():
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
            raise WrkFailed(f"perf_analyzer, {form}, {clients} clients: it ended with code {done.returncode}:\n{tail}")
        return read_report(self.report.read_text(), _WINDOWS * window_s)


def read_report(text: str, duration_s: float) -> Sample:
    """The figures of its report. Raises WrkFailed."""
    try:
        [row] = csv.DictReader(text.splitlines())
        rate, p50_us, p99_us = (float(row[name]) for name in (_RATE, _P50, _P99))
    except (ValueError, KeyError) as failure:
        raise WrkFailed(f"perf_analyzer has written a report that cannot be read: {failure!r}: {text[:300]}") from None
    return Sample(round(rate * duration_s), duration_s, 0, 0, 0, 0, p50_us / 1e6, p99_us / 1e6)
