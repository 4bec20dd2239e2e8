"""The code blocks of pages: what is run, what is shown, and that none is left out in silence."""

from pathlib import Path

import pytest

from tests.support.pages.blocks import Block, is_printed, read_blocks

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_run_or_says_why_not(path: Path) -> None:
    """The smoke run reads the README and the tutorial without a block that it would pass over."""
    blocks = read_blocks(path)
    assert any(block.language == "sh" and not block.reason for block in blocks)
    assert len(blocks) + sum(bool(block.output) for block in blocks) == path.read_text().count("\n```") / 2


def test_output_belongs_to_the_command_above_it(page: Path) -> None:
    """A block of text right below a command is what that prints; a file has the name of its title."""
    page.write_text('```sh\na\nb\n```\n\n```text\n1\n```\n\n```python title="x.py"\npass\n```\n')
    command, file = read_blocks(page)
    assert command == Block("page.md", "sh", "a\nb\n", output="1\n")
    assert (file.name, file.text) == ("x.py", "pass\n")


def test_block_that_is_not_run_has_a_reason(page: Path) -> None:
    """A comment before a block takes it out of the run, and is kept as the reason."""
    page.write_text("<!-- not run: needs Docker -->\n```sh\ndocker build .\n```\n")
    assert read_blocks(page)[0].reason == "needs Docker"


@pytest.mark.parametrize("text", ["```python\npass\n```\n", "```sh\na\n```\n\nText.\n\n```json\n{}\n```\n"])
def test_block_without_a_purpose_is_refused(page: Path, text: str) -> None:
    """Code that is neither a file nor a command, and an output that follows no command, would go unnoticed."""
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page\.md: "):
        read_blocks(page)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ('{"a": 1}', '{"a":1}\n', True),
        ('{"a":0.…,"b":2}', '{"a":0.75,"b":2}', True),
        ('{"a":0.…,"b":3}', '{"a":0.75,"b":2}', False),
        ("", "anything", True),
        ("one … one", "one", False),
    ],
)
def test_what_is_shown_is_compared_but_for_what_varies(shown: str, printed: str, same: bool) -> None:
    """An ellipsis stands for anything, white space for nothing."""
    assert is_printed(shown, printed) is same
