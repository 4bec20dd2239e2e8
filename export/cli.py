"""The commands ``sluice train``, ``sluice export`` and ``sluice check``: arguments, progress, final table.

Exit codes: 0 all published, 1 something failed and is not in the store, 2 wrong usage.
"""

import argparse
import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from rich.console import Console

from export import report
from export.errors import NotPublished, QualityError, UnknownRecipe
from export.onnx_files.spec import OnnxSpec
from export.publish import publish_each
from export.source import Misuse, load_spec
from export.spec import ExportSpec, Precision, Progress
from export.summary import Outcome, as_record, print_table
from export.zoo import RECIPES, load_recipe
from model_store import DEFAULT_ROOT, Store, StoreError
from model_store.errors import first_line
from model_store.store import ModelVersion

STORE_VARIABLE = "SLUICE_STORE"
FAILED, MISUSED = 1, 2
CLASSIFIER = "digits-classifier"
_NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime", "sklearn")


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sluice train``."""
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"reference models: {', '.join(sorted(RECIPES))}")
    parser.add_argument(
        "--all",
        action="store_true",
        help="train every reference model, about a minute each on two cores; digits-classifier comes first, because it "
        "judges the digits of the others (always the one in the project's own store, whatever --store says)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the training; the same seed gives the same weights"
    )
    _common_arguments(parser)


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sluice export``."""
    parser.add_argument(
        "source",
        metavar="FILE.py:NAME",
        help="an ExportSpec, an OnnxSpec of an ONNX file, or a function without arguments that returns one",
    )
    _common_arguments(parser)


def _common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        action="append",
        choices=get_args(Precision),
        default=[],
        help="publish a second version in this precision, proved and measured on its own; may be given twice",
    )
    parser.add_argument(
        "--store",
        type=Path,
        default=None,
        help=f"where to publish (default: ${STORE_VARIABLE}, else the project's models)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def train(args: argparse.Namespace) -> int:
    """Run ``sluice train``: train, prove and publish reference models. A failure does not stop the others."""
    return guard(lambda: _train(args))


def export_model(args: argparse.Namespace) -> int:
    """Run ``sluice export``: prove and publish the model that a Python file describes."""
    return guard(lambda: _export(args))


def guard(command: Callable[[], int], needed: Sequence[str] = _NEEDED) -> int:
    """Run a command and return its exit code. Wrong usage and missing packages are reported without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not be able to show a tensor's name
    try:
        _require_packages(needed)
        return command()
    except Misuse as error:
        report.print_error(make_console(), str(error))
        return MISUSED
    except KeyboardInterrupt:
        report.print_error(make_console(), "interrupted: nothing of the unfinished model was published")
        return FAILED


def _train(args: argparse.Namespace) -> int:
    names = sorted(RECIPES) if args.all else list(dict.fromkeys(args.names))
    if not names or (args.all and args.names):
        raise Misuse(f"expected names of models or --all: the models are {', '.join(sorted(RECIPES))}")
    try:
        recipes = {name: load_recipe(name) for name in names}
    except UnknownRecipe as error:
        raise Misuse(str(error)) from None
    store = Store(find_root(args.store, os.environ))
    # The judge goes first, so that no model is judged by an older one.
    recipes = {name: recipes[name] for name in sorted(names, key=lambda name: name != CLASSIFIER)}
    outcomes = [
        _publish_one(name, store, partial(recipe.train, args.seed), args.precision) for name, recipe in recipes.items()
    ]
    return finish(outcomes, args.json)


def _export(args: argparse.Namespace) -> int:
    try:
        spec = load_spec(args.source)
    except NotPublished as error:
        return finish([Outcome(args.source, error=str(error))], args.json)
    store = Store(find_root(args.store, os.environ))
    return finish([_publish_one(spec.name, store, lambda _: spec, args.precision)], args.json)


def _publish_one(
    name: str, store: Store, make: Callable[[Progress], ExportSpec | OnnxSpec], precisions: Sequence[Precision]
) -> Outcome:
    once = list(dict.fromkeys(precisions))
    return show_publication(name, lambda progress: publish_each(make(progress), store, progress, once))


def show_publication(name: str, publish: Callable[[Progress], Iterator[ModelVersion]]) -> Outcome:
    """Publish one model and show its progress. A refusal becomes part of the outcome."""
    began, versions = time.monotonic(), []
    error, missed = None, None
    try:
        with report.show_progress(make_console(), name) as progress:
            for version in publish(progress):
                versions.append((version, version.read_manifest()))  # noqa: PERF401  # kept even if a later one fails
    except (NotPublished, StoreError, OSError) as refusal:
        error, missed = str(refusal), refusal.quality if isinstance(refusal, QualityError) else None
    return Outcome(name, tuple(versions), error, missed, time.monotonic() - began)


def finish(outcomes: list[Outcome], as_json: bool) -> int:
    """Print the result of a command, and return its exit code."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        report.print_error(make_console(), f"{outcome.name} was not published{_part_of(outcome)}: {outcome.error}")
    if as_json:
        sys.stdout.write(json.dumps(as_record(outcomes), indent=1) + "\n")
    elif len(outcomes) > 1 or len(failed) < len(outcomes) or failed[0].missed:
        print_table(Console(emoji=False), outcomes)
    return FAILED if failed else 0


def _part_of(outcome: Outcome) -> str:
    """The version that a failure is about, if others of the model are in the store."""
    return f" again, after version {outcome.versions[-1][0].version}" if outcome.versions else ""


def _require_packages(needed: Sequence[str]) -> None:
    for package in needed:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise Misuse(
                f"{package} cannot be imported ({error}): install what this command needs with "
                "pip install 'sluice-serving[cpu,export]'"
            ) from None


def make_console() -> Console:
    return Console(stderr=True, emoji=False)


def find_root(argument: Path | None, environment: Mapping[str, str]) -> Path:
    """Where to publish: the argument, the environment's store, or the project's reference models."""
    if argument is not None:
        return argument
    return Path(environment[STORE_VARIABLE]) if environment.get(STORE_VARIABLE) else DEFAULT_ROOT


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sluice check``."""
    parser.description = (
        "Show what the server would do with an ONNX file: whether requests share batches, along which axis, and if "
        "not, why; its inputs and outputs; sizes and values that are refused. Weights in other files and a "
        "config.pbtxt are read where the server would read them. Exits with 0 if requests share batches, 1 if each is "
        "a run of its own or the file is refused, 2 if it cannot be read or loaded."
    )
    parser.add_argument("file", metavar="FILE.onnx", type=Path, help="any ONNX file")
    parser.add_argument(
        "--free-batch",
        metavar="OUT.onnx",
        type=Path,
        help="write a copy whose axis 0, now fixed at 1, is free, if that changes no answer, and check the copy",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")


def check(args: argparse.Namespace) -> int:
    """Run ``sluice check``: 0 if requests would share batches, 1 if not, 2 if the file cannot be read or loaded."""
    return guard(lambda: _check(args), ("onnx", "onnxruntime"))


def _check(args: argparse.Namespace) -> int:
    from export.check import check_file, write_free_batch

    try:
        if args.free_batch is not None:
            write_free_batch(args.file, args.free_batch)
        verdict = check_file(args.free_batch or args.file)
    except (OSError, NotPublished) as error:
        raise Misuse(str(error)) from None
    except Exception as error:  # a file may be anything
        raise Misuse(
            f"{args.file}: the check itself failed ({type(error).__name__}: {first_line(error)}): please report this "
            "with the file"
        ) from error
    report.print_verdict(Console(emoji=False), verdict, args.json)
    return 0 if verdict.found.serves == "batches" else FAILED
