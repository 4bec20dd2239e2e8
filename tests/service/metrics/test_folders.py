"""A metrics folder belongs to one server."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.metrics.folders import claim_folder, find_shared_folder
from service.metrics.meters import Metrics
from service.metrics.storage import read_storage
from service.settings import SettingsError


def test_second_server_is_refused_and_breaks_nothing(tmp_path: Path) -> None:
    """While a server has the folder another one is refused and removes nothing. Later the folder is free."""
    with claim_folder(tmp_path):
        Metrics(tmp_path)
        with (
            pytest.raises(SettingsError, match=f"SLUICE_METRICS_DIR={tmp_path}: .*: another server has it"),
            claim_folder(tmp_path),
        ):
            pass
        assert len(list(tmp_path.glob("*.series"))) == 1
    with claim_folder(tmp_path):
        pass


def test_restart_begins_with_nothing(tmp_path: Path) -> None:
    """Counts of an earlier server are removed, other files stay, and a path below a file is refused."""
    (tmp_path / "notes.txt").touch()
    with claim_folder(tmp_path):
        Metrics(tmp_path).rejected("m", "queue_full")
        (tmp_path / "1-0.worker").touch()
    with claim_folder(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "server.lock"]
        assert ("m", "queue_full") not in Metrics(tmp_path).sums()["sluice_rejected"]
    (tmp_path / "file").touch()
    with (
        pytest.raises(SettingsError, match=r"SLUICE_METRICS_DIR=.*: Not a directory"),
        claim_folder(tmp_path / "file/x"),
    ):
        pass


def test_reused_process_id_brings_no_gauge_of_a_dead_worker_back(tmp_path: Path) -> None:
    """The lock on its file shows whether a worker lives, because its process id may be given to another process."""
    program = "import sys; from pathlib import Path; from service.metrics.meters import Metrics; m = Metrics(Path(sys.argv[1])); m.numbers('sluice_queue_rows', ('m', '1', 'main')).set(7); m.rejected('m', 'invalid')"  # noqa: E501
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    for path in tmp_path.iterdir():
        path.rename(path.with_name(f"1-{path.name.partition('-')[2]}"))  # process 1 lives always
    metrics = Metrics(tmp_path)
    sums = metrics.sums()
    assert ("m", "1", "main") not in sums["sluice_queue_rows"]
    assert sums["sluice_rejected"]["m", "invalid"] == [1.0]
    assert sums["sluice_workers"][()] == [1.0]
    assert 1 not in metrics.workers()


def test_half_a_line_and_a_strange_one_are_passed_over(tmp_path: Path) -> None:
    """A worker that was killed while it wrote, and one of another release, do not break the scrape."""
    one = Metrics(tmp_path)
    one.rejected("m", "invalid")
    [series] = tmp_path.glob("*.series")
    whole = len(list(read_storage(series)))
    series.write_text(series.read_text() + '["of_another_release", [], 0]\n["sluice_rej')
    assert len(list(read_storage(series))) == whole
    (tmp_path / "2-1.series").touch()
    (tmp_path / "2-1.storage").touch()
    assert list(read_storage(tmp_path / "2-1.series")) == []


def test_workers_of_another_parent_have_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without our supervisor, workers find each other by their parent. Folders of ended servers are removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = find_shared_folder()
    old = folder.with_name(f"{folder.name}0")  # the same process id, started at another time
    old.mkdir()
    assert find_shared_folder() == folder
    assert not old.exists()
    program = "from service.metrics.folders import find_shared_folder as f; print(f())"
    run = subprocess.run([sys.executable, "-c", program], env={"TMPDIR": str(tmp_path), "PYTHONPATH": "."}, stdout=-1)
    assert Path(run.stdout.decode().strip()).parent == tmp_path
    assert run.stdout.decode().strip() != str(folder)
