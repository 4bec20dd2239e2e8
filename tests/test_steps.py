"""The lines of the Makefile's steps."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str) -> tuple[int, list[str]]:
    done = subprocess.run(["sh", ROOT / ".ci" / "step", "Working", *command], stdout=subprocess.PIPE, text=True)
    return done.returncode, done.stdout.splitlines()


def test_step_that_fails_is_told_with_its_code() -> None:
    """The code is passed on, so that make stops."""
    code, lines = run("sh", "-c", "exit 3")
    assert code == 3
    assert lines[0] == "Working"
    assert re.fullmatch(r"Working: \d+ s, failed with code 3", lines[1])


def test_step_is_a_line_before_and_after_in_a_log() -> None:
    """Without a terminal nothing is written over, and what the command prints stays."""
    code, lines = run("echo", "said")
    assert code == 0
    assert lines[:2] == ["Working", "said"]
    assert re.fullmatch(r"Working: \d+ s, done", lines[2])
