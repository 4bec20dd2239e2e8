"""The quick check of the engine's speed: what it compares, and when it fails."""

from pathlib import Path

import pytest

from benchmarks.smoke import LIMITS, main, read_cells
from loadtests.bench.models.model import MODELS


@pytest.mark.parametrize(("least", "status"), [(0.0, 0), (1e6, 1)])
def test_ratio_below_its_limit_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], least: float, status: int):
    """The line names the cell, its ratio and the limit."""
    limits = tmp_path / "limits.toml"
    limits.write_text(f"[tiny]\n16 = {least}\n")
    assert main(limits, rounds=1, round_s=0.02) == status
    line = capsys.readouterr().out
    assert line.startswith("tiny, 16 callers: ")
    assert line.endswith(": below the limit\n" if status else ": ok\n")


def test_limits_name_models_of_the_bench():
    """Each model is bound by something else, so all of them are in the file."""
    assert {cell.model for cell in read_cells(LIMITS)} == set(MODELS)
