"""Turns a spec into a version in the store. Every step must pass before anything is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.errors import DependentRows, ExportError, NotPublished, ParityError, QualityError, SpecError, list_missed
from export.inputs import count_rows, in_chunks, make_random, real_samples, take_rows
from export.onnx_files.spec import OnnxSpec
from export.proof.statistics import summarise_all
from export.spec import BATCH, MAIN, Arrays, ExportSpec, GraphSpec, Precision, Progress
from export.spec.files import golden_file
from model_store.golden import default_atol, measure_magnitude
from model_store.graph import Graph
from model_store.manifest import Golden, Manifest, Parity, Quality, Statistics
from model_store.store import GoldenSamples, ModelVersion, Store
from model_store.tasks import Reconstruction

if TYPE_CHECKING:
    from export.onnx.candidate import Candidate
    from export.proof.parity import Proof
    from export.runtime import Runtime

_GOLDEN_SEED = 0
PRECISION = "precision"
"""The provenance parameter with the precision, in versions of lower precision."""
FULL = "fp32"
"""The suffix of the first version's metrics in versions of lower precision: ``accuracy_fp32``."""


def publish(
    spec: ExportSpec | OnnxSpec,
    store: Store,
    progress: Progress = lambda step: None,
    precision: Precision | None = None,
) -> ModelVersion:
    """Export, check, compare, measure and publish one model; ``progress`` receives each step in words.

    An ONNX file has no original to compare with, and no other precision. With ``precision``, a second version in it
    follows the first and is returned.

    Raises NotPublished (SpecError, ExportError, ParityError, QualityError) and what ``Store.publish`` raises. The store
    is then unchanged, or has only the first version if the second is refused.
    """
    *_, last = publish_each(spec, store, progress, [precision] if precision else [])
    return last


def publish_each(
    spec: ExportSpec | OnnxSpec,
    store: Store,
    progress: Progress = lambda step: None,
    precisions: Sequence[Precision] = (),
) -> Iterator[ModelVersion]:
    """As ``publish``, with any number of precisions. Each version is yielded when it is in the store."""
    if isinstance(spec, OnnxSpec):
        from export.onnx_files.publish import publish_file

        if precisions:
            raise SpecError(
                f"{spec.name}: precision: expected an ExportSpec, because an ONNX file is published as it is"
            )
        yield publish_file(spec, store, progress)
        return
    # Imported here, because importing torch takes seconds, and code that only reads specs or errors does not need it.
    from export.onnx.candidate import make_candidate

    if precisions:
        from export.onnx.precision import check_precision, lower

        for precision in precisions:
            check_precision(spec, precision)
    candidate = make_candidate(spec, progress)
    candidate, manifest, files = prove(candidate, progress)
    version = store.publish(manifest, files)
    full = (version.version, manifest.quality)
    yield version
    for precision in precisions:
        progress(f"converting to {precision}")
        lowered = lower(candidate, precision, progress)
        _, manifest, files = prove(lowered, progress, full)
        yield store.publish(manifest, files)


def prove(
    candidate: "Candidate", progress: Progress, full: tuple[int, Quality | None] | None = None
) -> tuple["Candidate", Manifest, dict[str, bytes]]:
    """Compare, sample and measure. Returns the proved candidate, the complete manifest, and the files of the version.

    ``full`` is the number and quality of the first version, if this one has lower precision. Raises NotPublished.
    """
    from export.onnx.candidate import draft_manifest, graphs_of
    from export.provenance import describe_origin

    spec = candidate.spec
    candidate, runtimes, parity = _prove_graphs(candidate, progress)
    manifest = draft_manifest(spec, judge_graphs(candidate, runtimes, progress))
    progress("golden samples")
    graphs = graphs_of(spec)
    samples = {name: make_golden(spec, graphs[name], runtime) for name, runtime in runtimes.items()}
    golden = {name: _describe_golden(spec, graphs[name], name, samples[name]) for name in samples}
    progress("reference statistics")
    statistics = measure_statistics(spec, runtimes[MAIN])
    progress("quality")
    quality = measure_quality(spec, runtimes)
    parameters = dict(spec.parameters)
    if full is not None and candidate.precision is not None:
        version, before = full
        quality = _beside(quality, before)
        parameters |= {PRECISION: candidate.precision, f"{FULL}_version": version}
    complete = manifest.model_copy(
        update={
            "reconstruction": _prove_tiles(candidate, runtimes, progress),
            "golden": golden.pop(MAIN),
            "graph_golden": golden,
            "parity": parity.pop(MAIN),
            "graph_parity": parity,
            "statistics": statistics,
            "quality": quality,
            "provenance": describe_origin(spec, candidate.exporter, candidate.opset, parameters, Path.cwd()),
        }
    )
    progress("publishing")
    files = {**spec.further_files, **{golden_file(name): samples[name].to_bytes() for name in samples}}
    for name, graph in manifest.graphs.items():
        files |= {graph.file: candidate.files[name].content, **candidate.files[name].external}
    return candidate, complete, files


def _prove_graphs(
    candidate: "Candidate", progress: Progress
) -> tuple["Candidate", dict[str, "Runtime"], dict[str, Parity]]:
    """Load every graph and prove that it equals its original. The returned candidate knows which inputs it accepts.

    If this fails for the graph ``explain``, the graph is left out in a lower precision, or if nobody asked for it.
    """
    from export.onnx.gradients import EXPLAIN, is_optional
    from export.proof.verdict import describe_proof

    runtimes, parity, graphs = {}, {}, dict(candidate.graphs)
    for name in candidate.files:
        try:
            candidate, runtime, proof = _prove_graph(candidate, name, progress)
        except (ExportError, ParityError) as error:
            if not is_optional(candidate.spec, name) and (name != EXPLAIN or candidate.precision is None):
                raise
            reason = error.__cause__ or error  # without the advice, which is for required graphs
            which = f"the version in {candidate.precision}" if candidate.precision else "the version"
            progress(f"note: {which} has no graph {EXPLAIN}: {reason}")
        else:
            runtimes[name], parity[name] = runtime, proof.parity
            graphs[name] = describe_proof(candidate.graphs[name], proof)
    return replace(candidate, graphs=graphs), runtimes, parity


def _prove_graph(candidate: "Candidate", name: str, progress: Progress) -> tuple["Candidate", "Runtime", "Proof"]:
    """Prove a graph, and try the other exporter if the graph differs from its original."""
    from export.onnx.candidate import export_otherwise
    from export.onnx.probabilities import check_probabilities
    from export.proof.grid import fit_grid
    from export.proof.parity import prove_graph
    from export.runtime import Runtime

    def attempt(one: "Candidate") -> tuple["Runtime", "Proof"]:
        runtime = Runtime(one.files[name].content, one.files[name].external)
        if name == MAIN:
            check_probabilities(one.spec, runtime)
        original = fit_grid(one.originals[name], runtime, progress)
        proof = prove_graph(original, runtime, one.graphs[name], one.limits[name], progress)
        spec = original.spec
        least = make_random(spec, {**spec.example_sizes, BATCH: min(spec.batches)}, _GOLDEN_SEED)
        runtime.run_and_release(least)  # free the memory of the largest batch for the next graph
        return runtime, proof

    try:
        return candidate, *attempt(candidate)
    except DependentRows:
        raise
    except (ExportError, ParityError) as error:
        first = error
    progress(f"exporting to ONNX by the other exporter: {name}")
    reason = str(first).partition(": ")[2]  # without the name
    try:
        other = export_otherwise(candidate, name, f"its graph fails: {reason}")
        found = attempt(other) if other is not None else None
    except NotPublished as error:
        if str(error) != str(first):
            first.args = (f"{first}; the TorchScript exporter does not help: {error}",)
        raise first from error
    if other is None or found is None:
        raise first
    progress(f"note: graph {name} comes from {other.exporters[name]}")
    return other, *found


def _prove_tiles(
    candidate: "Candidate", runtimes: Mapping[str, "Runtime"], progress: Progress
) -> Reconstruction | None:
    """The reconstruction with proved tiles, if the spec asks for them."""
    from export.onnx.candidate import graphs_of
    from export.proof.tiles import find_tiles

    spec = candidate.spec
    facts = spec.reconstruction
    if facts is None or spec.tile_pixels is None:
        return facts
    tiles = find_tiles(spec, facts, graphs_of(spec), runtimes, candidate.files, progress)
    return facts.model_copy(update={"tiles": tiles})


def judge_graphs(candidate: "Candidate", names: Iterable[str], progress: Progress) -> dict[str, Graph]:
    """The proved graphs with the verdicts on their rows and the memory of a run. Raises DependentRows."""
    from export.onnx.candidate import graphs_of
    from export.proof.memory import measure_run_bytes
    from export.proof.verdict import judge_rows, tell_alone

    specs, graphs = graphs_of(candidate.spec), {}
    for name in names:
        progress(f"row analysis: {name}")
        spec, files = specs[name], candidate.files[name]
        judged = judge_rows(spec, candidate.graphs[name], files)
        if note := tell_alone(judged):
            progress(f"note: graph {name}: {note}")
        graphs[name] = judged.model_copy(update={"run_bytes": measure_run_bytes(spec, files)})
    return graphs


def _beside(quality: Quality | None, full: Quality | None) -> Quality | None:
    """The metrics, each followed by that of the first version."""
    if quality is None or full is None:
        return quality
    metrics: dict[str, float] = {}
    for name, value in quality.metrics.items():
        metrics[name] = value
        if name in full.metrics:
            metrics[f"{name}_{FULL}"] = full.metrics[name]
    return quality.model_copy(update={"metrics": metrics})


def _describe_golden(spec: ExportSpec, graph: GraphSpec, name: str, golden: GoldenSamples) -> Golden:
    """The golden samples' description. The tolerance is scaled to the smallest magnitude of the outputs."""
    magnitudes = [measure_magnitude(array) for array in golden.outputs.values() if array.dtype.kind == "f"]
    atol = default_atol(golden.outputs) if spec.golden_atol is None else spec.golden_atol
    return Golden(
        file=golden_file(name),
        rows=count_rows(graph, golden.inputs),
        atol=max(atol, graph.scale_tol * min(magnitudes, default=0.0)),
        rtol=max(spec.golden_rtol, graph.scale_tol),
    )


def make_golden(spec: ExportSpec, graph: GraphSpec, runtime: "Runtime") -> GoldenSamples:
    """The first real samples of a graph, or random rows if there are none, with the graph's outputs."""
    inputs = real_samples(graph)
    if inputs is None:
        inputs = make_random(graph, {**graph.example_sizes, BATCH: spec.golden_rows}, _GOLDEN_SEED)
    inputs = take_rows(graph, inputs, slice(0, spec.golden_rows))
    return GoldenSamples(inputs, runtime.run(inputs))


def measure_statistics(spec: ExportSpec, runtime: "Runtime") -> tuple[Statistics, ...]:
    """The distribution of every input and output over the real samples, if there are any."""
    samples = real_samples(spec)
    if samples is None:
        return ()
    chunks = ({**chunk, **runtime.run(chunk)} for chunk in in_chunks(spec, samples))
    return tuple(summarise_all(chunks, count_rows(spec, samples)))


def measure_quality(spec: ExportSpec, runtimes: Mapping[str, "Runtime"]) -> Quality | None:
    """The quality on held-out data. Raises QualityError if it is below the bar, or a metric with a bar is missing."""
    if spec.quality is None:
        return None

    def predict(inputs: Arrays, graph: str = MAIN) -> dict[str, np.ndarray]:
        one = spec if graph == MAIN else spec.graphs[graph]
        answers = [runtimes[graph].run(chunk) for chunk in in_chunks(one, inputs)]
        axes = runtimes[graph].output_axes
        return {name: np.concatenate([answer[name] for answer in answers], axes.get(name, 0)) for name in one.outputs}

    quality = spec.quality if isinstance(spec.quality, Quality) else spec.quality(predict)
    missed = list_missed(quality.metrics, quality.bar)
    if missed:
        raise QualityError(
            f"{spec.name}: below the bar on {quality.rows} rows of {quality.data}: {'; '.join(missed)}: train the "
            "model better, or lower the bar if it is too high",
            quality,
        )
    return quality
