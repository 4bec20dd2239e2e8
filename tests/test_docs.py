"""The pages on exporting say what is so."""

import re
from typing import Any

import pytest

from export import ExportSpec, publish
from model_store import Store
from model_store.tasks import Classes
from tests.support.pages.references import PAGES, REPOSITORY, Page, write

_BLOCKS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "does-not-export.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=[page.file for page in PAGES])
def test_reference_is_what_the_docstrings_say(page: Page) -> None:
    """``make docs`` has nothing to write."""
    assert (REPOSITORY / "docs" / page.file).read_text() == write(page), "run `make docs`"


def test_links_between_the_pages_lead_somewhere() -> None:
    """Every link to another page of the documentation names a file that is there."""
    for page in sorted((REPOSITORY / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^):#]+\.md)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"


@pytest.mark.slow
@pytest.mark.parametrize("block", _BLOCKS, ids=[re.search(r'name="(.*?)"', block)[1] for block in _BLOCKS])  # type: ignore[index]
def test_advice_of_the_page_my_model_does_not_export_is_true(block: str, store: Store, one_thread: None) -> None:
    """Each example is exported as it stands, and proved."""
    import torch
    from torch.nn import functional

    names: dict[str, Any] = {"torch": torch, "functional": functional, "ExportSpec": ExportSpec, "Classes": Classes}
    exec(compile(block, "does-not-export.md", "exec"), names)  # noqa: S102  # our own page
    assert publish(names["spec"], store).verify().parity is not None


def test_messages_that_the_page_is_ordered_by_are_those_of_the_code() -> None:
    """A heading in the form of code is a part of a message that is in the sources."""
    page = (REPOSITORY / "docs" / "does-not-export.md").read_text()
    sources = " ".join(path.read_text() for path in sorted((REPOSITORY / "export").rglob("*.py")))
    sources += (REPOSITORY / "model_store" / "golden.py").read_text()
    joined = re.sub(r'"\s+f?"', "", sources)
    for heading in re.findall(r"^### (.*)$", page, re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", heading):
            words = re.sub(r"\(.*?\)|\.\.\.", "", message).strip(" ,")
            assert words in joined, message
