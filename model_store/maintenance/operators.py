"""Compares how often each operator is in the graphs of two versions."""

from collections import Counter
from collections.abc import Iterator

from model_store.errors import BadGraph, first_line
from model_store.manifest import Manifest
from model_store.rows.graph.inner import every_graph
from model_store.rows.graph.weights import strip_weights
from model_store.store import ModelVersion

_OWN_DOMAINS = ("", "ai.onnx")


def compare_operators(
    before: ModelVersion, old: Manifest, after: ModelVersion, new: Manifest
) -> Iterator[tuple[str, int, int]]:
    """Operators that are not equally often in both versions: ``GRAPH: OPERATOR``, and the two counts.

    Operators inside If, Loop and Scan and in the file's functions count too. ``GRAPH: opset`` has the versions of the
    operator set instead of counts. Raises StoreError.
    """
    for name in dict.fromkeys((*old.graphs, *new.graphs)):
        first, second = _count(before, old, name), _count(after, new, name)
        for operator in sorted({*first, *second}):
            if first[operator] != second[operator]:
                yield f"{name}: {operator}", first[operator], second[operator]


def _count(version: ModelVersion, manifest: Manifest, name: str) -> "Counter[str]":
    if name not in manifest.graphs:
        return Counter()
    file = manifest.graphs[name].file
    content = version.read_plain().content if version.is_plain else version.read(manifest, file)
    try:
        model, _ = strip_weights(content)
    except Exception as error:
        raise BadGraph(
            f"{version.name}/{version.version}/{file} cannot be read as ONNX: {first_line(error)}"
        ) from error
    counts = Counter(_name(node.domain, node.op_type) for graph in every_graph(model.graph) for node in graph.node)
    for function in model.functions:
        counts.update(_name(node.domain, node.op_type) for node in function.node)
    counts["opset"] = max((each.version for each in model.opset_import if each.domain in _OWN_DOMAINS), default=0)
    return counts


def _name(domain: str, operator: str) -> str:
    return operator if domain in _OWN_DOMAINS else f"{domain}.{operator}"
