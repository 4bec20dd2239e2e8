"""The page "My model does not export" is right."""

import re
from pathlib import Path
from typing import Any

import pytest

from export import ExportSpec, publish
from model_store import Store
from model_store.tasks import Classes

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "does-not-export.md").read_text()
_BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


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
    """Every heading in the form of code is part of a message in the sources."""
    sources = " ".join(path.read_text() for path in sorted((REPOSITORY / "export").rglob("*.py")))
    sources += (REPOSITORY / "model_store" / "golden.py").read_text()
    joined = re.sub(r'"\s+f?"', "", sources)
    for heading in re.findall(r"^### (.*)$", PAGE, re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", heading):
            words = re.sub(r"\(.*?\)|\.\.\.", "", message).strip(" ,")
            assert words in joined, message
