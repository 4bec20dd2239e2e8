"""The figures of the workers' processes."""

import os
import time
from pathlib import Path

import pytest

from service.metrics.processes import read_processes

GONE = (2**22 + 1, 2**22 + 2)
"""Linux never gives a process such an id."""


def read(*pids: int) -> dict[str, float]:
    return {name: value for name, _, value in read_processes(pids)}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it is read from Linux's /proc")
def test_figures_are_those_of_the_living_together() -> None:
    """The figures are sums over the living processes. Without any there are none."""
    alone = read(os.getpid())
    assert 10e6 < alone["sluice_worker_memory_bytes"] < 100e9
    assert 3 <= alone["process_open_fds"] <= alone["process_max_fds"]
    assert alone["process_threads"] >= 1
    assert 0 < alone["process_start_time_seconds"] < time.time()
    both = read(os.getpid(), os.getppid(), GONE[0])
    for name in ("sluice_worker_memory_bytes", "process_open_fds", "process_max_fds", "process_threads"):
        assert both[name] > alone[name]
    assert both["process_start_time_seconds"] <= alone["process_start_time_seconds"]
    assert read(*GONE) == {}


def test_a_process_is_read_as_the_manual_says(tmp_path: Path) -> None:
    """The name of a process may have spaces and brackets; a limit may be infinite."""
    folder = tmp_path / "7"
    (folder / "fd").mkdir(parents=True)
    for number in range(5):
        (folder / "fd" / str(number)).touch()
    after_name = ["S", *map(str, range(4, 53))]  # fields 3 to 52 of proc(5)
    (folder / "stat").write_text(f"7 (a) b ( c) {' '.join(after_name)}\n")
    (folder / "statm").write_text("100 20 3 4 5 6 7\n")
    (folder / "limits").write_text("Limit Soft Hard\nMax open files            unlimited            4096     files\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1000\n")
    found = {name: value for name, _, value in read_processes([7], tmp_path)}
    assert found == {
        "sluice_worker_memory_bytes": 20 * os.sysconf("SC_PAGE_SIZE"),
        "process_open_fds": 5,
        "process_max_fds": float("inf"),
        "process_threads": 20,
        "process_start_time_seconds": 1000 + 22 / os.sysconf("SC_CLK_TCK"),
    }
