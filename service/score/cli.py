"""`sluice score`."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from model_store.errors import StoreError
from model_store.manifest import Task
from service.settings import SettingsError

SOME_FAILED = 3
"""The exit code if everything was done, but some rows have an error."""


def score_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = tuple(task for task in get_args(Task) if task != "generate")
    parser.add_argument("model", help="its name in the store")
    parser.add_argument(
        "input",
        metavar="IN",
        help="a table (.parquet, .csv, .tsv, .jsonl), or a folder of tables or of pictures, sounds or texts; a path or "
        "s3://BUCKET/KEY",
    )
    parser.add_argument(
        "output",
        metavar="OUT",
        help="a folder for parts, or one file (.parquet, .csv, .jsonl); a path or s3://BUCKET/KEY",
    )
    model = parser.add_argument_group("model")
    model.add_argument("--store", type=Path, metavar="FOLDER", help="folder of models [SLUICE_STORE]")
    model.add_argument("--version", metavar="N", help="number or alias (default: the newest)")
    model.add_argument("--task", choices=tasks, help="what the model does (default: its own task)")
    model.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the task, as in a request, such as top_k=3; may be given several times",
    )
    columns = parser.add_argument_group("columns")
    columns.add_argument(
        "--columns",
        default="",
        metavar="A,B",
        help="the columns of a row, as COLUMN, or as NAME=COLUMN with the names of the model (default: by their names)",
    )
    columns.add_argument(
        "--keep",
        metavar="A,B",
        help="columns of the input to copy to the output: all, none, or names (default: the paths of files, "
        "no columns of a table)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--format", choices=("parquet", "csv", "jsonl"), help="format of the parts (default: parquet)")
    output.add_argument(
        "--part-rows", type=_count, metavar="N", help="rows of a part (default: 10000; 1000 for a folder of files)"
    )
    output.add_argument("--strict", action="store_true", help="stop at the first row that has an error")
    output.add_argument("--restart", action="store_true", help="start over, and replace what an earlier run wrote")
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument("--ray", metavar="ADDRESS", help="run on the Ray cluster at HOST:PORT, or auto")
    cluster.add_argument("--actors", type=_count, metavar="N", help="workers on the cluster (default: one a node)")
    parser.epilog = (
        "A run that was stopped goes on where it was when the same command is given again. Exit codes: 0 done, 1 "
        f"failed, 2 wrong usage, {SOME_FAILED} done, but some rows have an error. All settings of the server count as "
        "variables, such as SLUICE_MAX_ROWS."
    )


def score(args: argparse.Namespace) -> int:
    """Run ``sluice score``."""
    try:
        from service.score.running import run
        from service.score.wanted import Wanted
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        print("sluice score: pyarrow is not installed: pip install 'sluice-serving[score]'", file=sys.stderr)
        return 2
    from service.score.errors import ScoreError

    try:
        summary = run(
            Wanted(
                args.model,
                args.input,
                args.output,
                version=args.version,
                store=args.store,
                task=args.task,
                options=_read_options(args.option),
                columns=[text.strip() for text in args.columns.split(",") if text.strip()],
                keep=args.keep,
                format=args.format,
                part_rows=args.part_rows,
                is_strict=args.strict,
                restarts=args.restart,
                ray=args.ray,
                actors=args.actors,
            )
        )
    except SettingsError as error:
        print(f"sluice score: {error}", file=sys.stderr)
        return 2
    except (ScoreError, StoreError, OSError) as error:
        print(f"sluice score: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsluice score: stopped: give the same command again to go on", file=sys.stderr)
        return 130
    if summary.left_out:
        print(f"sluice score: {summary.left_out} files of other kinds were left out", file=sys.stderr)
    done = "was complete already" if summary.was_done else "is complete"
    text = f"sluice score: {summary.output} {done}: {summary.rows} rows"
    print(text + (f", {summary.errors} of them with an error" if summary.errors else ""), file=sys.stderr)
    return SOME_FAILED if summary.errors else 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text}")
    return number


def _read_options(given: list[str]) -> Mapping[str, Any]:
    """The options by name. A value that is not JSON is a text. Raises ScoreError."""
    import orjson

    from service.score.errors import ScoreError

    options: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ScoreError(f"--option {text}: expected NAME=VALUE, such as top_k=3")
        try:
            options[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            options[name] = value
    return options
