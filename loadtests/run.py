"""One Locust run in another process, because Locust patches the standard library with gevent."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LOCUSTFILE = Path(__file__).with_name("locustfile.py")

USERS = {
    "task": "TaskUser",
    "json": "JsonUser",
    "binary": "BinaryUser",
    "grpc": "GrpcUser",
    "stream": "StreamUser",
    "live": "LiveUser",
}
"""The choices of ``--protocol`` and the Locust user that each one starts."""

STOP_TIMEOUT_S = 5
"""How long running requests may take at the end of the run, so that they are counted."""

GRACE_S = 60
"""How long Locust may take beyond the run's length, for starting and writing reports. Then it is ended."""

PROGRESS_INTERVAL_S = 0.25


class RunFailed(Exception):
    """Locust itself failed; the text has the end of its log."""


@dataclass(frozen=True)
class Plan:
    """One load test: who asks what, how long, and where the report goes.

    ``rate_per_s`` is that of an open loop; 0: each of the ``users`` sends when its last request is answered.
    """

    host: str
    model: str
    protocols: tuple[str, ...]
    users: int
    spawn_rate_per_s: float
    run_time_s: int
    rows_per_request: int
    report: Path
    body: Path | None = None
    rate_per_s: float = 0.0
    grpc: str = ""
    traced_share: float = 0.0

    @property
    def csv_prefix(self) -> Path:
        return self.report.with_suffix("")

    @property
    def log(self) -> Path:
        return self.report.with_suffix(".log")

    @property
    def locust_page(self) -> Path:
        """Locust's own report, with charts over time."""
        return self.report.with_name(f"{self.report.stem}_locust.html")

    @property
    def command(self) -> list[str]:
        users = [USERS[name] for name in self.protocols][: self.users]  # a single caller can only be of one kind
        more = ["--body", str(self.body)] if self.body else []
        more += ["--rate", str(self.rate_per_s)] if self.rate_per_s else []
        more += ["--grpc", self.grpc] if self.grpc else []
        more += ["--trace", str(self.traced_share)] if self.traced_share else []
        spawn_rate_per_s = self.users if self.rate_per_s else self.spawn_rate_per_s  # an open loop begins with all
        return [
            sys.executable,
            *("-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
            *("--host", self.host, "--users", str(self.users), "--spawn-rate", str(spawn_rate_per_s)),
            *("--run-time", f"{self.run_time_s}s", "--stop-timeout", str(STOP_TIMEOUT_S)),
            *("--model", self.model, "--rows-per-request", str(self.rows_per_request)),
            *("--html", str(self.locust_page), "--figures", str(self.csv_prefix)),
            *more,
            # The objective judges failed requests. Any other exit code means that Locust failed.
            *("--exit-code-on-error", "0"),
            *users,
        ]


def run_locust(plan: Plan, console: Console) -> None:
    """Run ``plan`` to its end, showing progress on ``console``; raises RunFailed."""
    plan.report.parent.mkdir(parents=True, exist_ok=True)
    for old in _outputs(plan):
        old.unlink(missing_ok=True)  # figures of an earlier run must not be taken for this one's
    with plan.log.open("wb") as log:
        process = subprocess.Popen(plan.command, stdout=log, stderr=subprocess.STDOUT, env=_environment())
        try:
            code = _await_end(process, plan, console)
        finally:
            _end(process)
    if code != 0:
        raise RunFailed(
            f"Locust ended with code {code} instead of 0; the end of {plan.log}:\n"
            + "\n".join(plan.log.read_text("utf-8", "replace").splitlines()[-15:])
        )


def _outputs(plan: Plan) -> list[Path]:
    figures = (Path(f"{plan.csv_prefix}{name}") for name in ("_stats.csv", "_failures.csv", "_generator.json"))
    return [plan.report, plan.locust_page, plan.log, *figures]


def _environment() -> dict[str, str]:
    """This process's environment with this package on its path and without settings for Locust."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    above = str(LOCUSTFILE.parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [above, environment.get("PYTHONPATH")]))
    return environment


def _await_end(process: "subprocess.Popen[bytes]", plan: Plan, console: Console) -> int:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    limit_s = plan.run_time_s + STOP_TIMEOUT_S + GRACE_S
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        loop = f"{plan.rate_per_s:g} requests/s" if plan.rate_per_s else f"{plan.users} callers"
        task = progress.add_task(f"{loop} on {plan.host}", total=plan.run_time_s)
        for _ in range(int(limit_s / PROGRESS_INTERVAL_S)):
            try:
                return process.wait(PROGRESS_INTERVAL_S)
            except subprocess.TimeoutExpired:
                progress.advance(task, PROGRESS_INTERVAL_S)
    raise RunFailed(f"Locust was still running {limit_s} s after its start and was ended; see {plan.log}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
