"""`sluice models list|show|verify`."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from model_store import DEFAULT_ROOT
from model_store.display.summary import order_metrics, print_summary, tell_rows
from model_store.display.table import print_table, say
from model_store.errors import StoreError
from model_store.graph import MAIN, Graph
from model_store.listing import Contents, Unusable
from model_store.manifest import Manifest
from model_store.pipelines.drawing import draw_text
from model_store.store import ModelVersion, Store, read_number

_DONE = {"list": "listed", "verify": "checked"}
_JSON = {
    "list": "print every version as JSON",
    "show": "print the whole manifest as JSON",
    "verify": "print the results as JSON",
}


def models_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    texts = {
        "list": "list the models, and everything else in the store that cannot be served",
        "show": "show one version: what it is for, how good it is, its tensors, and whether requests share batches",
        "verify": "check all files of one model, or of all models, against their digests",
    }
    for action, text in texts.items():
        command = actions.add_parser(action, help=text, description=text[0].upper() + text[1:] + ".")
        many = None if action == "show" else "?"
        which = "its name" if action == "show" else f"its name; without one, all models are {_DONE[action]}"
        command.add_argument("model", nargs=many, help=which)
        if action == "list":
            command.add_argument("--all", action="store_true", help="every version on a line of its own")
        else:
            command.add_argument("--version", help="number or alias (default: the newest)")
        command.add_argument("--store", type=Path, help="folder of models [SLUICE_STORE]")
        command.add_argument(
            "--follow-links", action="store_true", help="let links lead out of the store [SLUICE_FOLLOW_LINKS]"
        )
        command.add_argument("--json", action="store_true", help=_JSON[action])


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
        if not root.is_dir():
            raise StoreError(f"expected a folder of models, there is none at {root}: check --store or SLUICE_STORE")
        return actions[args.action](store, args)
    except (StoreError, OSError) as error:
        print(f"sluice models {args.action}: {error}", file=sys.stderr)
        return 1


def _read_default(name: str, content: bytes) -> str | None:
    from model_store.graphs.configuration import read_default_filename  # needs protobuf; most stores do without it

    return read_default_filename(name, content)


def _list(store: Store, args: argparse.Namespace) -> int:
    if args.model is not None:
        store.versions(args.model)  # raises for a model that is not there
    found = store.list_all() if args.model is None else {args.model: store.list_model(args.model)}
    every = args.json or args.all or args.model is not None
    rows: list[dict[str, Any]] = []
    for name, contents in found.items():
        aliases, fault = _read_aliases(store, name, contents)
        versions = store.versions_of(name, contents)
        if every:
            rows += [_describe(version, aliases, fault, older=0) for version in versions]
        else:
            rows += _describe_newest(versions, aliases, fault)
        rows += [_tell(each) for each in contents.unusable]
    if args.json:
        print(json.dumps([{key: value for key, value in row.items() if key != "older"} for row in rows]))
    elif rows:
        print_table(Console(highlight=False), rows, _find_width())
    else:
        print(f"no models in {store.root}: `sluice train` or `sluice export` publishes one", file=sys.stderr)
    return 0


def _describe_newest(versions: list[ModelVersion], aliases: Mapping[str, int], fault: str) -> list[dict[str, Any]]:
    """The newest version that can be read, after newer ones that cannot."""
    rows = []
    for older in reversed(range(len(versions))):
        rows.append(_describe(versions[older], aliases, fault, older))
        if rows[-1]["task"] != "?":
            break
    return rows


def _find_width() -> int | None:
    """The width of the terminal, or what COLUMNS says; None where lines go into a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or os.environ.get("COLUMNS") else None


def _read_aliases(store: Store, name: str, contents: Contents) -> tuple[Mapping[str, int], str]:
    """The aliases of a model, and what is wrong with them."""
    try:
        return (store.aliases(name) if contents.folders else {}), ""
    except (StoreError, OSError) as error:
        return {}, str(error)


def _describe(version: ModelVersion, aliases: Mapping[str, int], fault: str, older: int) -> dict[str, Any]:
    names = [alias for alias, number in aliases.items() if older or number == version.version]
    if older:  # one line for all versions
        names = [n if aliases[n] == version.version else f"{n}={aliases[n]}" for n in names]
    row: dict[str, Any] = {"name": version.name, "version": version.version, "aliases": names}
    row |= {"task": "tensors", "created": "", "quality": {}, "rows": "", "size_bytes": 0, "error": fault}
    row |= {"older": older}
    try:
        row["size_bytes"] = _measure(version.folder)
        if version.is_plain:
            return row
        manifest = version.read_manifest()
    except (StoreError, OSError) as error:
        return row | {"task": "?", "error": str(error)}
    created = manifest.provenance.created if manifest.provenance else ""
    quality = dict(order_metrics(manifest.quality)) if manifest.quality else {}
    return row | {"task": manifest.task, "created": created, "quality": quality, "rows": tell_rows(manifest)}


def _measure(folder: Path) -> int:
    """Bytes of the files of a version. A plain version may be a file beside others, or link to one."""
    if not folder.is_dir():
        return folder.stat().st_size
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())


def _tell(unusable: Unusable) -> dict[str, Any]:
    row: dict[str, Any] = {"name": unusable.name, "version": _read_version(unusable), "aliases": [], "task": "?"}
    row |= {"created": "", "quality": {}, "rows": "", "size_bytes": 0, "error": unusable.reason}
    return row | {"older": 0}


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
    from model_store.graphs.report import print_manifest

    console = Console()
    aliases = [alias for alias, number in store.aliases(version.name).items() if number == version.version]
    print_summary(console, manifest, version.version, aliases)
    if manifest.pipeline is not None:
        say(console, draw_text(manifest.pipeline))
    else:
        settled = {name: _settle(version, manifest, name) for name in manifest.graphs}
        print_manifest(console, manifest.model_copy(update={"graphs": settled}))
    chosen = f" --version {args.version}" if args.version else ""
    say(console, f"the whole manifest: sluice models show {version.name}{chosen} --json", "dim")
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
        say(Console(), f"{version.name} version {version.version}: tensors, of an ONNX file without a manifest", "bold")
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
    results: list[dict[str, Any]] = []
    for name, number, complaint in _verify_each(versions, unusable):
        results.append({"name": name, "version": number, "ok": not complaint, "reason": complaint})
        if not args.json:  # at once: the files of a large store take minutes
            print(f"{name} {number}: {complaint or 'ok'}" if number else f"{name}: {complaint}", flush=True)
    if args.json:
        print(json.dumps(results))
    return 0 if all(result["ok"] for result in results) else 1


def _verify_each(
    versions: Sequence[ModelVersion], unusable: Sequence[Unusable]
) -> Iterator[tuple[str, int | str | None, str]]:
    """Name, version, and what is wrong, "" if nothing is."""
    for version in versions:
        yield version.name, version.version, _complaint(version)
    for each in unusable:
        yield each.name, _read_version(each), each.reason


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
