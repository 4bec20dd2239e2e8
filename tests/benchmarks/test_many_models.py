"""More models than fit into memory, in a server of its own."""

from pathlib import Path

import pytest

from benchmarks import many_models


@pytest.mark.slow
def test_models_that_take_turns_give_no_errors_and_their_memory_back(tmp_path: Path) -> None:
    """Every answer is right, what is counted stays below the limit, and the server does not grow by its loads."""
    many_models.write_store(tmp_path, 60, 4 << 20)
    report = many_models.run(tmp_path, models=60, room_for=6, callers=8, seconds=20.0, exponent=1.0)
    assert report["errors"] == 0, report
    assert report["evictions"] > 0, report
    assert report["counted at the end MiB"] <= report["limit MiB"], report
    assert report["server at the end MiB"] < 1.25 * report["server at the start MiB"], report
