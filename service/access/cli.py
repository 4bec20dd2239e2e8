"""`sluice keys`: makes API keys, and lists those of a file."""

import argparse
import datetime
import sys
import time
from pathlib import Path

from service.access.grants import SCOPES
from service.access.keys import InvalidKeys, KeyEntry, make_key, read_keys, render_entry

_RATES = {
    "requests_per_s": "requests in a second",
    "rows_per_s": "rows in a second",
    "rows_per_day": "rows in 24 hours",
}


def keys_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    text = "make a key: it is shown once, on standard error; its entry for the file of keys goes to standard output"
    new = actions.add_parser("new", help=text, description=text[0].upper() + text[1:] + ".")
    new.add_argument("name", help="what logs call it: letters, digits, '.', '_' and '-'")
    new.add_argument(
        *("--scope", "-s"), action="append", required=True, choices=SCOPES, help="what it allows; may be repeated"
    )
    new.add_argument("--expires", type=_read_date, metavar="DATE", help="the last day on which it counts, in UTC")
    for name, unit in _RATES.items():
        new.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="N", help=f"at most so many {unit}")
    text = "list the keys of a file"
    listed = actions.add_parser("list", help=text, description=text[0].upper() + text[1:] + ".")
    listed.add_argument("file", type=Path, help="the file of keys, in TOML")


def keys(args: argparse.Namespace) -> int:
    """Run ``sluice keys``: 0 done, 1 if the file or the arguments cannot be used."""
    try:
        return _make(args) if args.action == "new" else _list(args.file)
    except InvalidKeys as error:
        text = str(error)
    except OSError as error:
        text = f"expected a file that can be read: {error.strerror}"
    except UnicodeDecodeError:
        text = "expected UTF-8"
    where = f" {args.file}:" if args.action == "list" else ""
    print(f"sluice keys {args.action}:{where} {text}", file=sys.stderr)
    return 1


def _make(args: argparse.Namespace) -> int:
    key = make_key()
    expires = None
    if args.expires is not None:
        next_day = args.expires + datetime.timedelta(days=1)
        expires = datetime.datetime.combine(next_day, datetime.time(), datetime.UTC)
        if expires.timestamp() <= time.time():
            raise InvalidKeys(f"--expires {args.expires}: expected a day that has not passed")
    rates = {name: getattr(args, name) for name in _RATES}
    entry = render_entry(args.name, key, {"scopes": dict.fromkeys(args.scope), "expires": expires, **rates})
    told = "This is the key. Copy it now: it is not kept anywhere. The file of keys gets the entry on standard output."
    print(f"{key}\n{told}\n", file=sys.stderr, flush=True)
    print(f"{entry}\n")
    return 0


def _list(file: Path) -> int:
    now = time.time()
    for name, entry in read_keys(file.read_text("utf-8")).items():
        print(f"{name}: {_describe(entry, now)}")
    return 0


def _describe(entry: KeyEntry, now: float) -> str:
    parts = [" ".join(entry.scopes)]
    if entry.expires is not None:
        parts.append(f"{'expired' if now >= entry.expires_at else 'expires'} {entry.expires.isoformat()}")
    parts += [
        f"{getattr(entry, name):.10g} {unit}" for name, unit in _RATES.items() if getattr(entry, name) is not None
    ]
    hashes = len(entry.digests)
    return ", ".join(parts + ([f"{hashes} secrets"] if hashes > 1 else []))


def _read_date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a date such as 2027-01-31, got {text!r:.40}") from None
