"""What the server would do with a plain version: batch it, run each request alone, or refuse it; and why."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from model_store.datatypes import BY_ONNX
from model_store.errors import BadGraph, StoreError
from model_store.graph import MAIN, Graph
from model_store.graphs import Arrays
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import batch_anyway, batches, without_batch
from model_store.graphs.bits import Bits, settle, take_rows
from model_store.graphs.configuration import read_configuration
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import Described, describe_plain
from model_store.graphs.sessions import CpuSession, describe_session, list_values, read_shape
from model_store.manifest import Manifest
from model_store.plain import PlainModel
from model_store.rows.graph.division import with_safe_division
from model_store.store import ModelVersion
from model_store.triton import CONFIG_FILE, TritonConfig

_MAX_ROWS = 64
"""The server's largest batch by default."""
_LARGER_S = 0.25
"""How long larger batches are tried, as the server does before it serves."""
_UNTESTED = (
    "it ran on none of the made-up inputs, so it would be served untested: add samples of its inputs to model_warmup "
    f"of {CONFIG_FILE}"
)

_DIVIDES = "it divides integers: the least INT32 or INT64 divided by -1 gives the least number again"


@dataclass(frozen=True, slots=True)
class Declared:
    """An input or output as the file declares it. ``datatype`` is ONNX's name if requests cannot carry the type."""

    name: str
    kind: str
    datatype: str
    shape: tuple[int | str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The result of an inspection.

    ``manifest`` describes the version as the server knows it; None if the server refuses it, and then ``refusal`` says
    why. ``sizes`` are those of free axes at which it ran; None if it ran at none. ``notes`` are for people, for example
    why proved rows do not share batches. ``bits`` are those of the CPU.
    """

    declared: tuple[Declared, ...] = ()
    manifest: Manifest | None = None
    bits: Bits = field(default_factory=lambda: Bits("exact"))
    sizes: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def serves(self) -> Literal["batches", "whole", "refused"]:
        """Whether it is served in batches, request by request ("whole"), or not at all."""
        if self.manifest is None:
            return "refused"
        return "batches" if batches(self.manifest.graphs[MAIN]) else "whole"


def inspect(version: ModelVersion) -> Inspection:
    """Inspect a version. Raises StoreError if its files cannot be read or ONNX Runtime cannot load them."""
    plain = version.read_plain()
    try:
        before = with_available_locale(plain.content)
    except BadGraph as error:
        return Inspection(refusal=str(error))
    content = with_safe_division(before)
    session = CpuSession(content, plain.external)
    declared = tuple(_declare(*listed) for listed in list_values(session.raw))
    try:
        with analyst.hold():
            config = read_configuration(version)
            described = _describe(version, plain, content, session, config)
        inspection = _settle(described, session, config, declared)
        return inspection if content is before else replace(inspection, notes=(*inspection.notes, _DIVIDES))
    except StoreError as error:
        return Inspection(declared=declared, refusal=str(error))


def _declare(kind: str, value: Any, optional: bool) -> Declared:
    datatype = BY_ONNX[value.type].name if value.type in BY_ONNX else value.type
    return Declared(value.name, kind, datatype, read_shape(value), optional)


def _describe(
    version: ModelVersion, plain: PlainModel, content: bytes, session: CpuSession, config: TritonConfig | None
) -> Described:
    described = describe_plain(version, plain, content, describe_session(session.raw, plain.file), config)
    session.adopt(described.graph, described.shapes)
    return described


def _settle(
    described: Described, session: CpuSession, config: TritonConfig | None, declared: tuple[Declared, ...]
) -> Inspection:
    """Settle the graph as the server does when it loads the version."""
    manifest = described.manifest
    graph, bits, ran = _try_rows(described, session, manifest.batching.max_rows or _MAX_ROWS)
    notes = [*_note_batch(described, config)] if ran else [_UNTESTED]
    return Inspection(
        declared=declared,
        manifest=manifest.model_copy(update={"graphs": {MAIN: graph}}),
        bits=bits if batches(graph) else Bits("exact"),
        sizes=described.found.sizes if ran else None,
        notes=tuple(notes),
    )


def _try_rows(described: Described, session: CpuSession, max_rows: int) -> tuple[Graph, Bits, bool]:
    """The graph with the batch that it keeps, its bits, and whether it ran alone and in larger batches."""
    for samples in described.candidates:
        longer = described.longer if samples is described.samples else ()
        try:
            graph, bits = settle(session.run, described.graph, samples, max_rows, longer)
            _try_sizes(session, graph, samples, bits.least_rows, max_rows)
        except Exception:  # noqa: BLE001, S112  # ONNX Runtime raises many types
            continue
        return graph, bits, True
    return without_batch(described.graph), Bits("exact"), False


def _try_sizes(session: CpuSession, graph: Graph, samples: Arrays, rows: int, max_rows: int) -> None:
    """Run larger and larger batches for a short time. Raises whatever ONNX Runtime raises."""
    axes = {tensor.name: tensor.batch_axis for tensor in graph.inputs}
    ends_at = time.perf_counter() + _LARGER_S
    while time.perf_counter() < ends_at:
        session.run(take_rows(samples, rows, axes) if batches(graph) else samples)
        if rows == max_rows or not batches(graph):
            break
        rows = min(2 * rows, max_rows)


def _note_batch(described: Described, config: TritonConfig | None) -> Iterator[str]:
    """Notes on how rows could share batches, or on what keeps proved rows from it."""
    if batches(described.graph):
        return
    if described.found.rows == "proved":
        if config is None:
            yield "no output has a row for each row of the inputs"
        elif not config.max_batch_size and (config.says_max_batch_size or (config.inputs and config.outputs)):
            yield f"max_batch_size of {CONFIG_FILE} is 0, so requests share no batches"
        else:
            yield f"the shapes in {CONFIG_FILE} have no batch axis where the graph has one"
    elif described.shapes is None and batch_anyway(described.graph, described.found) is not None:
        yield "SLUICE_BATCH_UNPROVED=true lets its rows share batches if they pass a trial"
