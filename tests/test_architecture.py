"""ARCHITECTURE.md says what is so, and the layout stays within its limits."""

import re
from collections import Counter
from pathlib import Path

from tests.support.import_graph import BEGIN, END, PAGE, ROOTS, draw

ROOT = Path(__file__).resolve().parents[1]
MOST_FILES = 14
"""Python files in a folder."""


def test_picture_is_that_of_the_imports() -> None:
    """The picture shows the import graph as it is; `make picture` draws it anew."""
    picture = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert picture == draw()


def test_no_folder_has_more_than_14_python_files() -> None:
    """What a newcomer sees in a folder can be taken in at a glance."""
    files = [file for root in (*ROOTS, "tests") for file in (ROOT / root).rglob("*.py")]
    counts = Counter(file.parent.relative_to(ROOT).as_posix() for file in files)
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_pages_name_files_that_are_there() -> None:
    """A file that ARCHITECTURE.md or CONTRIBUTING.md names exists, by its path or by the end of it."""
    every = [file.relative_to(ROOT).as_posix() for root in (*ROOTS, "tests") for file in (ROOT / root).rglob("*.py")]
    every.append("sluice.py")
    for page in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        for name in re.findall(r"`([\w./]+\.py)`", (ROOT / page).read_text()):
            assert any(file == name or file.endswith("/" + name) for file in every), f"{page}: {name}"
