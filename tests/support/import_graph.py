"""The picture of ARCHITECTURE.md, drawn from the import graph: ``python -m tests.support.import_graph`` renews it.

A box is a package, and an arrow is an import. An import that follows from two other arrows is left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import grimp

PAGE = Path(__file__).resolve().parents[2] / "ARCHITECTURE.md"
BEGIN, END = "<!-- picture: begin -->\n", "<!-- picture: end -->"
ROOTS = ("service", "export", "model_store", "loadtests", "benchmarks")
_OPENED = ("service",)
"""Packages whose parts are shown instead."""
_LEFT_OUT = (
    "service.errors",
    "service.settings",
    "service.cores",
    "service.compiled",
    "service.versions",
    "service.crashes",
)
"""Modules that everything imports, or that say nothing about the structure."""

Edges = Mapping[str, set[str]]


def find_boxes(graph: grimp.ImportGraph) -> list[str]:
    opened = [child for package in _OPENED for child in sorted(graph.find_children(package))]
    return [*(box for box in opened if box not in _LEFT_OUT), *(root for root in ROOTS if root not in _OPENED)]


def find_edges(graph: grimp.ImportGraph, boxes: Sequence[str]) -> dict[str, set[str]]:
    """Which boxes import which."""
    inside = {box: {box} | graph.find_descendants(box) for box in boxes}
    owner = {module: box for box, modules in inside.items() for module in modules}
    edges: dict[str, set[str]] = {}
    for box, modules in inside.items():
        imported = {owner.get(found) for module in modules for found in graph.find_modules_directly_imported_by(module)}
        edges[box] = {other for other in imported if other is not None and other != box}
    return edges


def reduce(edges: Edges) -> dict[str, set[str]]:
    """Leave out an arrow if a longer path has the same ends. There must be no cycle."""

    def reach(box: str) -> set[str]:
        return edges[box].union(*(reach(other) for other in edges[box]))

    return {
        box: {other for other in others if not any(other in reach(between) for between in others - {other})}
        for box, others in edges.items()
    }


def draw() -> str:
    """The picture as Mermaid has it."""
    graph = grimp.build_graph(*ROOTS, cache_dir=None, exclude_type_checking_imports=False)
    boxes = find_boxes(graph)
    lines = ["```mermaid", "flowchart TD"]
    for box, others in reduce(find_edges(graph, boxes)).items():
        lines += [f"  {_label(box)} --> {_label(other)}" for other in sorted(others)]
    return "\n".join([*lines, "```", ""])


def _label(box: str) -> str:
    name = box.replace(".", "_")
    return f"{name}[{box.removeprefix('service.')}]" if box.startswith("service.") else f"{name}[[{box}]]"


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + draw() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
