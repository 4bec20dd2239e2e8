"""Parts of Markdown."""

from collections.abc import Iterable, Sequence

HEAD = "<!-- Written by `make docs` from the sources: change those. -->"


def join_page(title: str, *parts: str) -> str:
    """A page of which every part is written from the sources."""
    return "\n\n".join([f"# {title}", HEAD, *filter(None, parts)]) + "\n"


def make_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_as_cell, line))} |" for line in lines)


def as_code(text: object) -> str:
    """A text as code, and nothing if there is none."""
    return f"`{text}`" if str(text) else ""


def _as_cell(text: str) -> str:
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "<br>".join(paragraphs).replace("|", "\\|")
