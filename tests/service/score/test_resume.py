"""A run that is killed goes on, and its output is that of a run that was not; failures first."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.service.score.tables import read_lines, read_output, run_process, score, write_double, write_numbers

KILLED = """
import os, signal, sys
import sluice

when, left = sys.argv[1], int(sys.argv[2])
real = os.replace

def replace(source, target):
    global left
    left -= 1
    if left < 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace
sys.exit(sluice.main(sys.argv[3:]))
"""
"""A file gets its name by ``os.replace``. The process kills itself before or after one of these calls."""
ROWS, PART = 100, 30


@pytest.mark.long
@pytest.mark.parametrize(
    ("when", "call"),
    [
        pytest.param("before", 0, id="before it has begun", marks=pytest.mark.slow),
        pytest.param("after", 0, id="before the first part", marks=pytest.mark.slow),
        pytest.param("before", 1, id="with a part half written"),
        pytest.param("after", 1, id="with a part, before its state", marks=pytest.mark.slow),
        pytest.param("before", 2, id="with a state half written"),
        pytest.param("before", 7, id="with the last part half written", marks=pytest.mark.slow),
        pytest.param("after", 8, id="with all parts, before it is called complete", marks=pytest.mark.slow),
    ],
)
def test_killed_run_goes_on_with_the_same_output(double_store: Path, tmp_path: Path, when: str, call: int) -> None:
    """Wherever SIGKILL comes, the same command ends with the bytes of a run that nothing has stopped."""
    table = write_numbers(tmp_path / "in.parquet", ROWS, bad=[3, 77])
    arguments = ("double", table, "--keep", "id", "--part-rows", PART)
    assert score(*arguments[:2], tmp_path / "whole", *arguments[2:], store=double_store) == 3
    killed = ("score", *arguments[:2], tmp_path / "out", *arguments[2:], "--store", double_store)
    ended = run_process(KILLED, when, call, *killed)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert read_output(tmp_path / "out") != read_output(tmp_path / "whole")
    assert score(*arguments[:2], tmp_path / "out", *arguments[2:], store=double_store) == 3
    assert read_output(tmp_path / "out") == read_output(tmp_path / "whole")


@pytest.mark.long
@pytest.mark.parametrize(
    ("suffix", "when", "call"),
    [
        ("parquet", "before", 9),
        *(pytest.param(*at, marks=pytest.mark.slow) for at in (("csv", "after", 9), ("jsonl", "after", 2))),
        pytest.param("csv", "after", 10, marks=pytest.mark.slow),
    ],
)
def test_killed_run_into_one_file_goes_on(
    double_store: Path, tmp_path: Path, suffix: str, when: str, call: int
) -> None:
    """The file appears when it is whole, and nothing but the file is left."""
    table = write_numbers(tmp_path / "in.parquet", ROWS)
    whole, out = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    assert score("double", table, whole, "--part-rows", PART, store=double_store) == 0
    killed = ("score", "double", table, out, "--part-rows", PART, "--store", double_store)
    ended = run_process(KILLED, when, call, *killed)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert out.exists() is (when == "after" and call >= 9), "it is there when all parts are"
    assert score("double", table, out, "--part-rows", PART, store=double_store) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", out.name, whole.name]


def test_second_run_does_not_write_beside_the_first(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs would mix their parts: the second is told to wait."""
    import fcntl

    table = write_numbers(tmp_path / "in.parquet", 5)
    (tmp_path / "out").mkdir()
    held = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert score("double", table, tmp_path / "out", store=double_store) == 1
    finally:
        os.close(held)
    assert "another run writes it" in capsys.readouterr().err


def stop_after_first_part(table: Path, out: Path, store: Path, *options: object) -> None:
    arguments = ("score", "double", table, out, "--part-rows", PART, *options, "--store", store)
    assert run_process(KILLED, "after", 2, *arguments).returncode == -signal.SIGKILL


@pytest.mark.long
def test_changed_input_is_refused(double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first parts would be of other rows than its last ones."""
    table = write_numbers(tmp_path / "in.parquet", ROWS)
    stop_after_first_part(table, tmp_path / "out", double_store)
    write_numbers(table, ROWS, bad=[5])
    assert score("double", table, tmp_path / "out", "--part-rows", PART, store=double_store) == 1
    complaint = capsys.readouterr().err
    assert "has the output of a run whose input differed" in complaint
    assert "--restart" in complaint


@pytest.mark.long
def test_changed_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A version of the same number with other files, and a newer version, are other models."""
    store = write_double(tmp_path / "store")
    table = write_numbers(tmp_path / "in.parquet", ROWS)
    stop_after_first_part(table, tmp_path / "out", store)
    file = store / "double" / "1" / "model.onnx"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"tiny", b"tony") if b"tiny" in before else before + b"\x1a\x00")
    assert score("double", table, tmp_path / "out", "--part-rows", PART, store=store) == 1
    assert "a run whose model differed: its files have changed" in capsys.readouterr().err
    file.write_bytes(before)
    shutil.copytree(store / "double" / "1", store / "double" / "2")
    assert score("double", table, tmp_path / "out", "--part-rows", PART, store=store) == 1
    assert "version was 1, and is 2 now" in capsys.readouterr().err
    assert score("double", table, tmp_path / "out", "--part-rows", PART, "--version", 1, store=store) == 0


@pytest.mark.long
def test_changed_options_are_refused_unless_it_starts_over(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts with other columns do not go together; --restart replaces them all."""
    table = write_numbers(tmp_path / "in.parquet", ROWS)
    stop_after_first_part(table, tmp_path / "out", double_store)
    options = ("--part-rows", PART, "--keep", "id", "--format", "jsonl")
    assert score("double", table, tmp_path / "out", *options, store=double_store) == 1
    assert "a run whose options differed: keep was [], and is ['id'] now" in capsys.readouterr().err
    assert score("double", table, tmp_path / "out", *options, "--restart", store=double_store) == 0
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert [part.suffix for part in parts] == [".jsonl"] * 4
    assert [row["id"] for part in parts for row in read_lines(part)] == list(range(ROWS))


def test_restart_does_not_touch_a_folder_of_something_else(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that no run has written is refused, --restart or not."""
    table = write_numbers(tmp_path / "in.parquet", 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-000000.parquet").write_text("mine")
    assert score("double", table, tmp_path / "out", "--restart", store=double_store) == 1
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "part-000000.parquet").read_text() == "mine"


def test_complete_output_is_left_as_it_is(
    double_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command once more writes nothing, and says so."""
    table = write_numbers(tmp_path / "in.parquet", 5)
    assert score("double", table, tmp_path / "out", store=double_store) == 0
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    assert score("double", table, tmp_path / "out", store=double_store) == 0
    assert "was complete already: 5 rows" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()} == before
