"""The facts without which a figure is worthless: machine, versions, commit, date."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    system: str
    python: str
    commit: str
    date: str


def describe_machine() -> Machine:
    return Machine(
        cpu=read_cpu_model(_read_text(Path("/proc/cpuinfo"))) or platform.processor() or platform.machine(),
        cores=count_cores(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        commit=_read_commit(Path(__file__).parent),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def count_cores() -> int:
    """The cores that this process may use, which a container may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_cpu_model(cpuinfo: str) -> str:
    """The first ``model name`` of /proc/cpuinfo, or nothing (ARM has none)."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(names, "")


def _read_text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _read_commit(folder: Path) -> str:
    """The commit of the source, marked if files differ from it; empty without git."""
    try:
        commit = _ask_git(folder, "rev-parse", "HEAD")
        changed = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit} with changes" if changed else commit


def _ask_git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
