"""The code blocks of a page, which tests run as a reader would.

A block of `sh` is a command. A block of another language with a ``title`` is a file. A block of `json` or `text` right
below a command is what it prints, with … for what differs from run to run. ``<!-- not run: REASON -->`` before a block
says why it is left out.
"""

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n+)?"
    r"```(?P<language>\w*)(?: title=\"(?P<file>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_OUTPUTS = ("json", "text")
ELLIPSIS = "…"


class Block(NamedTuple):
    page: str
    language: str
    text: str
    file: str = ""
    """What the reader writes the block to; empty: it is a command."""
    reason: str = ""
    """Why it is not run; empty: it is run."""
    output: str = ""
    """What it prints; empty: the page does not show it."""

    @property
    def name(self) -> str:
        return self.file or self.text.strip().splitlines()[-1]


def read_blocks(path: Path) -> list[Block]:
    """The blocks of a page in order. Raises ValueError for one of which nothing says what to do with it."""
    text = path.read_text()
    blocks: list[Block] = []
    end = 0
    for found in _BLOCK.finditer(text):
        language, between = found["language"], text[end : found.start()]
        block = Block(path.name, language, found["text"], found["file"] or "", found["reason"] or "")
        end = found.end()
        if language in _OUTPUTS and not block.file and not block.reason:
            if between.strip() or not blocks or blocks[-1].language != "sh":
                raise ValueError(f"{path.name}: an output without a command right above it: {block.text!r}")
            blocks[-1] = blocks[-1]._replace(output=block.text)
        elif language == "sh" or block.file or block.reason:
            blocks.append(block)
        else:
            raise ValueError(f'{path.name}: expected sh, a title="FILE", or <!-- not run: REASON -->: {block.text!r}')
    return blocks


def is_printed(shown: str, printed: str) -> bool:
    """Whether a command printed what a page shows. White space does not count, and … stands for anything."""
    pieces = map(re.escape, "".join(shown.split()).split(ELLIPSIS))
    return not shown or re.fullmatch(".*".join(pieces), "".join(printed.split())) is not None
