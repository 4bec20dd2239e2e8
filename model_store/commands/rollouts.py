"""``sluice models canary`` and ``shadow``."""

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from model_store.commands.action import WrongUsage, add_json, add_model
from model_store.display.table import say
from model_store.maintenance.rollouts import begin_canary, begin_shadow, end_role
from model_store.manifest import describe
from model_store.rollout import MOST_PERCENT, Canary, Limits, Shadow, read_rollout
from model_store.store import Store

_USUAL = Limits()


def add_canary_arguments(parser: argparse.ArgumentParser) -> None:
    _add_arguments(parser, f"part of the requests that it answers, up to {MOST_PERCENT:g} [5]")
    parser.add_argument(
        "--header", help="requests with the same value of this header get the same version (default: chance)"
    )
    limits = parser.add_argument_group("how much worse than the stable version it may be before it goes back")
    for option, default, text in (
        ("--max-errors", _USUAL.errors, "how much higher its error rate may be; 0.01: one percentage point"),
        ("--max-p99", _USUAL.p99_ratio, "how many times as long its p99 may be"),
        ("--max-disagreement", _USUAL.disagreement, "part of its answers that may differ; 1: all"),
        ("--confidence", _USUAL.confidence, "how sure the server must be, from 0.5 to 1"),
    ):
        limits.add_argument(option, type=float, metavar="NUMBER", help=f"{text} [{default:g}]")


def add_shadow_arguments(parser: argparse.ArgumentParser) -> None:
    _add_arguments(parser, "part of the requests of which it gets a copy [100]")


def _add_arguments(parser: argparse.ArgumentParser, percent: str) -> None:
    add_model(parser)
    parser.add_argument("version", nargs="?", help="number or alias; without one, the present one is shown")
    parser.add_argument("--percent", type=float, metavar="NUMBER", help=percent)
    parser.add_argument("--end", action="store_true", help="end it: the stable version answers all requests")
    add_json(parser, "it")


def run_canary(store: Store, args: argparse.Namespace) -> int:
    def begin(now: str) -> Canary:
        asked = {
            "errors": args.max_errors,
            "p99_ratio": args.max_p99,
            "disagreement": args.max_disagreement,
            "confidence": args.confidence,
        }
        limits = Limits(**{name: value for name, value in asked.items() if value is not None})
        header = None if args.header is None else args.header.lower()
        return begin_canary(store, args.model, args.version, _percent(args, 5.0), header, limits, now)

    return _run(store, args, "canary", begin)


def run_shadow(store: Store, args: argparse.Namespace) -> int:
    return _run(
        store,
        args,
        "shadow",
        lambda now: begin_shadow(store, args.model, args.version, _percent(args, 100.0), now),
    )


def _percent(args: argparse.Namespace, usual: float) -> float:
    return usual if args.percent is None else float(args.percent)


def _run(store: Store, args: argparse.Namespace, role: str, begin: Callable[[str], Canary | Shadow]) -> int:
    store.versions(args.model)  # raises for a model that is not there
    if args.end:
        if args.version is not None:
            raise WrongUsage("--end: expected no version with it")
        version = end_role(store, args.model, role)
        _print(args, role, None, f"version {version} is no {role} any more")
    elif args.version is not None:
        try:
            facts = begin(datetime.now(UTC).isoformat(timespec="milliseconds"))
        except ValidationError as error:
            raise WrongUsage(describe(error)) from None
        _print(args, role, facts, _describe(facts))
    else:
        rollout = read_rollout(store.folder(args.model))
        found = rollout.canary if role == "canary" else rollout.shadow
        _print(args, role, found, f"there is no {role}" if found is None else _describe(found))
    return 0


def _print(args: argparse.Namespace, role: str, facts: Canary | Shadow | None, text: str) -> None:
    if args.json:
        told: dict[str, Any] = {"name": args.model, role: None if facts is None else facts.model_dump()}
        print(json.dumps(told))
    else:
        say(Console(highlight=False), f"{args.model}: {text}")


def _describe(facts: Canary | Shadow) -> str:
    if isinstance(facts, Shadow):
        return f"version {facts.version} gets copies of {facts.percent:g} % of the requests"
    if facts.returned:
        return f"version {facts.version} went back to the stable version: {facts.returned}"
    by = f", by the header {facts.header}" if facts.header else ""
    return f"version {facts.version} answers {facts.percent:g} % of the requests{by}"
