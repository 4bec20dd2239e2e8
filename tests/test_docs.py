"""The pages of the documentation are what the sources say."""

import re

import pytest

from tests.support.pages.references import PAGES, REPOSITORY, Page, write


@pytest.mark.parametrize("page", PAGES, ids=[page.file for page in PAGES])
def test_reference_is_what_the_docstrings_say(page: Page) -> None:
    """``make docs`` has nothing to write."""
    assert (REPOSITORY / "docs" / page.file).read_text() == write(page), "run `make docs`"


def test_links_between_the_pages_lead_somewhere() -> None:
    """Every link to another page of the documentation names a file that is there."""
    for page in sorted((REPOSITORY / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^):#]+\.md)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
