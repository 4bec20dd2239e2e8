"""Pages with steps to follow, followed: their commands are run in an empty folder."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.pages.blocks import read_blocks
from tests.support.pages.session import Session
from tests.support.processes import free_port

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PAGES = ("scikit-learn.md", "promotion.md", "requests.md")


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_the_page_do_what_it_says(name: str, tmp_path: Path) -> None:
    """Every block of the page runs, and prints what it shows."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    programs = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    with Session(tmp_path, free_port(), environ) as session:
        for block in read_blocks(ROOT / "docs" / "how-to" / name):
            if not block.reason:
                session.run(block)
