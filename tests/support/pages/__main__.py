"""Writes every page of docs/ that comes from the sources: ``make docs``."""

from tests.support.pages.references import REPOSITORY
from tests.support.pages.written import WRITTEN

for name, write in WRITTEN.items():
    page = REPOSITORY / "docs" / name
    page.parent.mkdir(exist_ok=True)
    page.write_text(write())
