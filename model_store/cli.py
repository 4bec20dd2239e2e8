"""`sluice models list|show|verify`."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from model_store import DEFAULT_ROOT
from model_store.errors import StoreError
from model_store.graph import MAIN, Graph
from model_store.listing import Contents, Unusable
from model_store.manifest import Manifest
from model_store.pipelines.drawing import draw_text
from model_store.store import ModelVersion, Store, read_number


def models_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    texts = {
        "list": "list every version of every model, and everything else in the store that cannot be served",
        "show": "show one version: its manifest, inputs and outputs, and whether requests share batches",
        "verify": "check all files of one model, or of all models, against their digests",
    }
    for action, text in texts.items():
        command = actions.add_parser(action, help=text, description=text[0].upper() + text[1:] + ".")
        if action != "list":
            many = "?" if action == "verify" else None
            command.add_argument("model", nargs=many, help="its name")
            command.add_argument("--version", help="number or alias (default: the newest)")
        command.add_argument("--store", type=Path, help="folder of models [SLUICE_STORE]")
        command.add_argument(
            "--follow-links", action="store_true", help="let links lead out of the store [SLUICE_FOLLOW_LINKS]"
        )
        command.add_argument("--json", action="store_true", help="print JSON")


def models(args: argparse.Namespace) -> int:
    """Run ``sluice models``: 0 if all is well, 1 if something is damaged or missing."""
    follow_links = args.follow_links or os.environ.get("SLUICE_FOLLOW_LINKS", "").strip().lower() in ("true", "1")
    root = args.store or Path(os.environ.get("SLUICE_STORE") or DEFAULT_ROOT)
    store = Store(root, follow_links=follow_links, read_default=_read_default)
    actions: Mapping[str, Callable[[Store, argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "verify": _verify,
    }
    try:
        return actions[args.action](store, args)
    except (StoreError, OSError) as error:
        print(f"sluice models {args.action}: {error}", file=sys.stderr)
        return 1


def _read_default(name: str, content: bytes) -> str | None:
    from model_store.graphs.configuration import read_default_filename  # needs protobuf; most stores do without it

    return read_default_filename(name, content)


def _list(store: Store, args: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for name, contents in store.list_all().items():
        aliases, fault = _read_aliases(store, name, contents)
        rows += [_describe(v, aliases, fault) for v in store.versions_of(name, contents)]
        rows += [_tell(each) for each in contents.unusable]
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
            escape(row["name"]),  # rich would read brackets in a folder's name as colours
            escape(str(row["version"] or "")),
            row["task"],
            row["created"][:10],
            escape(row["error"]) or quality,
            " ".join(row["aliases"]),
        )
    Console().print(table)
    return 0


def _read_aliases(store: Store, name: str, contents: Contents) -> tuple[Mapping[str, int], str]:
    """The aliases of a model, and what is wrong with them."""
    try:
        return (store.aliases(name) if contents.folders else {}), ""
    except (StoreError, OSError) as error:
        return {}, str(error)


def _describe(version: ModelVersion, aliases: Mapping[str, int], fault: str) -> dict[str, Any]:
    names = [alias for alias, number in aliases.items() if number == version.version]
    row: dict[str, Any] = {"name": version.name, "version": version.version, "aliases": names}
    row |= {"task": "tensors", "created": "", "quality": {}, "error": fault}
    if version.is_plain:
        return row
    try:
        manifest = version.read_manifest()
    except (StoreError, OSError) as error:
        return row | {"task": "?", "error": str(error)}
    created = manifest.provenance.created if manifest.provenance else ""
    quality = dict(manifest.quality.metrics) if manifest.quality else {}
    return row | {"task": manifest.task, "created": created, "quality": quality}


def _tell(unusable: Unusable) -> dict[str, Any]:
    row: dict[str, Any] = {"name": unusable.name, "version": _read_version(unusable), "aliases": [], "task": "?"}
    return row | {"created": "", "quality": {}, "error": unusable.reason}


def _read_version(unusable: Unusable) -> int | str | None:
    """The version number, else the name of its folder; None if it belongs to no version."""
    return read_number(unusable.version) or unusable.version or None


def _show(store: Store, args: argparse.Namespace) -> int:
    version = store.find(args.model, args.version)
    if version.is_plain:
        return _show_plain(version, args.json)
    manifest = version.read_manifest()
    if args.json:
        print(manifest.to_json().decode(), end="")
        return 0
    if manifest.pipeline is not None:
        Console().print_json(manifest.model_dump_json(exclude_none=True, exclude_defaults=True))
        print(draw_text(manifest.pipeline))
        return 0
    from model_store.graphs.report import print_manifest

    settled = {name: _settle(version, manifest, name) for name in manifest.graphs}
    Console().print_json(manifest.model_dump_json(exclude_none=True))
    print_manifest(Console(), manifest.model_copy(update={"graphs": settled}))
    return 0


def _settle(version: ModelVersion, manifest: Manifest, name: str) -> Graph:
    """A graph with the verdict on its rows, as the server sees it."""
    from model_store.graphs.analyst import analyst
    from model_store.graphs.batch import settle_published

    graph = manifest.graphs[name]
    parity = manifest.parity if name == MAIN else manifest.graph_parity.get(name)
    with analyst.hold():
        return settle_published(graph, parity is not None, partial(version.read, manifest))


def _show_plain(version: ModelVersion, as_json: bool) -> int:
    """Show what a manifest would say about a plain version. Returns 1 if the server would not serve it."""
    from model_store.graphs.inspection import inspect  # needs ONNX Runtime
    from model_store.graphs.report import print_inspection

    found = inspect(version)
    if not as_json:
        print_inspection(Console(), found)
    elif found.manifest is not None:
        print(found.manifest.to_json().decode(), end="")
    else:
        print(f"sluice models show: {version.name} version {version.version}: {found.refusal}", file=sys.stderr)
    return 0 if found.manifest is not None else 1


def _verify(store: Store, args: argparse.Namespace) -> int:
    if args.version and not args.model:
        print("sluice models verify: --version needs the name of a model", file=sys.stderr)
        return 2
    versions, unusable = _find_all(store, args.model, args.version)
    results: list[tuple[str, int | str | None, str]] = [(v.name, v.version, _complaint(v)) for v in versions]
    results += [(each.name, _read_version(each), each.reason) for each in unusable]
    if args.json:
        print(json.dumps([{"name": n, "version": v, "ok": not c, "reason": c} for n, v, c in results]))
    else:
        for name, number, complaint in results:
            print(f"{name} {number}: {complaint or 'ok'}" if number else f"{name}: {complaint}")
    return 1 if any(complaint for _, _, complaint in results) else 0


def _find_all(store: Store, model: str | None, version: str | None) -> tuple[list[ModelVersion], Sequence[Unusable]]:
    """The requested versions (one, all of a model, or all of all models), and the unusable entries beside them."""
    if model is None:
        found: Mapping[str, Contents] = store.list_all()
    elif version is not None:
        return [store.find(model, version)], ()
    else:
        store.versions(model)  # raises for a model that is not there
        found = {model: store.list_model(model)}
    versions = [each for name, contents in found.items() for each in store.versions_of(name, contents)]
    return versions, [each for contents in found.values() for each in contents.unusable]


def _complaint(version: ModelVersion) -> str:
    """What is wrong with a version; empty if nothing is."""
    try:
        if version.is_plain:
            version.read_plain()
        else:
            version.verify()
    except (StoreError, OSError) as error:
        return str(error)
    return ""
