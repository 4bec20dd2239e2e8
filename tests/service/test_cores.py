"""How many cores may be used, read from files as the kernel has them."""

from pathlib import Path

import pytest

from service.cores import count_cores


def count(root: Path, groups: str, files: dict[str, str], affinity: int = 64) -> int:
    """``groups`` is what `/proc/self/cgroup` says, ``files`` lie under `/sys/fs/cgroup`."""
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(groups)
    for name, content in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(content + "\n")
    return count_cores(proc, cgroups, affinity)


POD = "0::/kubepods/pod1/box\n"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu.max": "200000 100000"}, 2),  # as a container sees its own group
        ({"kubepods/pod1/box/cpu.max": "150000 100000"}, 2),
        ({"kubepods/pod1/box/cpu.max": "10000 100000"}, 1),
        ({"kubepods/pod1/box/cpu.max": "max 100000", "kubepods/pod1/cpu.max": "300000 100000"}, 3),
        ({"kubepods/pod1/box/cpu.max": "800000 100000", "kubepods/cpu.max": "400000 100000"}, 4),
        ({"kubepods/pod1/box/cpu.max": "9900000 100000"}, 64),
        ({"kubepods/pod1/box/cpu.max": "nonsense"}, 64),
    ],
)
def test_quota_of_version_2_is_the_least_on_the_path(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    """Each group may hold those in it; a part of a core counts as one, and the affinity is never exceeded."""
    assert count(tmp_path, POD, files) == cores


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(
    ("where", "quota", "cores"), [("", "250000", 3), ("docker/box", "250000", 3), ("docker", "-1", 64)]
)
def test_quota_of_version_1(tmp_path: Path, folder: str, where: str, quota: str, cores: int) -> None:
    """In the group's own folder, or at the root of a container; -1 is no quota. Other controllers do not matter."""
    files = {f"{folder}/{where}/cpu.cfs_quota_us": quota, f"{folder}/{where}/cpu.cfs_period_us": "100000"}
    groups = "12:cpuset:/docker/box\n4:cpu,cpuacct:/docker/box\n1:name=systemd:/docker/box\n0::/\n"
    assert count(tmp_path, groups, files) == cores


def test_path_outside_of_the_namespace_ends_at_its_root(tmp_path: Path) -> None:
    """Nothing outside of the mounted groups is read; without any the number of usable cores is the affinity."""
    (tmp_path / "cpu.max").write_text("100000 100000")
    assert count(tmp_path, "0::/../..\n", {"cpu.max": "300000 100000"}) == 3
    assert count_cores(tmp_path / "none", tmp_path / "none", affinity=5) == 5
    assert count_cores() >= 1
