"""``sluice models``: runs one action of the table on a store."""

import argparse
import os
from pathlib import Path

from rich.console import Console

from model_store import DEFAULT_ROOT
from model_store.commands.action import WrongUsage
from model_store.commands.table import ACTIONS
from model_store.display.table import say
from model_store.errors import BadName, StoreError
from model_store.files.links import tell_why
from model_store.remote.address import is_address
from model_store.store import Store


def models_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit codes: 0 done, 1 refused, damaged or missing, 2 wrong usage."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    for name, action in ACTIONS.items():
        described = f"{action.text[0].upper()}{action.text[1:]}. {action.more}".strip()
        command = actions.add_parser(name, help=action.text, description=described)
        action.add_arguments(command)
        command.add_argument("--store", metavar="FOLDER", help="folder of models [SLUICE_STORE]")
        command.add_argument(
            "--follow-links", action="store_true", help="let links lead out of the store [SLUICE_FOLLOW_LINKS]"
        )


def models(args: argparse.Namespace) -> int:
    """Run ``sluice models``. Returns its exit code: 0 done, 1 refused, damaged or missing, 2 wrong usage."""
    follow_links = args.follow_links or os.environ.get("SLUICE_FOLLOW_LINKS", "").strip().lower() in ("true", "1")
    root_text = args.store or os.environ.get("SLUICE_STORE") or ""
    if is_address(root_text):
        text = "--store or SLUICE_STORE is a URL: expected a folder; `sluice models pull` copies versions into one"
        say(Console(stderr=True, highlight=False), f"sluice models {args.action}: {text}")
        return 2
    root = Path(root_text or DEFAULT_ROOT)
    store = Store(root, follow_links=follow_links, read_default=_read_default)
    action = ACTIONS[args.action]
    try:
        if action.needs_store and not root.is_dir():
            raise StoreError(f"expected a folder of models, there is none at {root}: check --store or SLUICE_STORE")
        return action.run(store, args)
    except (StoreError, OSError, WrongUsage) as error:
        text = f"{error.filename}: {tell_why(error)}" if isinstance(error, OSError) and error.filename else str(error)
        say(Console(stderr=True, highlight=False), f"sluice models {args.action}: {text}")
        return 2 if isinstance(error, WrongUsage | BadName) else 1


def _read_default(name: str, content: bytes) -> str | None:
    from model_store.graphs.configuration import (
        read_default_filename,  # needs protobuf; most stores do without
    )

    return read_default_filename(name, content)
