"""A hook of mkdocs: pages of the site for files that lie outside of docs/, and the links to them.

README.md is the first page. ARCHITECTURE.md and its like are pages too, and so is every file that a page links to. So
the same links work in a checkout and on the site.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Documents of the repository, and their pages, which the navigation names."""
_LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(#[^)\s]*)?(?=\))")
_PICTURE = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
_ARROW = re.compile(r"\[+(\w+)\]+ --> \w+\[+(\w+)\]+")
_HIDDEN = "---\nsearch:\n  exclude: true\n---\n\n"
_LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of files outside of docs/."""
    wanted: list[str] = []
    for file in list(files.documentation_pages()):
        wanted += _find_foreign(file.content_string, PurePosixPath("docs") / file.src_uri)
    for name, uri in DOCUMENTS.items():
        text = (ROOT / name).read_text()
        wanted += _find_foreign(text, PurePosixPath(name))
        content = _PICTURE.sub(_as_table, _rewrite(text, PurePosixPath(name), uri))
        files.append(File.generated(config, uri, content=content))
    done: set[str] = set(DOCUMENTS)
    while wanted:
        path = wanted.pop()
        if path not in done:
            done.add(path)
            if (ROOT / path).is_dir():
                wanted += [str(each.relative_to(ROOT)) for each in _list_folder(ROOT / path)]
            page = File.generated(config, _uri_of(path), content=_show(path), inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside of docs/ to their pages."""
    if page.file.generated_by is not None:
        return markdown
    return _rewrite(markdown, PurePosixPath("docs") / page.file.src_uri, page.file.src_uri)


def _find_foreign(text: str, source: PurePosixPath) -> Iterator[str]:
    """The files outside of docs/ to which a page links."""
    for target, _ in _LINK.findall(text):
        path = _resolve(target, source)
        if path is not None and not path.startswith("docs/"):
            yield path


def _rewrite(text: str, source: PurePosixPath, uri: str) -> str:
    """The text of the file ``source`` as the page ``uri``."""

    def point(found: re.Match[str]) -> str:
        path = _resolve(found[1], source)
        if path is None:
            return found[0]
        return os.path.relpath(_uri_of(path), os.path.dirname(uri) or ".") + (found[2] or "")

    return _LINK.sub(point, text)


def _resolve(target: str, source: PurePosixPath) -> str | None:
    """The path in the repository to which a link leads; None if there is no such file."""
    path = os.path.normpath(source.parent / target)
    return None if path.startswith("..") or not (ROOT / path).exists() else path


def _uri_of(path: str) -> str:
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return DOCUMENTS.get(path, f"repository/{path}.md")


def _show(path: str) -> str:
    """A file as code, or a folder as a list of its files with what each is."""
    if (ROOT / path).is_dir():
        lines = [f"- [{each.name}]({each.name}.md){_summarise(each)}" for each in _list_folder(ROOT / path)]
        lines = [line.replace("](", f"]({os.path.basename(path)}/") for line in lines]
        return f"{_HIDDEN}# {path}\n\n" + "\n".join(lines) + "\n"
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return _HIDDEN + _rewrite(text, PurePosixPath(path), _uri_of(path))
    language = _LANGUAGES.get(os.path.splitext(path)[1], "text")
    return f"{_HIDDEN}# {path}\n\n````{language}\n{text}````\n"


def _list_folder(folder: Path) -> list[Path]:
    shown = (*_LANGUAGES, ".md")
    return sorted(each for each in folder.iterdir() if each.suffix in shown and each.name != "__init__.py")


def _summarise(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text())) if file.suffix == ".py" else None
    return f": {text.splitlines()[0]}" if text else ""


def _as_table(found: re.Match[str]) -> str:
    """A graph of Mermaid as a table, because drawing it takes a program from another origin."""
    parts: dict[str, list[str]] = {}
    for importer, imported in _ARROW.findall(found[1]):
        parts.setdefault(importer, []).append(imported)
    rows = [f"| {name} | → {', '.join(of)} |" for name, of in parts.items()]
    return "\n".join(["| part | imports |", "| --- | --- |", *rows]) + "\n"
