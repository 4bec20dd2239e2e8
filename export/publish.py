"""From a spec to a version in the store: every step must pass, and only then is anything written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from export.errors import QualityError, SpecError
from export.inputs import count_rows, in_chunks, make_random, real_samples, take_rows
from export.spec import BATCH, MAIN, Arrays, ExportSpec, GraphSpec, Progress
from export.statistics import summarise
from model_store.manifest import GOLDEN_FILE, Golden, Graph, Manifest, Quality, Statistics, describe
from model_store.store import GoldenSamples, ModelVersion, Store

if TYPE_CHECKING:
    from export.runtime import Runtime

_GOLDEN_SEED = 0


def publish(spec: ExportSpec, store: Store, progress: Progress = lambda step: None) -> ModelVersion:
    """Export, check, compare, measure and publish one model; ``progress`` is told each step in words.

    Raises NotPublished (SpecError, ExportError, ParityError, QualityError) and what ``Store.publish`` raises; the store
    is then as it was before.
    """
    # torch takes seconds to import, and who only reads a spec or the errors does not need it.
    from export.exporter import describe_graph, export_graph, opset_of, serialise
    from export.original import Original
    from export.parity import check_parity
    from export.provenance import describe_origin
    from export.runtime import Runtime

    progress("exporting to ONNX")
    originals = {MAIN: Original(spec)}
    models = {MAIN: export_graph(originals[MAIN])}
    main = describe_graph(spec, models[MAIN], f"{MAIN}.onnx")
    if not spec.graphs:
        draft_manifest(spec, {MAIN: main})  # what does not fit is found before the time-consuming steps
    spec = add_explain(spec, progress)
    graphs = {MAIN: main}
    for name, one in spec.graphs.items():
        progress(f"exporting to ONNX: {name}")
        originals[name] = Original(one)
        models[name] = export_graph(originals[name])
        graphs[name] = describe_graph(one, models[name], f"{name}.onnx")
    manifest = draft_manifest(spec, graphs)
    contents = {name: serialise(model) for name, model in models.items()}
    runtimes = {name: Runtime(content) for name, content in contents.items()}
    parity = {name: check_parity(originals[name], runtime, progress) for name, runtime in runtimes.items()}
    progress("golden samples")
    samples = {name: make_golden(spec, graph, runtimes[name]) for name, graph in _graphs_of(spec).items()}
    golden = {name: _describe_golden(spec, name, samples[name]) for name in samples}
    progress("reference statistics")
    statistics = measure_statistics(spec, runtimes[MAIN])
    progress("quality")
    quality = measure_quality(spec, runtimes)
    complete = manifest.model_copy(
        update={
            "golden": golden.pop(MAIN),
            "graph_golden": golden,
            "parity": parity.pop(MAIN),
            "graph_parity": parity,
            "statistics": statistics,
            "quality": quality,
            "provenance": describe_origin(spec, opset_of(models[MAIN]), Path.cwd()),
        }
    )
    progress("publishing")
    files = {graph.file: contents[name] for name, graph in manifest.graphs.items()}
    files |= {golden_file(name): samples[name].to_bytes() for name in samples}
    return store.publish(complete, files)


def _graphs_of(spec: ExportSpec) -> dict[str, GraphSpec]:
    return {MAIN: spec, **spec.graphs}


def golden_file(graph: str) -> str:
    return GOLDEN_FILE if graph == MAIN else f"golden-{graph}.npz"


def _describe_golden(spec: ExportSpec, name: str, golden: GoldenSamples) -> Golden:
    rows = count_rows(_graphs_of(spec)[name], golden.inputs)
    return Golden(file=golden_file(name), rows=rows, atol=spec.golden_atol, rtol=spec.golden_rtol)


def add_explain(spec: ExportSpec, progress: Progress) -> ExportSpec:
    """The spec with a graph ``explain``, where it is a classifier that is to have one."""
    from export.gradients import EXPLAIN, make_explain

    sample, *others = spec.inputs.values()
    wanted = spec.explain
    if wanted is None:
        wanted = spec.task == "classify" and not others and sample.is_floating_point() and bool(spec.batched)
    if not wanted or EXPLAIN in spec.graphs:
        return spec
    progress("tracing the gradients")
    return replace(spec, graphs={**spec.graphs, EXPLAIN: make_explain(spec)})


def draft_manifest(spec: ExportSpec, graphs: Mapping[str, Graph]) -> Manifest:
    """The manifest before anything is measured. Raises SpecError where the spec does not fit its graph."""
    try:
        return Manifest(
            name=spec.name,
            task=spec.task,
            description=spec.description,
            graphs=graphs,
            labels=spec.labels,
            classes=spec.classes,
            image=spec.image,
            loop=spec.loop,
            forecast=spec.forecast,
            text=spec.text,
            reconstruction=spec.reconstruction,
            generation=spec.generation,
            batching=spec.batching,
            licence=spec.licence,
        )
    except ValidationError as error:
        raise SpecError(f"{spec.name}: the graph does not fit its description: {describe(error)}") from None


def make_golden(spec: ExportSpec, graph: GraphSpec, runtime: "Runtime") -> GoldenSamples:
    """The first real samples of a graph, or random rows where there are none, and what it makes of them."""
    inputs = real_samples(graph)
    if inputs is None:
        inputs = make_random(graph, {**graph.example_sizes, BATCH: spec.golden_rows}, _GOLDEN_SEED)
    inputs = take_rows(graph, inputs, slice(0, spec.golden_rows))
    return GoldenSamples(inputs, runtime.run(inputs))


def measure_statistics(spec: ExportSpec, runtime: "Runtime") -> tuple[Statistics, ...]:
    """The distribution of every input and output over the real samples; none where there are none."""
    samples = real_samples(spec)
    if samples is None:
        return ()
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*spec.inputs, *spec.outputs)}
    for chunk in in_chunks(spec, samples):
        for name, array in {**chunk, **runtime.run(chunk)}.items():
            parts[name].append(array)
    rows = count_rows(spec, samples)
    return tuple(summarise(name, arrays, rows) for name, arrays in parts.items() if sum(a.size for a in arrays))


def measure_quality(spec: ExportSpec, runtimes: Mapping[str, "Runtime"]) -> Quality | None:
    """The quality on held-out data. Raises QualityError where it is below the bar or a metric with a bar is missing."""
    if spec.quality is None:
        return None

    def predict(inputs: Arrays, graph: str = MAIN) -> dict[str, np.ndarray]:
        one = spec if graph == MAIN else spec.graphs[graph]
        answers = [runtimes[graph].run(chunk) for chunk in in_chunks(one, inputs)]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in one.outputs}

    quality = spec.quality if isinstance(spec.quality, Quality) else spec.quality(predict)
    missed = list_missed(quality.metrics, quality.bar)
    if missed:
        raise QualityError(
            f"{spec.name}: below the bar on {quality.rows} rows of {quality.data}: {'; '.join(missed)}: train it "
            "better, or lower the bar where that is honest"
        )
    return quality


def list_missed(metrics: Mapping[str, float], bar: Mapping[str, float]) -> list[str]:
    """What each metric that is under its bar, or absent, should have been."""
    return [
        f"{name}: expected at least {least:g}, got {metrics.get(name, 'no such metric')}"
        for name, least in bar.items()
        if not metrics.get(name, float("-inf")) >= least
    ]
