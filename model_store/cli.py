"""`sluice models list|show|verify`."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from model_store import DEFAULT_ROOT
from model_store.errors import StoreError
from model_store.store import ModelVersion, Store


def models_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    texts = {
        "list": "every version of every model",
        "show": "the manifest of one version",
        "verify": "check every file of one model, or of all, against its digest",
    }
    for action, text in texts.items():
        command = actions.add_parser(action, help=text, description=text[0].upper() + text[1:] + ".")
        if action != "list":
            many = "?" if action == "verify" else None
            command.add_argument("model", nargs=many, help="its name")
            command.add_argument("--version", help="number or alias; the newest without")
        command.add_argument("--store", type=Path, help="folder of models [SLUICE_STORE]")
        command.add_argument("--json", action="store_true", help="print JSON")


def models(args: argparse.Namespace) -> int:
    """0 if all is well, 1 if something is damaged or not there."""
    store = Store(args.store or Path(os.environ.get("SLUICE_STORE") or DEFAULT_ROOT))
    actions: Mapping[str, Callable[[Store, argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "verify": _verify,
    }
    try:
        return actions[args.action](store, args)
    except StoreError as error:
        print(f"sluice models {args.action}: {error}", file=sys.stderr)
        return 1


def _list(store: Store, args: argparse.Namespace) -> int:
    rows = [_describe(store, v) for name in store.names() for v in store.versions(name)]
    if args.json:
        print(json.dumps(rows))
        return 0
    if not rows:
        print(f"no models in {store.root}: `sluice train` or `sluice export` publishes one", file=sys.stderr)
        return 0
    table = Table(Column("model", no_wrap=True), "version", "task", "created", "quality", "aliases")
    for row in rows:
        quality = ", ".join(f"{k} {v:.4g}" for k, v in row["quality"].items())
        table.add_row(
            row["name"],
            str(row["version"]),
            row["task"],
            row["created"][:10],
            row["error"] or quality,
            " ".join(row["aliases"]),
        )
    Console().print(table)
    return 0


def _describe(store: Store, version: ModelVersion) -> dict[str, Any]:
    aliases = [alias for alias, number in store.aliases(version.name).items() if number == version.version]
    row: dict[str, Any] = {"name": version.name, "version": version.version, "aliases": aliases}
    row |= {"task": "tensors", "created": "", "quality": {}, "error": ""}
    if version.is_plain:
        return row
    try:
        manifest = version.read_manifest()
    except StoreError as error:
        return row | {"task": "?", "error": str(error)}
    created = manifest.provenance.created if manifest.provenance else ""
    quality = dict(manifest.quality.metrics) if manifest.quality else {}
    return row | {"task": manifest.task, "created": created, "quality": quality}


def _show(store: Store, args: argparse.Namespace) -> int:
    manifest = store.find(args.model, args.version).read_manifest()
    if args.json:
        print(manifest.to_json().decode(), end="")
    else:
        Console().print_json(manifest.model_dump_json(exclude_none=True))
    return 0


def _verify(store: Store, args: argparse.Namespace) -> int:
    if args.version and not args.model:
        print("sluice models verify: --version needs the name of a model", file=sys.stderr)
        return 2
    names = [args.model] if args.model else store.names()
    versions = [store.find(args.model, args.version)] if args.version else [v for n in names for v in store.versions(n)]
    results = [(v, _complaint(v)) for v in versions]
    if args.json:
        print(json.dumps([{"name": v.name, "version": v.version, "ok": not c, "reason": c} for v, c in results]))
    else:
        for version, complaint in results:
            print(f"{version.name} {version.version}: {complaint or 'ok'}")
    return 1 if any(complaint for _, complaint in results) else 0


def _complaint(version: ModelVersion) -> str:
    """What is wrong with a version; empty if nothing is."""
    if version.is_plain:
        return ""
    try:
        version.verify()
    except (StoreError, OSError) as error:
        return str(error)
    return ""
