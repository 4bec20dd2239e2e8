"""What is shown while a command runs."""

import io

import pytest
from rich.console import Console

from export.report import show_progress


@pytest.fixture
def console():
    return Console(width=80, file=io.StringIO())


def test_stage_that_raises_is_marked(console):
    """The failed stage has a cross, the stages before it a tick."""

    def fail():
        with show_progress(console, "mine") as progress:
            progress("first: a")
            progress("first: b")
            progress("second")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    lines = console.file.getvalue().splitlines()
    assert [line.rpartition(" ")[0].rpartition(" ")[0] for line in lines] == ["✓ mine: first", "✗ mine: second"]


def test_note_is_shown_whole_and_ends_no_stage(console):
    """A note keeps its text, brackets and length, and the stage goes on."""
    text = "graph main comes from torchscript (dynamo: DispatchError: no [bold] function) " + "x" * 60
    with show_progress(console, "mine") as progress:
        progress("exporting: main")
        progress(f"note: {text}")
        progress("exporting: decode")
    lines = console.file.getvalue().splitlines()
    assert lines[0] == f"! mine: {text}"
    assert len(lines) == 2
    assert lines[1].startswith("✓ mine: exporting")
