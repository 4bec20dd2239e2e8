"""The sub-commands ``sluice loadtest`` and ``sluice bench``.

Exit codes of ``loadtest``: 0 the objective held (in every run of a sweep), 1 it did not (or nothing could be measured),
2 wrong usage.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from loadtests.arguments import DEFAULT_POOL, DEFAULT_USERS, find_fault, loadtest_arguments
from loadtests.bench.command import bench, bench_arguments
from loadtests.figures import NoFigures, read_figures
from loadtests.http_client import Request, Unreachable, exchange
from loadtests.objective import Objective
from loadtests.report.page import write_page
from loadtests.report.step import Step, list_notes, tell_verdict
from loadtests.report.table import figures_table, split_table, sweep_table, verdict_table
from loadtests.run import Plan, RunFailed, run_locust
from loadtests.sending.examples import STREAMING_TASKS
from loadtests.sending.grpc_client import try_grpc
from loadtests.sending.load import make_load
from loadtests.server_times import read_counts, subtract
from loadtests.signature import NoModel, find_model, find_task
from loadtests.termination import exit_on_sigterm

__all__ = ["bench", "bench_arguments", "loadtest", "loadtest_arguments"]

HELD, NOT_HELD, USAGE = 0, 1, 2
_GRPC_PORT = 8001


def loadtest(args: argparse.Namespace) -> int:
    """Run Locust against a server and compare its figures with the objective."""
    messages = Console(stderr=True)
    fault = find_fault(args) or _find_lacking(args)
    if fault:
        _complain(messages, fault)
        return USAGE
    try:
        plans = _make_plans(args)
        with exit_on_sigterm():
            steps = [_run(plan, args, messages, number, len(plans)) for number, plan in enumerate(plans, 1)]
    except (NoModel, Unreachable, RunFailed, NoFigures) as failure:
        _complain(messages, str(failure))
        return NOT_HELD
    args.report.write_text(write_page(steps), "utf-8")
    if args.json:
        sys.stdout.write(describe_steps(steps) + "\n")
    else:
        _print_tables(steps, args.report)
    return HELD if all(step.verdict.holds for step in steps) else NOT_HELD


def _find_lacking(args: argparse.Namespace) -> str:
    if find_spec("locust") is None:
        return "the load generator Locust is not installed: pip install 'sluice-serving[loadtest]'"
    if "grpc" in args.protocol and find_spec("grpc") is None:
        return "--protocol grpc: grpcio is not installed: pip install 'sluice-serving[grpc]'"
    if "live" in args.protocol and find_spec("websocket") is None:
        return "--protocol live: websocket-client is not installed: pip install 'sluice-serving[loadtest]'"
    return ""


def _make_plans(args: argparse.Namespace) -> list[Plan]:
    """A plan for each run. Raises NoModel, Unreachable."""
    model = args.model or _choose_model(args)
    protocols = args.protocol or (("task",) if find_task(args.host, model) != "tensors" else ("json",))
    # Made here as well as in the load generator, so that a wrong address, model or body is reported at once, in one
    # line.
    load = make_load(args.host, model, protocols, args.rows_per_request, args.body)
    grpc_address = (args.grpc or f"{urlsplit(args.host).hostname}:{_GRPC_PORT}") if "grpc" in protocols else ""
    for protocol in protocols:
        body = load.bodies[protocol][0]
        if protocol == "live":
            continue  # it has been asked whether it takes them
        if protocol == "grpc":
            try_grpc(grpc_address, body.content)
        else:
            _try(args.host, Request(load.path(protocol), "POST", body.headers, body.content))
    plan = Plan(
        host=args.host,
        model=model,
        protocols=protocols,
        users=args.users or (DEFAULT_POOL if args.rate else DEFAULT_USERS),
        spawn_rate_per_s=args.spawn_rate,
        run_time_s=args.run_time,
        rows_per_request=args.rows_per_request,
        report=args.report,
        body=args.body,
        rate_per_s=args.rate,
        grpc=grpc_address,
        traced_share=args.trace,
    )
    return [_with_users(plan, users) for users in args.sweep] if args.sweep else [plan]


def _with_users(plan: Plan, users: int) -> Plan:
    report = plan.report.with_name(f"{plan.report.stem}-{users}.html")
    return replace(plan, users=users, report=report, spawn_rate_per_s=max(plan.spawn_rate_per_s, users))


def _choose_model(args: argparse.Namespace) -> str:
    tasks = STREAMING_TASKS if "stream" in args.protocol else ("classify", None)
    for task in tasks[:-1]:
        try:
            return find_model(args.host, task)
        except NoModel:
            continue
    return find_model(args.host, tasks[-1])


def _try(host: str, request: Request) -> None:
    """Send one request before the run. Raises NoModel if the server refuses it; its failures are for the run to see."""
    answer = exchange(host, request, timeout_s=60.0)
    if 400 <= answer.status < 500 and answer.status != 429:
        said = answer.body[:300].decode("utf-8", "replace")
        raise NoModel(f"POST {host}{request.path} answered {answer.status}: {said}")


def _run(plan: Plan, args: argparse.Namespace, messages: Console, number: int, count: int) -> Step:
    if count > 1:
        told = f"run {number} of {count}: {plan.users} at once for {plan.run_time_s} s"
        messages.print(told, markup=False, highlight=False)
    before = read_counts(plan.host, plan.model)
    run_locust(plan, messages)
    times = subtract(read_counts(plan.host, plan.model), before)
    figures = read_figures(plan.csv_prefix)
    objective = Objective(args.max_error_rate, args.max_p99_ms / 1000, args.min_requests)
    return Step(plan, figures, objective.judge(figures.measured), times)


def describe_steps(steps: Sequence[Step]) -> str:
    """Plan, figures and verdict as JSON, of one run or of each run of a sweep. What was not measured is null."""
    described = [_describe(step) for step in steps]
    facts = {"holds": all(step.verdict.holds for step in steps), "verdict": tell_verdict(steps)}
    document = {**facts, **(described[0] if len(steps) == 1 else {"steps": described}), "notes": list_notes(steps)}
    return json.dumps(_without_nan(document), indent=2, default=str)


def _describe(step: Step) -> dict[str, Any]:
    server = asdict(step.times) | {"rest_s": step.rest_s} if step.times else None
    return {
        "holds": step.verdict.holds,
        "findings": [asdict(finding) for finding in step.verdict.findings],
        "total": asdict(step.figures.total),
        "server": server,
        "routes": [asdict(route) for route in step.figures.routes],
        "failures": [asdict(failure) for failure in step.figures.failures],
        "generator": asdict(step.figures.generator),
        "plan": asdict(step.plan),
    }


def _print_tables(steps: Sequence[Step], report: Path) -> None:
    console = Console(highlight=False)
    holds = all(step.verdict.holds for step in steps)
    console.print(Text(tell_verdict(steps), style="bold green" if holds else "bold red"), soft_wrap=True)
    for note in list_notes(steps):
        console.print(Text(note), soft_wrap=True)
    console.print()
    if len(steps) == 1:
        console.print(verdict_table(steps[0].verdict), "", figures_table(steps[0].figures), "", split_table(steps[0]))
        _print_failures(console, steps[0])
    else:
        console.print(sweep_table(steps))
        console.print("times in ms; rest, queue, batch and run are means; rows: of a run", style="dim")
    console.print(f"\nreport: {report}", markup=False, soft_wrap=True)


def _print_failures(console: Console, step: Step) -> None:
    for failure in step.figures.failures[:5]:
        console.print(f"{failure.count} x {failure.route}: {failure.text}", markup=False, soft_wrap=True)
    if not step.figures.total.requests:
        console.print(f"no request was made; see {step.plan.log}", markup=False, soft_wrap=True)


def _complain(console: Console, text: str) -> None:
    console.print(f"sluice loadtest: {text}", markup=False, highlight=False, soft_wrap=True)


def _without_nan(value: object) -> object:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
