"""``sluice models show``."""

import argparse
import sys
from functools import partial

from rich.console import Console

from model_store.commands.action import add_json, add_model, add_version, store_option
from model_store.display.summary import print_summary
from model_store.display.table import say
from model_store.graph import Graph
from model_store.manifest import Manifest
from model_store.pipelines.drawing import draw_text
from model_store.store import ModelVersion, Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_version(parser)
    add_json(parser, "the whole manifest")


def run(store: Store, args: argparse.Namespace) -> int:
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
    say(console, f"the whole manifest: sluice models show {version.name}{chosen}{store_option(args)} --json", "dim")
    return 0


def _settle(version: ModelVersion, manifest: Manifest, name: str) -> Graph:
    """A graph with the same verdict on its rows as in the server."""
    from model_store.graphs.analyst import analyst
    from model_store.graphs.batch import settle_published

    has_parity = manifest.parity_of(name) is not None
    with analyst.hold():
        return settle_published(manifest.graphs[name], has_parity, partial(version.read, manifest))


def _show_plain(version: ModelVersion, as_json: bool) -> int:
    """Show a plain version as if it had a manifest. Returns 1 if the server would not serve it."""
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
