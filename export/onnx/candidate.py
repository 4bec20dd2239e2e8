"""A model during its export: its originals, its graphs, and its draft manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError

from export.errors import ExportError, SpecError
from export.onnx.exporter import describe_graph, export_graph, opset_of
from export.onnx.gradients import EXPLAIN, is_optional, make_explain
from export.onnx.limits import Limits
from export.onnx.scores import complete_probabilities
from export.onnx.tracing import DYNAMO
from export.onnx.weights import Files, serialise
from export.original import Original
from export.refusals.readiness import check_ready
from export.spec import MAIN, ExportSpec, GraphSpec, Precision, Progress
from export.spec.files import check_further_files
from model_store.graph import Graph
from model_store.manifest import Manifest, describe
from model_store.tasks import Reconstruction, Tiles


@dataclass(frozen=True, slots=True)
class Candidate:
    """All graphs by name, ``main`` first, before they are proved."""

    spec: ExportSpec
    originals: Mapping[str, Original]
    files: Mapping[str, Files]
    graphs: Mapping[str, Graph]
    limits: Mapping[str, Limits]
    """The sizes for which each graph is right, as far as its exporter knows."""
    exporters: Mapping[str, str]
    """The exporter of each graph, for the record."""
    opset: int
    precision: Precision | None = None
    """None: the precision of the module."""

    @property
    def exporter(self) -> str:
        """The exporters of the graphs."""
        return "; ".join(dict.fromkeys(self.exporters.values()))


def make_candidate(spec: ExportSpec, progress: Progress) -> Candidate:
    """Export every graph. Raises SpecError, ExportError."""
    progress("exporting to ONNX")
    main = complete_probabilities(Original(spec))
    assert isinstance(main.spec, ExportSpec)  # noqa: S101  # completing the spec keeps its class
    originals, spec = {MAIN: main}, main.spec
    for note in main.notes():
        progress(f"note: {note}")
    check_ready(main)
    traced = {MAIN: export_graph(originals[MAIN])}
    graphs = {MAIN: describe_graph(spec, traced[MAIN].model, f"{MAIN}.onnx")}
    if not spec.graphs:
        draft_manifest(spec, graphs)  # find contradictions before the slow steps
    spec = _add_explain(spec, main, progress)
    for name, one in list(spec.graphs.items()):
        progress(f"exporting to ONNX: {name}")
        originals[name] = Original(one)
        if name != EXPLAIN:
            for note in originals[name].notes():
                progress(f"note: graph {name}: {note}")
            check_ready(originals[name])
        try:
            traced[name] = export_graph(originals[name])
        except ExportError as error:
            if not is_optional(spec, name):
                raise
            progress(f"note: there is no graph {name}: {error}")
            spec = replace(spec, graphs={key: graph for key, graph in spec.graphs.items() if key != name})
            del originals[name]
            continue
        graphs[name] = describe_graph(one, traced[name].model, f"{name}.onnx")
    for name, made in traced.items():
        if made.fell_back:
            progress(f"note: graph {name} comes from {made.exporter}")
    draft_manifest(spec, graphs)
    opset = opset_of(traced[MAIN].model)
    exporters = {name: made.exporter for name, made in traced.items()}
    limits = {name: made.limits for name, made in traced.items()}
    files = {}
    for name, graph in graphs.items():
        files[name] = serialise(traced.pop(name).model, graph.file, graphs_of(spec)[name].external_data_bytes)
        graphs[name] = name_external(graph, files[name])
    return Candidate(spec, originals, files, graphs, limits, exporters, opset)


def export_otherwise(candidate: Candidate, name: str, reason: str) -> Candidate | None:
    """The candidate with one graph from the other exporter. ``reason`` says why the first exporter's is unusable.

    None if the graph already comes from the other exporter, or has been converted. Raises ExportError.
    """
    if candidate.precision is not None or candidate.exporters[name] != DYNAMO:
        return None
    spec = graphs_of(candidate.spec)[name]
    traced = export_graph(candidate.originals[name], unfit=reason)
    graph = describe_graph(spec, traced.model, candidate.graphs[name].file)
    files = serialise(traced.model, graph.file, spec.external_data_bytes)
    return replace(
        candidate,
        files={**candidate.files, name: files},
        graphs={**candidate.graphs, name: name_external(graph, files)},
        exporters={**candidate.exporters, name: traced.exporter},
        opset=opset_of(traced.model) if name == MAIN else candidate.opset,
    )


def name_external(graph: Graph, files: Files) -> Graph:
    """The description of a graph with the files that hold its weights."""
    return graph.model_copy(update={"external_data": tuple(files.external)})


def graphs_of(spec: ExportSpec) -> dict[str, GraphSpec]:
    """Every graph of a model by name, ``main`` first."""
    return {MAIN: spec, **spec.graphs}


def _add_explain(spec: ExportSpec, original: Original, progress: Progress) -> ExportSpec:
    """The spec with a graph ``explain``, if it is a classifier that should have one."""
    sample, *others = spec.inputs.values()
    wanted = spec.explain
    if wanted is None:
        rows_first = list(spec.batch_axes.values()) == [0]
        wanted = spec.task == "classify" and not others and sample.is_floating_point()
        wanted = wanted and rows_first and original.is_plain
    if not wanted or EXPLAIN in spec.graphs:
        return spec
    progress("tracing the gradients")
    try:
        return replace(spec, graphs={**spec.graphs, EXPLAIN: make_explain(spec, original, progress)})
    except ExportError as error:
        if spec.explain:
            raise
        progress(f"note: there is no graph {EXPLAIN}: {error}")
        return spec


def _draft_reconstruction(spec: ExportSpec) -> Reconstruction | None:
    """The reconstruction with unproved tiles, to check early that the graph takes pictures that can be cut."""
    facts = spec.reconstruction
    if facts is None or spec.tile_pixels is None:
        return facts
    error: Literal["mean_square"] | None = None if facts.error is None else "mean_square"
    return facts.model_copy(update={"tiles": Tiles(size=spec.tile_pixels, overlap=0, error=error)})


def draft_manifest(spec: ExportSpec, graphs: Mapping[str, Graph]) -> Manifest:
    """The manifest before anything is measured. Raises SpecError if the spec does not fit its graph."""
    try:
        described = {**spec.in_manifest(), "reconstruction": _draft_reconstruction(spec)}
        manifest = Manifest(graphs=graphs, **described)
    except ValidationError as error:
        raise SpecError(f"{spec.name}: the graph does not fit its description: {describe(error)}") from None
    check_further_files(spec, manifest)
    return manifest
