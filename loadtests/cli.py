"""The sub-commands ``sluice loadtest`` and ``sluice bench``.

Exit codes of ``loadtest``: 0 the objective held, 1 it did not (or nothing could be measured), 2 wrong usage.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from rich.console import Console

from loadtests.bench.command import bench, bench_arguments
from loadtests.figures import Figures, NoFigures, read_figures
from loadtests.http_client import Unreachable
from loadtests.objective import Objective, Verdict
from loadtests.rows import make_inputs
from loadtests.run import USERS, Plan, RunFailed, run_locust
from loadtests.signature import NoModel, find_model, read_signature
from loadtests.table import figures_table, verdict_table
from loadtests.termination import exit_on_sigterm

__all__ = ["bench", "bench_arguments", "loadtest", "loadtest_arguments"]

HELD, NOT_HELD, USAGE = 0, 1, 2


def loadtest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", required=True, type=_read_address, metavar="URL", help="server, such as http://127.0.0.1:3000"
    )
    parser.add_argument("--users", default=16, type=_at_least(int, 1), metavar="N", help="callers at once (16)")
    parser.add_argument(
        "--spawn-rate", default=16.0, type=_above_zero, metavar="N", help="callers started per second (16)"
    )
    parser.add_argument(
        "--run-time", default=30, type=_at_least(int, 1), metavar="SECONDS", help="length of the run (30)"
    )
    parser.add_argument(
        "--user",
        default="classify",
        choices=tuple(USERS),
        help="JSON rows to /classify, binary tensors to /v2, or half of the callers each (classify)",
    )
    parser.add_argument("--model", default="", metavar="NAME", help="model to ask (the first ready one)")
    parser.add_argument(
        "--rows-per-request", default=1, type=_at_least(int, 1), metavar="N", help="rows in each request (1)"
    )
    limits = parser.add_argument_group("objective")
    limits.add_argument(
        "--max-error-rate", default=0.0, type=_fraction, metavar="F", help="failed fraction allowed, 0 to 1 (0.0)"
    )
    limits.add_argument(
        "--max-p99-ms", default=250.0, type=_above_zero, metavar="MS", help="99th percentile allowed (250)"
    )
    limits.add_argument(
        "--min-requests", default=1, type=_at_least(int, 1), metavar="N", help="requests that must be made (1)"
    )
    parser.add_argument(
        "--report",
        default=Path("reports/loadtest/report.html"),
        type=_report_path,
        metavar="FILE.html",
        help="HTML report; CSV files and Locust's log go beside it (reports/loadtest/report.html)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures and the verdict as JSON")


def loadtest(args: argparse.Namespace) -> int:
    """Run Locust against a server and compare its figures with the objective."""
    messages = Console(stderr=True)
    if find_spec("locust") is None:
        _complain(messages, "the load generator Locust is not installed: pip install 'sluice-serving[loadtest]'")
        return USAGE
    objective = Objective(args.max_error_rate, args.max_p99_ms / 1000, args.min_requests)
    try:
        model = args.model or find_model(args.host, None if args.user == "binary" else "classify")
        # Checked here as well as in the load generator, so that a wrong address or model is reported at once, in one
        # line.
        make_inputs(read_signature(args.host, model), 1, np.random.default_rng(0))
        plan = Plan(
            host=args.host,
            model=model,
            user=args.user,
            users=args.users,
            spawn_rate_per_s=args.spawn_rate,
            run_time_s=args.run_time,
            rows_per_request=args.rows_per_request,
            report=args.report,
        )
        with exit_on_sigterm():
            run_locust(plan, messages)
        figures = read_figures(plan.csv_prefix)
    except (NoModel, Unreachable, RunFailed, NoFigures) as failure:
        _complain(messages, str(failure))
        return NOT_HELD
    verdict = objective.judge(figures.measured)
    if args.json:
        sys.stdout.write(describe_run(plan, figures, verdict) + "\n")
    else:
        _print_tables(figures, verdict, plan)
    return HELD if verdict.holds else NOT_HELD


def describe_run(plan: Plan, figures: Figures, verdict: Verdict) -> str:
    """Plan, figures and verdict as JSON. A figure without measurements is null."""
    document = {
        "holds": verdict.holds,
        "findings": [asdict(finding) for finding in verdict.findings],
        "total": asdict(figures.total),
        "routes": [asdict(route) for route in figures.routes],
        "failures": [asdict(failure) for failure in figures.failures],
        "plan": {**asdict(plan), "report": str(plan.report)},
    }
    return json.dumps(_without_nan(document), indent=2)


def _print_tables(figures: Figures, verdict: Verdict, plan: Plan) -> None:
    console = Console()
    console.print(figures_table(figures))
    for failure in figures.failures[:5]:
        console.print(f"{failure.count} x {failure.route}: {failure.text}", markup=False, highlight=False)
    console.print(verdict_table(verdict))
    if not figures.total.requests:
        console.print(f"no request was made; see {plan.log}", markup=False)
    console.print(f"report: {plan.report}", markup=False, highlight=False)


def _complain(console: Console, text: str) -> None:
    console.print(f"sluice loadtest: {text}", markup=False, highlight=False, soft_wrap=True)


def _without_nan(value: object) -> object:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"expected an address such as http://127.0.0.1:3000, got {text!r}")
    return text.rstrip("/")


def _at_least(kind: Callable[[str], int], least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text!r}")
        return value

    return read


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _above_zero(text: str) -> float:
    value = _read_number(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _fraction(text: str) -> float:
    value = _read_number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a fraction from 0 to 1, got {text!r}")
    return value


def _report_path(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".html":
        raise argparse.ArgumentTypeError(f"expected a file that ends in .html, got {text!r}")
    return path
