"""The pages of the documentation are what the sources say."""

import pytest

from tests.support.pages.references import REPOSITORY
from tests.support.pages.written import WRITTEN


@pytest.mark.parametrize("name", WRITTEN)
def test_reference_is_what_the_sources_say(name: str) -> None:
    """``make docs`` has nothing to write."""
    assert (REPOSITORY / "docs" / name).read_text() == WRITTEN[name](), "run `make docs`"
