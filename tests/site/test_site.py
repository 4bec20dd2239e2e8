"""The documentation site."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
_IN_CSS = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^)]+)|@import\s+['\"]((?:https?:)?//[^'\"]+)")


class _Loads(HTMLParser):
    """What a browser loads for a page, apart from what scripts ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in LOADED and found.get("rel") != "canonical":
            self.addresses.append(found.get(LOADED[tag]) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it, where a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[str, str]]:
    for path in site.rglob("*.html"):
        yield str(path.relative_to(site)), path.read_text()


@pytest.mark.long
def test_site_builds_without_a_warning(site: Path) -> None:
    """Every page is in the navigation, and every link and anchor leads somewhere."""
    assert {"index.html", "tutorial.html", "architecture.html"} <= {name for name, _ in pages(site)}


def test_pages_load_nothing_from_another_origin(site: Path) -> None:
    """Scripts, styles, fonts and pictures are those of the site."""
    for name, text in pages(site):
        loads = _Loads()
        loads.feed(text)
        assert [each for each in loads.addresses if re.match(r"(https?:)?//", each)] == [], name
        assert 'class="mermaid"' not in text, f"{name}: the theme loads the program that draws it from another origin"
    for path in site.rglob("*.css"):
        assert _IN_CSS.findall(path.read_text()) == [], path.name


def test_links_to_files_of_the_repository_lead_to_pages(site: Path) -> None:
    """A file outside of docs/ to which a page links is a page of its own, with its code."""
    page = (site / "repository" / "examples" / "denoise.py.html").read_text()
    assert "examples/denoise.py" in page
    assert "import" in page
