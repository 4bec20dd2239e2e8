"""What `sluice doctor` says of the machine; failures first."""

import resource
from pathlib import Path

import pytest

from service.doctor import machine
from service.doctor.finding import Finding
from service.settings import Settings

GIB = 1 << 30
X86 = "model name\t: Some Processor\nflags\t\t: fpu sse2 {}\n"


def states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    """The control group of this process, without a limit; ``tmp_path`` holds ``proc`` and ``cgroups``."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    (tmp_path / "cgroups").mkdir()
    return tmp_path / "cgroups"


def check_cores(tmp_path: Path, **settings: int) -> list[Finding]:
    return list(machine.check_cores(Settings(**settings), tmp_path / "proc", tmp_path / "cgroups"))


def test_quota_that_stops_the_lanes_is_slow(cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a core more than a whole number gives a lane that the kernel stops; the advice names both whole numbers."""
    monkeypatch.setattr(machine, "count_affinity", lambda: 8)
    (cgroup / "cpu.max").write_text("150000 100000\n")
    good, slow = check_cores(tmp_path)
    assert good.text == "2 usable: 8 by affinity, a quota of 1.5"
    assert (slow.state, "give 1 or 2 cores" in slow.advice) == ("slow", True)


def test_throttling_that_happened_is_slow(cgroup: Path, tmp_path: Path) -> None:
    """The kernel counts the periods in which it stopped the group."""
    (cgroup / "cpu.stat").write_text("usage_usec 5\nnr_periods 200\nnr_throttled 50\n")
    assert "in 25% of its periods" in check_cores(tmp_path)[1].text
    (cgroup / "cpu.stat").write_text("usage_usec 5\nnr_periods 200\nnr_throttled 2\n")
    assert states(check_cores(tmp_path)) == ["ok"]


def test_more_workers_than_cores_are_slow(cgroup: Path, tmp_path: Path) -> None:
    """Workers that take turns gain nothing."""
    findings = check_cores(tmp_path, workers=4096)
    assert states(findings) == ["ok", "slow"]
    assert "SLUICE_WORKERS" in findings[1].advice


@pytest.mark.parametrize(
    ("memory", "models", "workers", "state"), [(GIB, GIB, 1, "wrong"), (GIB, 0, 3, "wrong"), (8 * GIB, GIB, 2, "ok")]
)
def test_memory_must_hold_the_models_of_every_worker(memory: int, models: int, workers: int, state: str) -> None:
    """Too little memory is wrong, because the kernel ends the worker in the middle of a request."""
    findings = list(machine.check_memory(Settings(workers=workers), memory, models))
    assert findings[-1].state == state


@pytest.mark.parametrize(
    ("hard", "state", "said"),
    [
        (100, "wrong", "so it does not start"),
        (1024, "slow", "so it takes 640"),
        (100_000, "ok", "4480 are needed"),
        (resource.RLIM_INFINITY, "ok", "no limit"),
    ],
)
def test_open_files_limit_the_connections(hard: int, state: str, said: str) -> None:
    """The hard limit counts, because a server raises the soft one."""
    [found] = machine.check_files(Settings(), (64, hard))
    assert (found.state, said in found.text) == (state, True)


@pytest.mark.parametrize(("flags", "state"), [("avx", "slow"), ("avx avx2 avx512f", "ok")])
def test_processor_without_avx2_is_slow(tmp_path: Path, flags: str, state: str) -> None:
    """The instructions are named; other processors than x86 are passed over."""
    (tmp_path / "cpuinfo").write_text(X86.format(flags))
    [found] = machine.check_processor(Settings(), tmp_path / "cpuinfo")
    assert found.state == state
    (tmp_path / "cpuinfo").write_text("Features : fp asimd\n")
    assert list(machine.check_processor(Settings(), tmp_path / "cpuinfo")) == []
    assert list(machine.check_processor(Settings(), tmp_path / "none")) == []


def test_busy_machine_is_slow() -> None:
    """More threads that want to run than cores mean that others use the machine."""
    assert states(list(machine.check_load(Settings(), 1e6))) == ["slow"]
    assert list(machine.check_load(Settings(), 0.0)) == []


def test_folder_that_cannot_be_written_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a server cannot start; a folder of the settings counts."""
    assert states(list(machine.check_folders(Settings(metrics_dir=tmp_path / "metrics")))) == ["ok"]

    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    [found] = machine.check_folders(Settings())
    assert (found.state, "Read-only file system" in found.text, "tmpfs" in found.advice) == ("wrong", True, True)
