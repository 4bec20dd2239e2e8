"""``sluice models list``."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from model_store.commands.action import add_json
from model_store.display.summary import describe_rows, order_metrics
from model_store.display.table import find_width, print_table
from model_store.errors import StoreError
from model_store.listing import Contents, Unusable
from model_store.store import ModelVersion, Store, read_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="its name; without one, all models are listed")
    parser.add_argument("--all", action="store_true", help="every version on a line of its own")
    add_json(parser, "every version")


def run(store: Store, args: argparse.Namespace) -> int:
    found = list_models(store, args.model)
    every = args.json or args.all or args.model is not None
    rows: list[dict[str, Any]] = []
    for name, contents in found.items():
        aliases, fault = _read_aliases(store, name, contents)
        versions = store.versions_of(name, contents)
        if every:
            rows += [_describe(version, aliases, fault, older=0) for version in versions]
        else:
            rows += _describe_newest(versions, aliases, fault)
        rows += [_describe_unusable(each) for each in contents.unusable]
    if args.json:
        print(json.dumps([{key: value for key, value in row.items() if key != "older"} for row in rows]))
    elif rows:
        print_table(Console(highlight=False), rows, find_width())
    else:
        print(f"no models in {store.root}: `sluice train` or `sluice export` publishes one", file=sys.stderr)
    return 0


def list_models(store: Store, model: str | None) -> Mapping[str, Contents]:
    """The contents of a model; None: of all models. Raises StoreError for a model that is not there."""
    if model is None:
        return store.list_all()
    store.versions(model)
    return {model: store.list_model(model)}


def _describe_newest(versions: list[ModelVersion], aliases: Mapping[str, int], fault: str) -> list[dict[str, Any]]:
    """The newest version that can be read, preceded by newer ones that cannot be read."""
    rows = []
    for older in reversed(range(len(versions))):
        rows.append(_describe(versions[older], aliases, fault, older))
        if rows[-1]["task"] != "?":
            break
    return rows


def _read_aliases(store: Store, name: str, contents: Contents) -> tuple[Mapping[str, int], str]:
    """The aliases of a model, and what is wrong with them, or ""."""
    try:
        return (store.aliases(name) if contents.folders else {}), ""
    except (StoreError, OSError) as error:
        return {}, str(error)


def _describe(version: ModelVersion, aliases: Mapping[str, int], fault: str, older: int) -> dict[str, Any]:
    names = [alias for alias, number in aliases.items() if older or number == version.version]
    if older:  # this line stands for all versions
        names = [n if aliases[n] == version.version else f"{n}={aliases[n]}" for n in names]
    row = _make_row(version.name, version.version, names, "tensors", fault, older)
    try:
        row["size_bytes"] = _measure(version.folder)
        if version.is_plain:
            return row
        manifest = version.read_manifest()
    except (StoreError, OSError) as error:
        return row | {"task": "?", "error": str(error)}
    created = manifest.provenance.created if manifest.provenance else ""
    quality = dict(order_metrics(manifest.quality)) if manifest.quality else {}
    return row | {"task": manifest.task, "created": created, "quality": quality, "rows": describe_rows(manifest)}


def _measure(folder: Path) -> int:
    """The bytes of the files of a version. A plain version may be a file beside others, or a link to one."""
    if not folder.is_dir():
        return folder.stat().st_size
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())


def _describe_unusable(unusable: Unusable) -> dict[str, Any]:
    return _make_row(unusable.name, read_version(unusable), [], "?", unusable.reason, 0)


def _make_row(
    name: str, version: int | str | None, aliases: list[str], task: str, error: str, older: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "version": version, "aliases": aliases, "task": task}
    return row | {"created": "", "quality": {}, "rows": "", "size_bytes": 0, "error": error, "older": older}


def read_version(unusable: Unusable) -> int | str | None:
    """The version number, or else the name of the folder; None if it belongs to no version."""
    return read_number(unusable.version) or unusable.version or None
