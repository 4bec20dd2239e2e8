"""The arguments of ``sluice loadtest``."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.run import USERS

DEFAULT_USERS, DEFAULT_POOL = 16, 256


def loadtest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} --host URL [OPTION ...]"
    parser.add_argument(
        "--host", required=True, type=_read_address, metavar="URL", help="server, such as http://127.0.0.1:3000"
    )
    parser.add_argument("--json", action="store_true", help="print the figures and the verdict as JSON")
    parser.add_argument(
        "--report",
        default=Path("reports/loadtest/report.html"),
        type=_report_path,
        metavar="FILE.html",
        help="page with the verdict; CSV files, Locust's page and its log go beside it (reports/loadtest/report.html)",
    )
    _add_requests(parser.add_argument_group("what is sent", "If the server asks for a key, set LOADTEST_KEY to it."))
    _add_load(parser.add_argument_group("how much", "Callers that wait for answers, or a rate that waits for none."))
    _add_objective(parser.add_argument_group("objective"))


def _add_requests(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", default="", metavar="NAME", help="model to ask (a classifier, else the first one)")
    group.add_argument(
        "--protocol",
        default=(),
        type=_protocols,
        metavar="A,B",
        help="task: rows to the route of its task; json, binary, grpc: tensors; stream: an answer step by step; "
        "live: tensors as messages of a WebSocket; "
        "several share the callers (task, or json for a model without a task)",
    )
    group.add_argument("--rows-per-request", default=1, type=_at_least(int, 1), metavar="N", help="rows in each (1)")
    group.add_argument(
        "--body",
        type=Path,
        metavar="FILE",
        help="a request of your own: JSON, a picture, sound or text (made ones)",
    )
    group.add_argument(
        "--grpc", default="", metavar="HOST:PORT", help="address of gRPC (port 8001 of the host of --host)"
    )
    group.add_argument(
        "--trace",
        default=0.0,
        type=_fraction,
        metavar="F",
        help="share of requests that begin a trace, 0 to 1 (0.0); variables OTEL_… say where their spans go",
    )


def _add_load(group: argparse._ArgumentGroup) -> None:
    load = group.add_mutually_exclusive_group()
    load.add_argument(
        "--users",
        type=_at_least(int, 1),
        metavar="N",
        help=f"callers at once; with --rate: at most ({DEFAULT_USERS}; with --rate {DEFAULT_POOL})",
    )
    load.add_argument(
        "--sweep", type=_counts, metavar="N,N", help="one run for each number of callers, such as 1,4,16,64"
    )
    group.add_argument(
        "--rate",
        default=0.0,
        type=_above_zero,
        metavar="N",
        help="requests a second, sent whether or not earlier ones are answered; latency counts from when each is due",
    )
    group.add_argument(
        "--spawn-rate", default=16.0, type=_above_zero, metavar="N", help="callers started per second (16)"
    )
    group.add_argument(
        "--run-time", default=30, type=_at_least(int, 1), metavar="SECONDS", help="length of each run (30)"
    )


def _add_objective(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-error-rate", default=0.0, type=_fraction, metavar="F", help="failed fraction allowed, 0 to 1 (0.0)"
    )
    group.add_argument(
        "--max-p99-ms", default=250.0, type=_above_zero, metavar="MS", help="99th percentile allowed (250)"
    )
    group.add_argument(
        "--min-requests", default=1, type=_at_least(int, 1), metavar="N", help="requests that must be made (1)"
    )


def find_fault(args: argparse.Namespace) -> str:
    """What is wrong with arguments that do not go together; "" if nothing is."""
    if args.rate and args.sweep:
        return "--rate and --sweep: expected one of them: a sweep is over callers that wait for their answers"
    if args.rate and args.rate * args.run_time < 1:
        return f"--rate {args.rate:g}: expected at least one request in --run-time {args.run_time}"
    tensors = [name for name in args.protocol if name in ("binary", "grpc", "live")]
    if args.body is not None and tensors:
        return f"--body: expected --protocol task, json or stream, got {', '.join(tensors)}"
    return ""


def _protocols(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if wrong := [name for name in names if name not in USERS]:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(USERS)}, got {wrong[0]!r}")
    return names


def _counts(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1, comma-separated, got {text!r}")
    return tuple(dict.fromkeys(map(int, parts)))


def _read_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"expected an address such as http://127.0.0.1:3000, got {text!r}")
    return text.rstrip("/")


def _at_least(kind: Callable[[str], int], least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text!r}")
        return value

    return read


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _above_zero(text: str) -> float:
    value = _read_number(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _fraction(text: str) -> float:
    value = _read_number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a fraction from 0 to 1, got {text!r}")
    return value


def _report_path(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".html":
        raise argparse.ArgumentTypeError(f"expected a file that ends in .html, got {text!r}")
    return path
