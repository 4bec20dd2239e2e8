"""`sluice pipeline check|try|publish`."""

import argparse
import base64
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from model_store import DEFAULT_ROOT, Store
from model_store.errors import StoreError
from model_store.manifest import Provenance
from model_store.pictures.formats import is_picture
from model_store.pipeline_files.fit import find_faults
from model_store.pipeline_files.reading import Written, read_file
from model_store.pipelines.drawing import draw_mermaid, draw_text
from model_store.pipelines.order import fields_of_rows
from service.errors import ServiceError
from service.models.pipeline import read_pipeline
from service.pipelines.trial import check_golden, try_request
from service.settings import Settings, SettingsError

_TEXTS = {
    "check": "explain and draw a pipeline, and report what is wrong with it",
    "try": "send a request to a pipeline that is not published, and print the answer",
    "publish": "check a pipeline, send its golden requests, and add it to a store",
}


def pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    for action, text in _TEXTS.items():
        command = actions.add_parser(action, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("file", type=Path, help="a file in TOML that describes the pipeline")
        if action == "try":
            command.add_argument("request", type=Path, help='a picture, or JSON such as {"inputs": [...]}')
        more = "; without it they are not checked" if action == "check" else " [SLUICE_STORE]"
        command.add_argument("--store", type=Path, help=f"folder of its models{more}")
        if action == "check":
            command.add_argument("--mermaid", action="store_true", help="print only a drawing for Mermaid")


def pipeline(args: argparse.Namespace) -> int:
    """Run ``sluice pipeline``: 0 if all is well, 1 if something is wrong with the pipeline."""
    logging.getLogger("sluice").setLevel(logging.ERROR)
    actions: Mapping[str, Callable[[Written, argparse.Namespace], int]]
    actions = {"check": _check, "try": _try, "publish": _publish}
    try:
        written = read_file(args.file)
        read_pipeline(written.manifest, written.files)
        return actions[args.action](written, args)
    except (StoreError, ServiceError, SettingsError, OSError) as error:
        print(f"sluice pipeline {args.action}: {error}", file=sys.stderr)
        return 1


def _root(args: argparse.Namespace) -> Path:
    return args.store or Path(os.environ.get("SLUICE_STORE") or DEFAULT_ROOT)


def _open(root: Path) -> Store:
    return Store(root, follow_links=Settings.from_environ(os.environ).follow_links)


def _check(written: Written, args: argparse.Namespace) -> int:
    facts = written.manifest.pipeline
    assert facts is not None  # noqa: S101  # the file describes a pipeline
    if args.mermaid:
        print(draw_mermaid(facts))
        return 0
    print(written.manifest.name + (f": {written.manifest.description}" if written.manifest.description else ""))
    print(f"\n{draw_text(facts)}\n")
    fields = fields_of_rows(facts)
    row = f"an object of {', '.join(fields)}" if fields else "one value, such as a picture"
    print(f"a row of a request is {row}")
    if args.store is None:
        print("the models were not checked: name their store with --store")
        return 0
    code = _tell_faults(written, args.store, args.action)
    if code == 0:
        print(f"its models are in {args.store}, and fit")
    return code


def _tell_faults(written: Written, root: Path, action: str) -> int:
    """Print what is wrong with the models of the steps. Returns 1 if something is."""
    facts = written.manifest.pipeline
    faults = [*find_faults(facts, _open(root))] if facts else []
    for fault in faults:
        print(f"sluice pipeline {action}: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _try(written: Written, args: argparse.Namespace) -> int:
    content = args.request.read_bytes()
    if is_picture(content):
        content = json.dumps({"inputs": [{"image": base64.b64encode(content).decode()}]}).encode()
    if code := _tell_faults(written, _root(args), args.action):
        return code
    status, body = try_request(written, _root(args), content)
    print(body.decode(), file=sys.stdout if status == 200 else sys.stderr)
    return 0 if status == 200 else 1


def _publish(written: Written, args: argparse.Namespace) -> int:
    root = _root(args)
    if code := _tell_faults(written, root, args.action):
        return code
    quality = written.manifest.quality
    for name, least in (quality.bar if quality else {}).items():
        got = quality.metrics.get(name) if quality else None
        if got is None or not got >= least:
            print(f"sluice pipeline publish: quality: {name}: expected at least {least:g}, got {got}", file=sys.stderr)
            return 1
    checked = check_golden(written, root) if written.files else "none"
    if checked.startswith("not sent"):
        print(f"sluice pipeline publish: golden requests were {checked}", file=sys.stderr)
        return 1
    provenance = Provenance(created=datetime.now(UTC).isoformat(timespec="seconds"))
    version = _open(root).publish(written.manifest.model_copy(update={"provenance": provenance}), written.files)
    print(f"{version.name} version {version.version} is in {root}; golden requests: {checked}")
    return 0
