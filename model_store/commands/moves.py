"""``sluice models promote``, ``rollback`` and ``alias``."""

import argparse
import json

from rich.console import Console

from model_store.commands.action import WrongUsage, add_json, add_model, store_option
from model_store.display.table import find_width, print_cells, say
from model_store.files.aliases import STABLE, find_alias
from model_store.maintenance.moves import promote, remove_alias, roll_back
from model_store.store import Move, Store


def add_promote_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("version", nargs="?", help="number or alias (default: the canary, or the newest)")
    add_json(parser, "the move")


def run_promote(store: Store, args: argparse.Namespace) -> int:
    move = promote(store, args.model, args.version)
    _print(args, STABLE, move)
    if not args.json and move.before not in (None, move.after):
        say(Console(), f"back again: sluice models rollback {args.model}{store_option(args)}", "dim")
    return 0


def add_rollback_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--to", metavar="VERSION", help="number or alias of another version than the one before")
    add_json(parser, "the move")


def run_rollback(store: Store, args: argparse.Namespace) -> int:
    _print(args, STABLE, roll_back(store, args.model, args.to))
    return 0


def add_alias_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("alias", nargs="?", help="the alias; without one, all aliases are listed")
    parser.add_argument("version", nargs="?", help="number or alias of the version that it names from now on")
    parser.add_argument("--remove", action="store_true", help="remove the alias")
    parser.add_argument("--force", action="store_true", help="remove it even if a pipeline names it")
    add_json(parser, "the aliases, or the move")


def run_alias(store: Store, args: argparse.Namespace) -> int:
    if args.remove and (args.alias is None or args.version is not None):
        raise WrongUsage("--remove: expected the name of the model and of the alias, and no version")
    if args.force and not args.remove:
        raise WrongUsage("--force: expected it with --remove only")
    if args.remove:
        _print(args, args.alias, remove_alias(store, args.model, args.alias, force=args.force))
    elif args.version is not None:
        _print(args, args.alias, store.set_alias(args.model, args.alias, args.version))
    else:
        _list_aliases(store, args)
    return 0


def _list_aliases(store: Store, args: argparse.Namespace) -> None:
    store.versions(args.model)  # raises for a model that is not there
    aliases = store.aliases(args.model)
    if args.alias is not None:
        aliases = {args.alias: find_alias(args.model, aliases, args.alias)}
    if args.json:
        print(json.dumps(aliases))
    elif aliases:
        cells = [{"alias": alias, "version": str(number)} for alias, number in aliases.items()]
        print_cells(Console(highlight=False), cells, find_width(), [("alias", 8)])
    else:
        say(Console(), f"{args.model} has no aliases: sluice models alias {args.model} ALIAS VERSION sets one", "dim")


def _print(args: argparse.Namespace, alias: str, move: Move) -> None:
    if args.json:
        print(json.dumps({"name": args.model, "alias": alias, "before": move.before, "after": move.after}))
        return
    if move.after is None:
        text = f"the alias {alias} is removed (it was version {move.before})"
    elif move.after == move.before:
        text = f"{alias} is version {move.after} already"
    else:
        was = f" (it was {move.before})" if move.before is not None else ""
        text = f"{alias} is now version {move.after}{was}"
    say(Console(highlight=False), f"{args.model}: {text}")
