"""``sluice models pull`` and ``sluice models push``."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from model_store.commands.action import WrongUsage, add_json
from model_store.errors import RemoteError
from model_store.remote.address import Address, is_address, read_address
from model_store.remote.pull import pull
from model_store.remote.push import push
from model_store.remote.stores.opening import open_remote
from model_store.remote.transfers.progress import NoProgress, Progress
from model_store.store import ModelVersion, Store


def add_pull_arguments(parser: argparse.ArgumentParser) -> None:
    _add_arguments(parser, "where they are", "to fetch")


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    _add_arguments(parser, "where to put them", "to send")


def _add_arguments(parser: argparse.ArgumentParser, where: str, verb: str) -> None:
    parser.add_argument("address", metavar="URL", help=f"{where}: s3://BUCKET/FOLDER, gs://, az://, https:// or oci://")
    parser.add_argument("model", nargs="?", help=f"the model {verb}; without one, all")
    parser.add_argument("--version", help=f"number or alias of the version {verb}; without one, all")
    parser.add_argument(
        "--versions-only", action="store_true", help="leave aliases and other files beside the versions as they are"
    )
    add_json(parser, "what was done")


def run_pull(store: Store, args: argparse.Namespace) -> int:
    address = _read(args)
    store.root.mkdir(parents=True, exist_ok=True)
    with _open_progress("fetching") as progress:
        pulled = pull(
            open_remote(address),
            store.root,
            progress,
            model=args.model,
            version=args.version,
            versions_only=args.versions_only,
        )
    return _print("fetched", "here already", pulled.fetched, pulled.present, pulled.problems, args.json)


def run_push(store: Store, args: argparse.Namespace) -> int:
    address = _read(args)
    if args.version:
        models = {args.model: [store.find(args.model, args.version)]}
    elif args.model:
        models = {args.model: store.versions(args.model)}
    else:
        models = _find_all(store)
    with _open_progress("sending") as progress:
        pushed = push(
            open_remote(address),
            store,
            models,
            progress,
            versions_only=args.versions_only or bool(args.version),
            follow_links=args.follow_links,
        )
    code = _print("sent", "there already", pushed.sent, pushed.present, pushed.problems, args.json)
    for name, files in pushed.beside.items():
        if files and not args.json:
            print(f"{name}: now as here: {', '.join(files)}")
    return code


def _read(args: argparse.Namespace) -> Address:
    if args.version and not args.model:
        raise WrongUsage("--version needs the name of a model")
    if not is_address(args.address):
        raise WrongUsage(f"{args.address}: expected an address, such as s3://BUCKET/FOLDER or oci://REGISTRY/FOLDER")
    try:
        return read_address(args.address)
    except RemoteError as error:
        raise WrongUsage(str(error)) from None


def _find_all(store: Store) -> dict[str, list[ModelVersion]]:
    found = {name: store.versions_of(name, contents) for name, contents in store.list_all().items()}
    return {name: versions for name, versions in found.items() if versions}


def _print(
    done: str,
    before: str,
    new: Mapping[str, list[int]],
    old: Mapping[str, list[int]],
    problems: Mapping[tuple[str, int], str],
    as_json: bool,
) -> int:
    """Print what was done. Returns the exit code."""
    rows: list[dict[str, Any]] = []
    for what, found in ((done, new), (before, old)):
        rows += [
            {"name": name, "version": n, "done": what, "reason": ""} for name, ns in found.items() for n in sorted(ns)
        ]
    rows += [{"name": name, "version": n, "done": "", "reason": why} for (name, n), why in problems.items()]
    rows.sort(key=lambda row: (row["name"], row["version"]))
    if as_json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(f"{row['name']} {row['version']}: {row['done'] or row['reason']}")
    return 1 if problems else 0


@contextlib.contextmanager
def _open_progress(verb: str) -> Iterator[Progress]:
    """A progress bar if the output is a terminal."""
    if not sys.stderr.isatty():
        yield NoProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bar(bars, verb)


class _Bar:
    def __init__(self, bars: Any, verb: str) -> None:
        self._bars = bars
        self._verb = verb
        self._task: Any = None

    def begin(self, files: int, total_bytes: int) -> None:
        self._task = self._bars.add_task(self._verb, total=total_bytes)

    def advance(self, count: int, now_s: float) -> None:
        self._bars.advance(self._task, count)

    def end(self) -> None:
        self._bars.stop_task(self._task)
