"""Publishes an ONNX file of any origin with a task, labels, preprocessing and golden samples.

There is no PyTorch original to compare with. The analysis that the server uses for plain files decides whether its rows
are independent.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from pydantic import ValidationError

from export.check import free_batch
from export.errors import ExportError, QualityError, SpecError, list_missed
from export.onnx.probabilities import append_probabilities
from export.onnx_files.reading import read_file
from export.onnx_files.spec import OnnxSpec
from export.proof.statistics import summarise_all
from export.spec import Arrays, Progress
from model_store.errors import StoreError, first_line
from model_store.golden import GoldenSamples, default_atol, find_no_probability
from model_store.graph import MAIN, Graph
from model_store.graphs.analyst import analyst
from model_store.graphs.batch import apply_analysis, batches, describe_verdict, has_single_rows, take_single_rows
from model_store.graphs.bits import take_rows
from model_store.graphs.locales import with_available_locale
from model_store.graphs.plain import make_samples, mark_any_shape
from model_store.graphs.sessions import CpuSession, describe_session
from model_store.manifest import Golden, Manifest, Parity, Provenance, Statistics, describe
from model_store.rows import Analysis
from model_store.store import ModelVersion, Store
from model_store.tasks import Classes

_FILE = f"{MAIN}.onnx"
_GOLDEN_FILE = "golden.npz"
_CHUNK_ROWS = 64


def publish_file(spec: OnnxSpec, store: Store, progress: Progress = lambda step: None) -> ModelVersion:
    """Analyse, sample and publish a file. A batch fixed at 1 is freed if the task needs it, and probabilities are added
    to a file that only has logits.

    Raises SpecError, ExportError, QualityError, and what ``Store.publish`` raises; the store is then unchanged.
    """
    _check_quality(spec)
    progress("reading the file")
    content, external = read_file(spec.name, Path(spec.file))
    return publish_content(spec, _complete(spec, content), external, store, progress)


def publish_content(
    spec: OnnxSpec,
    content: bytes,
    external: Mapping[str, bytes],
    store: Store,
    progress: Progress = lambda step: None,
    parity: Parity | None = None,
    made_up: Arrays | None = None,
) -> ModelVersion:
    """As ``publish_file``, of a graph that was changed since it was read.

    ``parity`` is its comparison with the file. ``made_up`` are rows for golden samples, if the spec has no samples.
    """
    _check_quality(spec)
    try:
        content, graph, session, sizes = _analyse(spec, content, external, progress)
        progress("golden samples")
        samples = _take_samples(spec, graph, sizes, made_up)
        rows = min(spec.golden_rows, _count_rows(graph, samples), graph.max_rows or spec.golden_rows)
        inputs = take_rows(samples, rows, _axes(graph))
        golden = GoldenSamples(inputs, _run(spec, session, inputs))
        progress("reference statistics")
        statistics = tuple(_measure(spec, graph, session, samples))
    except StoreError as error:
        raise ExportError(f"{spec.name}: {error}") from error
    facts = Golden(
        file=_GOLDEN_FILE,
        rows=max(1, _count_rows(graph, inputs)),
        atol=default_atol(golden.outputs) if spec.golden_atol is None else spec.golden_atol,
        rtol=spec.golden_rtol,
    )
    manifest = _describe(spec, graph, facts, statistics, _origin(spec, content)).model_copy(update={"parity": parity})
    progress("publishing")
    return store.publish(manifest, {**spec.further_files, _FILE: content, _GOLDEN_FILE: golden.to_bytes(), **external})


def _check_quality(spec: OnnxSpec) -> None:
    if spec.golden_rows < 1:
        raise SpecError(f"{spec.name}: golden_rows: expected 1 or more, got {spec.golden_rows}")
    missed = list_missed(spec.quality.metrics, spec.quality.bar) if spec.quality else []
    if missed:
        raise QualityError(f"{spec.name}: below the bar: {'; '.join(missed)}", spec.quality)


def _complete(spec: OnnxSpec, content: bytes) -> bytes:
    """The file with probabilities added, if it only has logits."""
    classes = spec.classes
    if classes is None or classes.logits is None:
        return content
    model = onnx.load_model_from_string(content)
    outputs = {output.name for output in model.graph.output}
    if classes.logits not in outputs or {classes.probabilities, Classes().probabilities} & outputs:
        return content  # the manifest is checked against the existing outputs
    append_probabilities(model.graph, classes, spec.name)
    completed: bytes = model.SerializeToString()
    return completed


_Analysed = tuple[bytes, Graph, CpuSession, Mapping[str, int] | None]
"""The content, the graph with its batch, a session of it, and sizes of its free axes at which it ran."""


def _analyse(spec: OnnxSpec, content: bytes, external: Mapping[str, bytes], progress: Progress) -> _Analysed:
    progress("row analysis")
    analysed, found = _analyse_once(content, external)
    needs_rows = spec.task != "tensors"
    why = ""
    if needs_rows and not batches(analysed[1]) and has_single_rows(analysed[1]):
        try:
            analysed, found = _analyse_once(free_batch(content, external), external)
            progress("note: its axis 0 was fixed at 1; it is free in the published version")
        except ExportError as error:
            why = str(error)
    content, graph, session, sizes = analysed
    if needs_rows and not batches(graph) and graph.rows is not None:
        alone = None if spec.loop is not None else take_single_rows(graph, found)
        why = why or f"its rows are {describe_verdict(graph.rows)}"
        if alone is None:
            raise ExportError(
                f"{spec.name}: task {spec.task} needs inputs and outputs whose axis 0 is that of the rows, but {why}: "
                "export it with a free axis 0, or publish it with the task tensors"
            )
        progress(f"note: each row is a run of its own: {why}")
        graph = alone
    return content, graph, session, sizes


def _analyse_once(content: bytes, external: Mapping[str, bytes]) -> tuple[_Analysed, Analysis]:
    session = CpuSession(with_available_locale(content), external)
    declared = mark_any_shape(describe_session(session.raw, _FILE), content)
    with analyst.hold():
        found = analyst.analyse(with_available_locale(content), external, {})
    graph = apply_analysis(declared, found).model_copy(update={"external_data": tuple(external)})
    return (content, graph, session, found.sizes), found


def _axes(graph: Graph) -> dict[str, int | None]:
    return {tensor.name: tensor.batch_axis for tensor in graph.inputs}


def _take_samples(spec: OnnxSpec, graph: Graph, sizes: Mapping[str, int] | None, made_up: Arrays | None) -> Arrays:
    """The real samples, or made-up rows."""
    if spec.samples is None and made_up is not None:
        return made_up
    if spec.samples is None:
        if sizes is None:
            raise ExportError(f"{spec.name}: it ran on none of the made-up inputs: give samples")
        return make_samples(graph, sizes, spec.golden_rows)
    needed = {tensor.name for tensor in graph.inputs if not tensor.optional}
    known = {tensor.name for tensor in graph.inputs}
    if not needed <= set(spec.samples) <= known:
        raise SpecError(f"{spec.name}: samples: expected the inputs {sorted(needed)}, got {sorted(spec.samples)}")
    samples = {name: np.asarray(array) for name, array in spec.samples.items()}
    rows = {samples[name].shape[axis] for name, axis in _axes(graph).items() if axis is not None and name in samples}
    if len(rows) > 1 or 0 in rows:
        raise SpecError(f"{spec.name}: samples: expected equally many rows in every input, at least one, got {rows}")
    return samples


def _count_rows(graph: Graph, inputs: Arrays) -> int:
    """The number of rows; 1 if the graph is not batched."""
    return next((inputs[n].shape[axis] for n, axis in _axes(graph).items() if axis is not None and n in inputs), 1)


def _run(spec: OnnxSpec, session: CpuSession, inputs: Arrays) -> dict[str, np.ndarray]:
    """The outputs by name. Raises ExportError if the graph fails, SpecError for bad probabilities."""
    try:
        outputs = dict(zip(session.output_names, session.run(inputs), strict=True))
    except Exception as error:
        shapes = {name: array.shape for name, array in inputs.items()}
        raise ExportError(
            f"{spec.name}: ONNX Runtime fails on samples of {shapes} ({first_line(error)}): give samples that the "
            "model accepts"
        ) from error
    reason = find_no_probability(spec.classes, outputs, spec.golden_atol or 0.0) if spec.classes else ""
    if reason:
        raise SpecError(f"{spec.name}: {reason}")
    return outputs


def _measure(spec: OnnxSpec, graph: Graph, session: CpuSession, samples: Arrays) -> Iterator[Statistics]:
    """The distribution of every input and output over the real samples, if there are any."""
    if spec.samples is None:
        return
    rows, step = _count_rows(graph, samples), graph.max_rows or _CHUNK_ROWS
    starts = range(0, rows, step)
    chunks = (take_rows(samples, min(step, rows - start), _axes(graph), start) for start in starts)
    yield from summarise_all(({**chunk, **_run(spec, session, chunk)} for chunk in chunks), rows)


def _origin(spec: OnnxSpec, content: bytes) -> Provenance:
    import onnxruntime

    model = onnx.load_model_from_string(content)
    opset = next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        onnx=version("onnx"),
        onnxruntime=str(onnxruntime.__version__),
        exporter=f"{model.producer_name} {model.producer_version}".strip() or None,
        opset=opset,
        data=spec.data,
        seed=spec.seed,
        parameters=spec.parameters,
    )


def _describe(
    spec: OnnxSpec, graph: Graph, golden: Golden, statistics: tuple[Statistics, ...], origin: Provenance
) -> Manifest:
    try:
        return Manifest(
            **spec.in_manifest(),
            graphs={MAIN: graph},
            golden=golden,
            provenance=origin,
            quality=spec.quality,
            statistics=statistics,
        )
    except ValidationError as error:
        raise SpecError(f"{spec.name}: the graph does not fit its description: {describe(error)}") from None
