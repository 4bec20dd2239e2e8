"""Connections and the open files that they need; each in a process of its own, whose limits the test may change."""

import subprocess
import sys

import pytest

from service.transport.open_files import SPARE_FILES

_SCRIPT = """
import resource
from service.transport.open_files import fit_connections
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(fit_connections({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def fit(wanted: int, soft: int, hard: int) -> tuple[list[str], str]:
    """What a process with these limits prints and logs."""
    script = _SCRIPT.format(wanted=wanted, soft=soft, hard=hard)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("wanted", "soft", "raised"), [(100, 1000, 1000), (1000, 1000, 1000 + SPARE_FILES), (1000, 500, 1000 + SPARE_FILES)]
)
def test_limit_of_open_files_is_raised_as_far_as_is_needed(wanted: int, soft: int, raised: int):
    """The limit of open files is raised to what the connections need, without a message."""
    assert fit(wanted, soft, 2000) == ([str(wanted), str(raised)], "")


def test_fewer_connections_than_wanted_are_told_in_one_line():
    """If the limit cannot be raised far enough, one line says so; without room for any connection it is an error."""
    printed, said = fit(5000, 500, 1000)
    assert (printed, said.count("\n")) == ([str(1000 - SPARE_FILES), "1000"], 1)
    assert f"SLUICE_MAX_CONNECTIONS=5000: expected {5000 + SPARE_FILES} open files, this process may have 1000" in said
    assert f"(ulimit -n): it takes {1000 - SPARE_FILES} connections" in said
    printed, said = fit(100, 200, 300)
    assert printed == []
    assert "SettingsError: SLUICE_MAX_CONNECTIONS=100: expected " in said
