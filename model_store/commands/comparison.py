"""``sluice models diff``."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from model_store.commands.action import add_json, add_model
from model_store.display.size import write_size
from model_store.display.table import find_width, print_cells, say
from model_store.errors import NotInStore
from model_store.files.aliases import STABLE
from model_store.store import ModelVersion, Store

if TYPE_CHECKING:
    from model_store.maintenance.answers import Answers, OutputDifference
    from model_store.maintenance.comparison import Change, Comparison

_LEAST_PERCENT = 0.05
"""A smaller change of a size is written in bytes."""
_ROUND_SHARE = 0.1
"""A difference from this share on is written in whole percent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("before", nargs="?", help="number or alias (default: stable, or the version before the newest)")
    parser.add_argument("after", nargs="?", help="number or alias (default: the newest)")
    add_json(parser, "all differences")


def run(store: Store, args: argparse.Namespace) -> int:
    from model_store.maintenance.comparison import compare  # needs ONNX Runtime

    after = store.find(args.model, args.after)
    before = store.find(args.model, args.before) if args.before else _find_before(store, after)
    found = compare(before, after)
    if args.json:
        print(json.dumps(asdict(found), default=str))
    else:
        _print(Console(highlight=False), found)
    return 0


def _find_before(store: Store, after: ModelVersion) -> ModelVersion:
    stable = store.aliases(after.name).get(STABLE)
    versions = store.versions(after.name)
    older = [version for version in versions if version.version < after.version]
    chosen = [version for version in versions if version.version == stable != after.version] or older[-1:]
    if not chosen:
        raise NotInStore(f"{after.name!r} has only version {after.version}: there is nothing to compare it with")
    return chosen[0]


def _print(console: Console, found: "Comparison") -> None:
    say(console, f"{found.name}: version {found.before} and version {found.after}", "bold")
    sections = {
        "quality": _lay_out("quality", found, found.quality, _write_number, _write_gain),
        "files": _lay_out("files", found, found.files, write_size, _write_growth),
        "tensors": _lay_out("tensors", found, found.tensors, str, None),
        "operators": _lay_out("operators", found, found.operators, str, _write_gain),
        "manifest": _lay_out("manifest", found, found.fields, _write_value, None),
    }
    for cells in filter(None, sections.values()):
        print()
        columns = list(cells[0])
        print_cells(console, cells, find_width(), [(columns[2], 12), (columns[1], 12), (columns[0], 20)])
    for answers in found.answers:
        _print_answers(console, found, answers)
    equal = [title for title, cells in sections.items() if not cells and title != "quality"]
    if equal:
        print()
        say(console, f"equal: {', '.join(equal)}", "dim")


def _lay_out(
    title: str, found: "Comparison", changes: "Sequence[Change]", write: Any, judge: Any
) -> list[dict[str, str]]:
    """A line for each change. ``write`` makes a text of a value, ``judge`` of a change; None: without that column."""
    heads = (f"version {found.before}", f"version {found.after}")
    if found.before == found.after:
        heads = (f"{heads[0]} before", f"{heads[1]} after")
    cells = []
    for change in changes:
        texts = ["-" if value is None else write(value) for value in (change.before, change.after)]
        line = {title: change.what, heads[0]: texts[0], heads[1]: texts[1]}
        if judge is not None:
            both = change.before is not None and change.after is not None
            line["change"] = judge(change.before, change.after) if both else ""
        cells.append(line)
    return cells


def _print_answers(console: Console, found: "Comparison", answers: "Answers") -> None:
    print()
    title = f"golden answers of {answers.graph}"
    if answers.note:
        say(console, f"{title}: not compared: {answers.note}")
        return
    cells = [
        {
            title: each.output,
            "differs by": _write_difference(each),
            "of the largest": "" if each.of_magnitude is None else _write_share(each.of_magnitude),
            "elements": f"{each.elements} of {each.of_elements}",
            "other label": "" if each.labels is None else f"{each.labels} of {answers.rows} rows",
        }
        for each in answers.outputs
    ]
    print_cells(console, cells, find_width(), [(title, 12)])
    how = "both versions store the same inputs"
    if answers.source == "run":
        how = f"version {found.after} has run on the stored inputs of version {found.before}, on the CPU"
    say(console, f"({how})", "dim")


def _write_difference(each: "OutputDifference") -> str:
    if not each.elements:
        return "nothing"
    return "not comparable" if each.largest is None else f"{each.largest:.3g}"


def _write_share(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= _ROUND_SHARE else f"{100 * share:.2g} %"


def _write_number(value: float) -> str:
    return f"{value:.4g}"


def _write_gain(before: float, after: float) -> str:
    return "" if before == after else f"{after - before:+.3g}"


def _write_growth(before: int, after: int) -> str:
    if before == after:
        return "same size"
    percent = 100 * (after - before) / before if before else 0.0
    return f"{percent:+.1f} %" if abs(percent) >= _LEAST_PERCENT else f"{after - before:+,} B"


def _write_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_write_value, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
