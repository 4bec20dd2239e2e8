"""``sluice models verify``."""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_store.commands.action import WrongUsage, add_json, add_version
from model_store.commands.inventory import read_version
from model_store.errors import BadKey, StoreError
from model_store.listing import Contents, Unusable
from model_store.signing.keys import Signers, read_signers
from model_store.store import ModelVersion, Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help="its name; without one, all models are checked")
    add_version(parser)
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="PEM file of public keys or certificates: each version must be signed by one of them [SLUICE_SIGNED_BY]",
    )
    add_json(parser, "the results")


def run(store: Store, args: argparse.Namespace) -> int:
    if args.version and not args.model:
        raise WrongUsage("--version needs the name of a model")
    versions, unusable = _find_all(store, args.model, args.version)
    signers = _read_signers(args.key)
    versions = [replace(version, signers=signers) for version in versions]
    results: list[dict[str, Any]] = []
    for name, number, complaint in _verify_each(versions, unusable):
        results.append({"name": name, "version": number, "ok": not complaint, "reason": complaint})
        if not args.json:  # at once: the files of a large store take minutes
            print(f"{name} {number}: {complaint or 'ok'}" if number else f"{name}: {complaint}", flush=True)
    if args.json:
        print(json.dumps(results))
    return 0 if all(result["ok"] for result in results) else 1


def _read_signers(key: Path | None) -> Signers | None:
    """Raises BadKey."""
    path = key or (Path(text) if (text := os.environ.get("SLUICE_SIGNED_BY", "").strip()) else None)
    try:
        return None if path is None else read_signers(path)
    except BadKey as error:
        raise BadKey(f"{path}: {error}") from None


def _verify_each(
    versions: Sequence[ModelVersion], unusable: Sequence[Unusable]
) -> Iterator[tuple[str, int | str | None, str]]:
    """Name, version, and what is wrong, "" if nothing is."""
    for version in versions:
        yield version.name, version.version, _complaint(version)
    for each in unusable:
        yield each.name, read_version(each), each.reason


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
