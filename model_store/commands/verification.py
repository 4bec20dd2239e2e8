"""``sluice models verify``."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_store.commands.action import WrongUsage, add_json, add_version
from model_store.commands.inventory import list_models, read_version
from model_store.errors import BadKey, StoreError
from model_store.listing import Unusable
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
    for name, number, fault in _verify_each(versions, unusable):
        results.append({"name": name, "version": number, "ok": not fault, "reason": fault})
        if not args.json:  # immediately, because a large store takes minutes
            print(f"{name} {number}: {fault or 'ok'}" if number else f"{name}: {fault}", flush=True)
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
    """Name, version and fault of each; the fault is "" if there is none."""
    for version in versions:
        fault = ""
        try:
            version.check()
        except (StoreError, OSError) as error:
            fault = str(error)
        yield version.name, version.version, fault
    for each in unusable:
        yield each.name, read_version(each), each.reason


def _find_all(store: Store, model: str | None, version: str | None) -> tuple[list[ModelVersion], Sequence[Unusable]]:
    """The requested versions (one, all of a model, or all of all models), and the unusable entries beside them."""
    if model is not None and version is not None:
        return [store.find(model, version)], ()
    found = list_models(store, model)
    versions = [each for name, contents in found.items() for each in store.versions_of(name, contents)]
    return versions, [each for contents in found.values() for each in contents.unusable]
