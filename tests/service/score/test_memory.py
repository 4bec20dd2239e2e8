"""The memory of a run does not grow with its input."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.service.score.tables import run_process

PEAK = """
import resource, sys
import sluice

code = sluice.main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""
TEXT_BYTES = 1000


def measure(store: Path, folder: Path, rows: int) -> int:
    """The most bytes that a run of so many rows, which keeps a long text of each, had in memory."""
    schema = pa.schema([("x", pa.list_(pa.float64())), ("text", pa.string())])
    path = folder / f"{rows}.parquet"
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for begin in range(0, rows, 10_000):
            count = min(10_000, rows - begin)
            x = [[float(i), 1.0, 2.0] for i in range(begin, begin + count)]
            writer.write_table(pa.table({"x": x, "text": [f"{i:{TEXT_BYTES}d}" for i in range(count)]}, schema))
    ended = run_process(
        PEAK, "score", "double", path, folder / f"out{rows}", "--keep", "text", "--columns", "x", "--store", store
    )
    assert ended.returncode == 0, ended.stderr
    assert pq.ParquetFile(path).metadata.num_rows == rows
    return int(ended.stdout) << 10


@pytest.mark.slow
def test_memory_is_bounded(double_store: Path, tmp_path: Path) -> None:
    """Ten times the rows, 200 MB more of them, take at most a fifth of that more."""
    small, large = measure(double_store, tmp_path, 20_000), measure(double_store, tmp_path, 200_000)
    print(f"{small / 1e6:.0f} MB for 20,000 rows, {large / 1e6:.0f} MB for 200,000 rows")
    assert large - small < 180_000 * TEXT_BYTES / 5
