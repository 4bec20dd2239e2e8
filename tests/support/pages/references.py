"""The references of specs and of the manifest, written from the docstrings of the classes that they describe.

A field is described by the text below it.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.pages.markdown import join_page, make_table

REPOSITORY = Path(__file__).parents[3]


class Page(NamedTuple):
    file: str
    title: str
    introduction: str
    sources: tuple[tuple[str, tuple[str, ...]], ...]
    """Files, and the classes of each in the order of the page; none: all that have fields."""


PAGES = (
    Page(
        "export-spec.md",
        "What a spec may say",
        "`sluice export FILE.py:NAME` publishes what an `ExportSpec` describes, a PyTorch model, or an `OnnxSpec`, an "
        "ONNX file ([how](publish-onnx.md)). The parts that say what a model is for, such as `Classes`, are those of "
        "[the manifest](manifest.md). Where an export is refused: [My model does not export](does-not-export.md).",
        (
            ("export/spec/graph.py", ("GraphSpec",)),
            ("export/spec/description.py", ("ModelDescription",)),
            ("export/spec/model.py", ("ExportSpec",)),
            ("export/onnx_files/spec.py", ("OnnxSpec",)),
        ),
    ),
    Page(
        "manifest.md",
        "The manifest of a version",
        "`manifest.json` in `<name>/<version>/` says everything that is known of a version apart from its weights. "
        "`sluice export` writes it; `sluice models show NAME --json` prints it. An unknown field is an error.",
        (
            ("model_store/manifest.py", ("Manifest",)),
            ("model_store/graph.py", ()),
            ("model_store/tasks/picture.py", ()),
            ("model_store/tasks/sounds.py", ()),
            ("model_store/tasks/classes.py", ()),
            ("model_store/tasks/detection.py", ()),
            ("model_store/tasks/tables.py", ()),
            ("model_store/tasks/loop.py", ()),
            ("model_store/tasks/sequences.py", ()),
            ("model_store/tasks/reconstruction.py", ()),
            ("model_store/tasks/generation.py", ()),
            ("model_store/pipelines/facts.py", ()),
            (
                "model_store/manifest.py",
                ("Batching", "File", "Golden", "Parity", "ParityCase", "Quality", "Statistics", "Provenance"),
            ),
        ),
    ),
)


def write(page: Page) -> str:
    """The page as it should be."""
    parts = [page.introduction]
    for file, names in page.sources:
        statements = ast.parse((REPOSITORY / file).read_text()).body
        classes = {node.name: node for node in statements if isinstance(node, ast.ClassDef)}
        constants = {
            target.id: node.value
            for node in statements
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for name in names or [name for name, node in classes.items() if list(_fields(node))]:
            parts += _describe(classes[name], constants)
    return join_page(page.title, *parts)


def _describe(node: ast.ClassDef, constants: Mapping[str, ast.expr]) -> Iterator[str]:
    yield f"## {node.name}"
    bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id.endswith(("Spec", "Picture"))]
    if bases:
        yield f"All fields of `{bases[0]}`, and those below."
    yield from filter(None, [_as_markdown(ast.get_docstring(node) or "")])
    rows = []
    for field, text in _fields(node):
        assert isinstance(field.target, ast.Name)
        kind, default = _code(field.annotation), "" if field.value is None else _code(_default(field.value, constants))
        rows.append((f"`{field.target.id}`", kind, default, _as_markdown(text)))
    yield make_table(("field", "type", "default", ""), rows)


def _fields(node: ast.ClassDef) -> Iterator[tuple[ast.AnnAssign, str]]:
    """Each field with the text below it."""
    following = [*node.body[1:], None]
    for field, below in zip(node.body, following, strict=True):
        if isinstance(field, ast.AnnAssign):
            text = below.value if isinstance(below, ast.Expr) else None
            yield field, text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""


def _default(value: ast.expr, constants: Mapping[str, ast.expr]) -> ast.expr:
    """What ``field(default_factory=dict)`` makes, and what a constant of the file is."""
    if isinstance(value, ast.Name):
        return constants.get(value.id, value)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field":
        made = value.keywords[0].value
        return ast.Dict([], []) if isinstance(made, ast.Name) and made.id == "dict" else ast.Call(made, [], [])
    return value


def _code(node: ast.expr) -> str:
    """As code in a cell."""
    return f"`{ast.unparse(_WithoutNotes().visit(node))}`"


class _WithoutNotes(ast.NodeTransformer):
    """Replaces ``Annotated[...]`` by its type."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        is_annotated = isinstance(node.value, ast.Name) and node.value.id == "Annotated"
        if is_annotated and isinstance(node.slice, ast.Tuple):
            return node.slice.elts[0]
        return self.generic_visit(node)


def _as_markdown(text: str) -> str:
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(paragraphs).replace("``", "`")
