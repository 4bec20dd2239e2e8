"""The command ``sluice import``: arguments, the plan as a table, progress, result.

Exit codes: 0 published, or planned with --dry-run; 1 refused, and nothing is in the store; 2 wrong usage.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from export.cli import find_root, finish, guard, make_console, show_publication
from export.errors import NotPublished
from export.importers.facts import Fact
from export.importers.flags import FLAGS, show_flag
from export.importers.importing import plan_import, publish_import
from export.importers.options import check
from export.importers.plan import Plan
from export.importers.planning.draft import show
from export.importers.sources.source import Found, OnnxModel
from export.report import NOTE
from export.source import Misuse
from export.spec import Progress
from export.summary import Outcome
from model_store import Store, StoreError
from model_store.graphs.batch import has_single_rows
from model_store.manifest import reword
from model_store.store import ModelVersion

_MOST_SHOWN = 60
_GROUPS = {
    "": "the model, its samples and quality",
    "picture": "how a picture becomes its input",
    "sound": "how a sound becomes its input",
    "boxes": "outputs with boxes",
    "vectors": "outputs with vectors",
    "texts": "how a text becomes its inputs",
    "reading": "outputs with symbols over time, which are read",
}
"""Titles of the options, by the first part of their facts' paths."""


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sluice import``."""
    parser.description = (
        "Publish a model of another tool: an ONNX file (also of Ultralytics), a Triton model folder, a local folder of "
        "Hugging Face or timm, or a fitted estimator of scikit-learn. Options, or a model.toml beside the file, supply "
        "what the source does not say. See docs/import.md."
    )
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a file or a folder, or FILE.py:NAME")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, and where each fact is from; no writing")
    groups = {name: parser.add_argument_group(title) for name, title in _GROUPS.items()}
    for path, flag in FLAGS.items():
        group = groups[path.rpartition(".")[0]]
        if flag.kind in ("yes", "no"):
            value = flag.kind == "yes"
            group.add_argument(flag.name, dest=path, action="store_const", const=value, help=flag.help)
        elif path == "bar":
            group.add_argument(flag.name, dest=path, action="append", metavar=flag.metavar, help=flag.help)
        else:
            kind = int if flag.kind == "whole" else str
            group.add_argument(flag.name, dest=path, type=kind, metavar=flag.metavar, help=flag.help)
    parser.add_argument("--store", type=Path, default=None, help="where to publish (default: $SLUICE_STORE)")
    parser.add_argument("--json", action="store_true", help="print the plan or the result as JSON")


def import_model(args: argparse.Namespace) -> int:
    """Run ``sluice import``."""
    return guard(lambda: _import(args), ("onnx", "onnxruntime"))


def read_flags(args: Mapping[str, Any]) -> dict[str, Fact]:
    """The facts that the options give. Raises Misuse, which names the option."""
    said = {path: args[path] for path in FLAGS if args.get(path) is not None}
    if "bar" in said:
        said["bar"] = dict(_read_bar(text) for text in said["bar"])
    try:
        checked = check(said)
    except ValidationError as error:
        raise Misuse("; ".join(_describe(item) for item in error.errors()[:3])) from None
    return {path: Fact(value, show_flag(path)) for path, value in checked.items()}


def _read_bar(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise Misuse(f"--bar {text}: expected METRIC=VALUE, such as accuracy=0.8") from None


def _describe(item: Any) -> str:
    parts = [str(part) for part in item["loc"]]
    path = next((".".join(parts[:n]) for n in (2, 1) if ".".join(parts[:n]) in FLAGS), "")
    return f"{show_flag(path) if path else '.'.join(parts)}: {reword(item['msg'])} (got {item['input']!r:.60})"


def _import(args: argparse.Namespace) -> int:
    said = read_flags(vars(args))
    try:
        found, plan = plan_import(args.source, said)
    except (NotPublished, StoreError, OSError) as error:
        return finish([Outcome(str(args.source), error=str(error))], args.json)
    changes = [str(change) for change in plan.changes]
    if isinstance(found.model, OnnxModel) and plan.description.task != "tensors" and has_single_rows(found.model.graph):
        changes.append("a free batch: axis 0 is fixed at 1, and is freed if that changes no answer")
    if args.dry_run and args.json:
        sys.stdout.write(json.dumps(_as_record(plan, changes), indent=1, default=str) + "\n")
        return 0
    if not args.json:
        print_plan(Console(emoji=False) if args.dry_run else make_console(), plan, changes)
    if args.dry_run:
        return 0
    return finish([_publish(args, found, plan)], args.json)


def _publish(args: argparse.Namespace, found: Found, plan: Plan) -> Outcome:
    store = Store(find_root(args.store, os.environ))

    def publish(progress: Progress) -> Iterator[ModelVersion]:
        for note in plan.notes if args.json else ():  # else the plan, which was printed, has them
            progress(f"{NOTE}: {note}")
        yield from publish_import(args.source, found, plan, store, progress)

    return show_publication(plan.description.name, publish)


def print_plan(console: Console, plan: Plan, changes: list[str]) -> None:
    """Print the facts with their origins, and the changes of the graph. Guesses are marked."""
    table = Table(
        Column("fact", no_wrap=True),
        Column("value", overflow="fold"),
        Column("origin", overflow="fold"),
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
    )
    for path, fact in plan.facts.items():
        origin = f"[yellow]guess:[/] {escape(fact.origin)}" if fact.is_guess else escape(fact.origin)
        table.add_row(path, escape(show_value(fact.value)), origin)
    console.print(f"{plan.kind}, to be published as:", highlight=False, markup=False)
    given = [tensor for tensor in plan.graph.inputs if not tensor.optional]
    console.print(f"inputs: {show(given)}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"outputs: {show(plan.graph.outputs)}", highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for change in changes:
        console.print(f"change of the graph: {change}", highlight=False, markup=False, soft_wrap=True)
    if not changes:
        console.print("the graph stays as it is", highlight=False)
    for note in plan.notes:
        console.print(f"[yellow]![/] {escape(note)}", highlight=False, soft_wrap=True)


def show_value(value: Any) -> str:
    """A value of a fact, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        listed = ", ".join(value)
        return f"{len(value)}: {listed if len(listed) <= _MOST_SHOWN else listed[: _MOST_SHOWN - 4] + ' ...'}"
    if isinstance(value, tuple):
        return ", ".join(show_value(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} >= {show_value(one)}" for key, one in value.items())
    return str(value)


def _as_record(plan: Plan, changes: list[str]) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "facts": [
            {"fact": path, "value": fact.value, "origin": fact.origin, "guess": fact.is_guess}
            for path, fact in plan.facts.items()
        ],
        "changes": changes,
        "notes": list(plan.notes),
    }
