"""Tables, pictures and tiny models that the tests of `sluice score` share."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import sluice
from tests.support.models import graphs

REPOSITORY = Path(__file__).resolve().parents[3]
WIDTH = 3


def write_double(root: Path) -> Path:
    """A store with the model ``double`` of rows of three numbers."""
    return graphs.write_plain(root, "double", graphs.double(WIDTH))


def write_numbers(path: Path, rows: int, bad: Sequence[int] = ()) -> Path:
    """A Parquet file with ``id`` and ``x``: rows of three numbers, but of two in the ``bad`` rows."""
    x = [[float(i), i / 7, -float(i)][: WIDTH - (i in bad)] for i in range(rows)]
    table = pa.table({"id": pa.array(range(rows)), "x": pa.array(x, pa.list_(pa.float64()))})
    pq.write_table(table, path, row_group_size=64)
    return path


def score(*arguments: object, store: Path) -> int:
    """The exit code of the command, run in this process."""
    return sluice.main(["score", *map(str, arguments), "--store", str(store)])


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_output(folder: Path) -> dict[str, bytes]:
    """Every file of an output, by its name."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())} if folder.is_dir() else {}


def run_process(program: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """Run a program of Python in a process of its own, from the repository."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
