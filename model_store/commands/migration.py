"""``sluice models migrate``."""

import argparse
import json
from dataclasses import asdict

from rich.console import Console

from model_store.commands.action import add_json
from model_store.display.table import find_width, print_cells, say
from model_store.maintenance.migration import Migration, migrate
from model_store.schema import SCHEMA
from model_store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="*", help="names; without any, all models")
    parser.add_argument("--dry-run", action="store_true", help="show what would be written, and change nothing")
    add_json(parser, "what happened to each version")


def run(store: Store, args: argparse.Namespace) -> int:
    names = list(dict.fromkeys(args.model)) or store.names()
    for name in names:
        store.versions(name)  # raises for a model that is not there, before anything is written
    found = migrate(store, names, dry_run=args.dry_run)
    if args.json:
        print(json.dumps({"schema": SCHEMA, "dry_run": args.dry_run, "versions": [asdict(each) for each in found]}))
    else:
        _print(found, args.dry_run)
    return 1 if any(each.error for each in found) else 0


def _print(found: list[Migration], dry_run: bool) -> None:
    console = Console(highlight=False)
    changed = [each for each in found if each.migrated or each.kept]
    done = f"{'would get' if dry_run else 'has now'} {SCHEMA}"
    cells = [
        {
            "model": each.name,
            "version": str(each.version),
            "schema": str(each.schema),
            "what happens" if dry_run else "what happened": f"kept: {each.kept}" if each.kept else done,
        }
        for each in changed
    ]
    print_cells(console, cells, find_width(), [("what happens", 20), ("what happened", 20), ("model", 8)])
    for each in found:
        if each.error:
            say(console, f"{each.name} {each.version}: {each.error}", "red")
    number = sum(each.migrated for each in found)
    versions = f"{number} version{'' if number == 1 else 's'}"
    if not number:
        say(console, "nothing to migrate")
    elif dry_run:
        say(console, f"{versions} would get schema {SCHEMA}; nothing was changed")
    else:
        say(console, f"{versions} migrated to schema {SCHEMA}")
