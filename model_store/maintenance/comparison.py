"""Compares two versions of a model: manifest, tensors, quality, file sizes, operators and golden answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model_store.errors import BadGraph
from model_store.graph import Tensor
from model_store.graphs.inspection import inspect
from model_store.maintenance.answers import Answers, compare_answers
from model_store.maintenance.operators import compare_operators
from model_store.manifest import Manifest
from model_store.store import ModelVersion

_APART = frozenset({"schema_version", "sluice", "name", "files", "quality", "statistics", "parity", "graph_parity"})
"""Fields that are compared elsewhere, or that differ between exports without a meaning."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``before`` or ``after`` is None if that version does not have it."""

    what: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between the versions ``before`` and ``after``. Empty parts are equal."""

    name: str
    before: int
    after: int
    fields: tuple[Change, ...]
    """Fields of the manifest, by their path, such as ``batching.max_rows``."""
    tensors: tuple[Change, ...]
    """Inputs and outputs, such as ``main.x``, as ``input FP32 [batch, 4]``."""
    quality: tuple[Change, ...]
    """All metrics, equal ones too."""
    files: tuple[Change, ...]
    """Sizes in bytes of the files whose content differs."""
    operators: tuple[Change, ...]
    """How often each operator is in the graphs, such as ``main: Conv``."""
    answers: tuple[Answers, ...]
    """The golden answers of each graph."""


def compare(before: ModelVersion, after: ModelVersion) -> Comparison:
    """Compare two versions. The files that are read are checked against their digests.

    Raises StoreError if a version is damaged, or if it has no manifest and would not serve.
    """
    old, new = _read(before), _read(after)
    return Comparison(
        before.name,
        before.version,
        after.version,
        tuple(_compare(dict(_list_fields(old)), dict(_list_fields(new)))),
        tuple(_compare(dict(_list_tensors(old)), dict(_list_tensors(new)))),
        tuple(_compare(_list_metrics(old), _list_metrics(new), equal=True)),
        tuple(_compare_files(before, old, after, new)),
        tuple(Change(*each) for each in compare_operators(before, old, after, new)),
        tuple(compare_answers(before, old, after, new)),
    )


def _read(version: ModelVersion) -> Manifest:
    if not version.is_plain:
        return version.read_manifest()
    found = inspect(version)
    if found.manifest is None:
        raise BadGraph(f"{version.name} version {version.version}: {found.refusal}")
    return found.manifest


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], equal: bool = False) -> Iterator[Change]:
    for what in dict.fromkeys((*before, *after)):
        old, new = before.get(what), after.get(what)
        if equal or old != new:
            yield Change(what, old, new)


def _list_fields(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    document = manifest.model_dump(mode="json", exclude=set(_APART))
    for graph in document["graphs"].values():
        del graph["inputs"], graph["outputs"], graph["run_bytes"]
    return _flatten("", document)


def _flatten(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values that hold no others, by their path. Empty ones are left out, as if they were not there."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _flatten(f"{path}.{key}" if path else str(key), inside)
    elif value not in (None, "", []):
        yield path, value


def _list_tensors(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for name, graph in manifest.graphs.items():
        for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
            for tensor in tensors:
                yield f"{name}.{tensor.name}", f"{kind} {_describe(tensor)}"


def _describe(tensor: Tensor) -> str:
    shape = "any shape" if tensor.any_shape else f"[{', '.join(map(str, tensor.shape))}]"
    facts = [tensor.datatype, shape]
    if tensor.batch_axis not in (None, 0):
        facts.append(f"batch on axis {tensor.batch_axis}")
    if (tensor.least, tensor.largest) != (None, None):
        facts.append(
            f"{'' if tensor.least is None else tensor.least} to {'' if tensor.largest is None else tensor.largest}"
        )
    facts += [word for word in ("optional", "finite", "internal") if getattr(tensor, word)]
    return " ".join(facts)


def _list_metrics(manifest: Manifest) -> dict[str, float]:
    return dict(manifest.quality.metrics) if manifest.quality is not None else {}


def _compare_files(before: ModelVersion, old: Manifest, after: ModelVersion, new: Manifest) -> Iterator[Change]:
    """Sizes of the files that differ. Files of plain versions are compared by their total size only."""
    for file in dict.fromkeys((*old.files, *new.files)):
        first, second = old.files.get(file), new.files.get(file)
        if first != second:
            yield Change(file, first and first.size_bytes, second and second.size_bytes)
    if before.is_plain or after.is_plain:
        sizes = (_measure(before), _measure(after))
        if sizes[0] != sizes[1]:
            yield Change("all files", *sizes)


def _measure(version: ModelVersion) -> int:
    if not version.is_plain:
        return sum(file.size_bytes for file in version.read_manifest().files.values())
    plain = version.read_plain()
    return len(plain.content) + sum(map(len, plain.external.values()))
