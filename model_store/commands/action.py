"""What an action of ``sluice models`` is, and the arguments that several take."""

import argparse
import shlex
from collections.abc import Callable
from typing import NamedTuple

from model_store.store import Store


class Action(NamedTuple):
    """One action. ``run`` returns the exit code: 0 done, 1 refused, or something is damaged or missing.

    It may raise StoreError or OSError, which end with code 1, and WrongUsage, which ends with code 2.
    """

    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Adds the arguments of this action alone. ``--store`` and ``--follow-links`` are added to every action."""
    run: Callable[[Store, argparse.Namespace], int]
    text: str
    """What it does, in one line of ``sluice models --help``: at most 60 characters."""
    more: str = ""
    """What ``--help`` of the action says besides."""
    needs_store: bool = True
    """Whether the folder of the store must be there already."""


class WrongUsage(Exception):
    """Arguments that contradict each other; the text says what was expected."""


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", help="number or alias (default: the newest)")


def store_option(args: argparse.Namespace) -> str:
    """What a command that is suggested needs to work on the same store: the option, if it was given."""
    return f" --store {shlex.quote(args.store)}" if args.store else ""
