"""The commands ``sluice train``, ``sluice export`` and ``sluice check``: arguments, progress, and the table at the end.

Exit codes: 0 all published, 1 something failed and is not in the store, 2 the command was used wrongly.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from export import report
from export.errors import NotPublished, UnknownRecipe
from export.publish import publish
from export.source import Misuse, load_spec
from export.spec import ExportSpec, Progress
from export.zoo import RECIPES, load_recipe
from model_store import DEFAULT_ROOT, ModelVersion, Store, StoreError

STORE_VARIABLE = "SLUICE_STORE"
FAILED, MISUSED = 1, 2
_NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime", "sklearn")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one model: the version, or why there is none."""

    name: str
    version: ModelVersion | None = None
    error: str | None = None


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sluice train``."""
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"reference models: {', '.join(sorted(RECIPES))}")
    parser.add_argument("--all", action="store_true", help="train every reference model")
    parser.add_argument("--seed", type=int, default=0, help="of the training; the same seed gives the same weights")
    _common_arguments(parser)


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sluice export``."""
    parser.add_argument(
        "source", metavar="FILE.py:NAME", help="an ExportSpec, or a function without arguments that returns one"
    )
    _common_arguments(parser)


def _common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", type=Path, default=None, help=f"where to publish (default: ${STORE_VARIABLE}, else the own models)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def train(args: argparse.Namespace) -> int:
    """``sluice train``: train, prove and publish reference models; one that fails does not keep the others from it."""
    return _guard(lambda: _train(args))


def export_model(args: argparse.Namespace) -> int:
    """``sluice export``: prove and publish the model that a Python file describes."""
    return _guard(lambda: _export(args))


def _guard(command: Callable[[], int]) -> int:
    try:
        _require_packages()
        return command()
    except Misuse as error:
        report.print_error(_console(), str(error))
        return MISUSED
    except KeyboardInterrupt:
        report.print_error(_console(), "interrupted: nothing of the unfinished model was published")
        return FAILED


def _train(args: argparse.Namespace) -> int:
    names = sorted(RECIPES) if args.all else list(dict.fromkeys(args.names))
    if not names or (args.all and args.names):
        raise Misuse(f"say which model to train, or --all: there are {', '.join(sorted(RECIPES))}")
    try:
        recipes = {name: load_recipe(name) for name in names}
    except UnknownRecipe as error:
        raise Misuse(str(error)) from None
    store = Store(find_root(args.store, os.environ))
    outcomes = [_publish_one(name, store, partial(recipe.train, args.seed)) for name, recipe in recipes.items()]
    return _finish(outcomes, args.json)


def _export(args: argparse.Namespace) -> int:
    try:
        spec = load_spec(args.source)
    except NotPublished as error:
        return _finish([Outcome(args.source, error=str(error))], args.json)
    store = Store(find_root(args.store, os.environ))
    return _finish([_publish_one(spec.name, store, lambda _: spec)], args.json)


def _publish_one(name: str, store: Store, make: Callable[[Progress], ExportSpec]) -> Outcome:
    try:
        with report.show_progress(_console(), name) as progress:
            return Outcome(name, version=publish(make(progress), store, progress))
    except (NotPublished, StoreError, OSError) as error:
        return Outcome(name, error=str(error))


def _finish(outcomes: list[Outcome], as_json: bool) -> int:
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        report.print_error(_console(), f"{outcome.name} was not published: {outcome.error}")
    published = {o.name: (o.version, o.version.read_manifest()) for o in outcomes if o.version is not None}
    if as_json:
        errors = {outcome.name: outcome.error for outcome in failed}
        sys.stdout.write(json.dumps(report.as_record(published, errors), indent=1) + "\n")
    elif published:
        report.print_table(Console(), published)
    return FAILED if failed else 0


def _require_packages() -> None:
    for package in _NEEDED:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise Misuse(
                f"{package} cannot be imported ({error}): install what this command needs with "
                "pip install 'sluice-serving[cpu,export]'"
            ) from None


def _console() -> Console:
    return Console(stderr=True)


def find_root(argument: Path | None, environment: Mapping[str, str]) -> Path:
    """Where to publish: the argument, else the environment's, else the reference models of the project."""
    if argument is not None:
        return argument
    return Path(environment[STORE_VARIABLE]) if environment.get(STORE_VARIABLE) else DEFAULT_ROOT


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sluice check``."""
    parser.add_argument("file", metavar="FILE.onnx", type=Path, help="any ONNX file")
    parser.add_argument("--free-batch", metavar="OUT.onnx", type=Path, help="write a copy whose axis 0 is free")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def check(args: argparse.Namespace) -> int:
    """``sluice check``: 0 if the file would be served in batches, 1 if request by request, 2 if it cannot be read."""
    return _guard(lambda: _check(args))


def _check(args: argparse.Namespace) -> int:
    from export.check import free_batch, inspect

    try:
        content = args.file.read_bytes()
        verdict = inspect(content)
        if args.free_batch is not None:
            changed = free_batch(content)
            args.free_batch.write_bytes(changed)
            verdict = inspect(changed)
    except (OSError, NotPublished) as error:
        raise Misuse(str(error)) from None
    report.print_verdict(Console(), verdict, args.json)
    return 0 if verdict.batches else FAILED
