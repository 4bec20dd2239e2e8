"""The type of the actions of ``sluice models``, and arguments that several of them take."""

import argparse
import shlex
from collections.abc import Callable
from typing import NamedTuple

from model_store.store import Store


class Action(NamedTuple):
    """One action. ``run`` returns the exit code: 0 if done; 1 if refused, or if something is damaged or missing.

    It may raise StoreError or OSError, which end with code 1, and WrongUsage, which ends with code 2.
    """

    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Adds the arguments of this action alone. ``--store`` and ``--follow-links`` are added to every action."""
    run: Callable[[Store, argparse.Namespace], int]
    text: str
    """What it does, for ``sluice models --help``: at most 60 characters."""
    more: str = ""
    """More for the ``--help`` of the action."""
    needs_store: bool = True
    """Whether the folder of the store must exist already."""


class WrongUsage(Exception):
    """Arguments that contradict each other; the text says what was expected."""


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="its name")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", help="number or alias (default: the newest)")


def store_option(args: argparse.Namespace) -> str:
    """The ``--store`` that was given, if any, for a command that is suggested."""
    return f" --store {shlex.quote(args.store)}" if args.store else ""
