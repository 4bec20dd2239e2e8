"""``sluice models remove`` and ``gc``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from model_store.commands.action import WrongUsage, add_json, add_model
from model_store.display.size import write_size
from model_store.display.table import find_width, print_cells, say
from model_store.maintenance.removal import Kept, Removed, collect, remove
from model_store.store import Store

_DEFAULT_KEEP = 3


def add_remove_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("version", nargs="*", help="numbers or aliases of the versions to remove")
    parser.add_argument("--all", action="store_true", help="remove every version of the model")
    parser.add_argument(
        "--force", action="store_true", help="also what an alias, a canary, a shadow or a pipeline names"
    )
    _add_dry_run(parser)
    add_json(parser, "what was removed")


def run_remove(store: Store, args: argparse.Namespace) -> int:
    if bool(args.version) == args.all:
        raise WrongUsage("expected the versions to remove, or --all")
    chosen = None if args.all else args.version
    removed = remove(store, args.model, chosen, force=args.force, dry_run=args.dry_run)
    _print(args, removed, [], [])
    return 0


def add_gc_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="*", help="names; without any, all models")
    parser.add_argument(
        "--keep",
        type=_read_count,
        default=_DEFAULT_KEEP,
        metavar="N",
        help=f"versions of each model that are kept in any case, the newest ones that are whole [{_DEFAULT_KEEP}]",
    )
    _add_dry_run(parser)
    add_json(parser, "what was removed and kept")


def run_gc(store: Store, args: argparse.Namespace) -> int:
    names = list(dict.fromkeys(args.model)) or store.names()
    for name in names:
        store.versions(name)  # raises for a model that is not there, before anything is removed
    removed, kept = collect(store, names, args.keep, dry_run=args.dry_run)
    left = [] if args.dry_run else store.sweep()
    _print(args, removed, kept, left)
    return 0


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, and change nothing")


def _print(args: argparse.Namespace, removed: Sequence[Removed], kept: Sequence[Kept], left: Sequence[Path]) -> None:
    if args.json:
        print(json.dumps(_describe(args.dry_run, removed, kept, left)))
        return
    console = Console(highlight=False)
    verb = "would go" if args.dry_run else "removed"
    lines = [(each.name, each.version, write_size(each.size_bytes), f"{verb}{_name_losses(each)}") for each in removed]
    lines += [(each.name, each.version, "", f"kept: {each.reason}") for each in kept]
    names = ("model", "version", "size", "what happens" if args.dry_run else "what happened")
    cells = [dict(zip(names, map(str, line), strict=True)) for line in sorted(lines)]
    print_cells(console, cells, find_width(), [(names[3], 20), ("model", 8)])
    if left:
        say(console, f"removed what killed publishers left: {_count(len(left), 'unfinished version')}")
    size = write_size(sum(each.size_bytes for each in removed))
    if not removed:
        say(console, "nothing to remove")
    elif args.dry_run:
        say(console, f"{_count(len(removed), 'version')} of {size} would go; nothing was changed")
    else:
        say(console, f"{_count(len(removed), 'version')} of {size} removed")


def _describe(
    dry_run: bool, removed: Sequence[Removed], kept: Sequence[Kept], left: Sequence[Path]
) -> dict[str, object]:
    gone = [
        {"name": e.name, "version": e.version, "size_bytes": e.size_bytes, "named_by": list(e.named_by)}
        for e in removed
    ]
    others = [{"name": e.name, "version": e.version, "reason": e.reason} for e in kept]
    return {"dry_run": dry_run, "removed": gone, "kept": others, "unfinished": len(left)}


def _name_losses(each: Removed) -> str:
    return f", with {', '.join(each.named_by)}" if each.named_by else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
