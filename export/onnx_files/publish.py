"""Publishes an ONNX file of any origin with a task, labels, preprocessing and golden samples.

There is no PyTorch original to compare with. The analysis that the server uses for plain files decides whether its rows
are independent.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from pydantic import ValidationError

from export.errors import ExportError, QualityError, SpecError, list_missed
from export.onnx.probabilities import append_probabilities
from export.onnx_files.analysis import Analysed, analyse, file_of
from export.onnx_files.reading import read_file
from export.onnx_files.spec import OnnxSpec
from export.onnx_files.steps import sample_step
from export.proof.statistics import summarise_all
from export.spec import Arrays, Progress
from export.spec.files import check_further_files, golden_file
from model_store.errors import StoreError
from model_store.golden import GoldenSamples, default_atol
from model_store.graph import MAIN
from model_store.graphs.bits import take_rows
from model_store.manifest import Golden, Manifest, Parity, Provenance, Statistics, describe
from model_store.store import ModelVersion, Store
from model_store.tasks import Classes

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
    """As ``publish_file``, for a graph that may differ from the file.

    ``parity`` is its comparison with the file. ``made_up`` are rows for golden samples, if the spec has no samples.
    """
    _check_quality(spec)
    contents = {MAIN: (content, external)}
    for name, file in spec.graphs.items():
        progress(f"reading the file of {name}")
        contents[name] = read_file(spec.name, Path(file))
    try:
        graphs = {name: analyse(spec, name, *of_graph, progress) for name, of_graph in contents.items()}
        draft = _draft(spec, graphs)
        progress("golden samples")
        samples = _take_samples(spec, graphs, made_up)
        golden = {name: _sample(spec, graphs[name], samples[name]) for name in graphs}
        progress("reference statistics")
        statistics = tuple(_measure(spec, graphs[MAIN], samples[MAIN]))
    except StoreError as error:
        raise ExportError(f"{spec.name}: {error}") from error
    measured = {
        **_describe_golden(spec, graphs, golden),
        "provenance": _origin(spec, content),
        "quality": spec.quality,
        "statistics": statistics,
        "parity": parity,
    }
    progress("publishing")
    return store.publish(draft.model_copy(update=measured), _list_files(spec, graphs, golden))


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


def _take_samples(spec: OnnxSpec, graphs: Mapping[str, Analysed], made_up: Arrays | None) -> dict[str, Arrays]:
    """Inputs of each graph: real samples, the inputs of a step of the loop, or made-up rows."""
    samples: dict[str, Arrays] = {}
    given = {MAIN: spec.samples, **spec.graph_samples}
    for name, one in graphs.items():
        real = given.get(name)
        if real is not None:
            samples[name] = one.check_samples(spec, real)
        elif name != MAIN:
            samples[name] = one.make_up(spec)
    if MAIN not in samples:
        start = spec.loop.start if spec.loop is not None else None
        step = sample_step(spec, graphs, samples.get(start or "", {})) if made_up is None else made_up
        samples[MAIN] = graphs[MAIN].make_up(spec) if step is None else step
    return samples


def _sample(spec: OnnxSpec, one: Analysed, samples: Arrays) -> GoldenSamples:
    """The first samples with the graph's outputs."""
    rows = min(spec.golden_rows, one.count_rows(samples), one.most_rows or spec.golden_rows)
    inputs = take_rows(samples, rows, one.axes)
    return GoldenSamples(inputs, one.run(spec, inputs))


def _list_files(
    spec: OnnxSpec, graphs: Mapping[str, Analysed], golden: Mapping[str, GoldenSamples]
) -> dict[str, bytes]:
    """The files of the version by name. Raises SpecError if two have the same name."""
    files = dict(spec.further_files)
    for name, one in graphs.items():
        for file, content in {file_of(name): one.content, **one.external}.items():
            if files.setdefault(file, content) != content:
                raise SpecError(
                    f"{spec.name}{one.where}: its file {file!r} has the name of another file of the version: save its "
                    "weights under another name"
                )
        files[golden_file(name)] = golden[name].to_bytes()
    return files


def _measure(spec: OnnxSpec, main: Analysed, samples: Arrays) -> Iterator[Statistics]:
    """The distribution of every input and output over the real samples, if there are any."""
    if spec.samples is None:
        return
    rows, step = main.count_rows(samples), main.most_rows or _CHUNK_ROWS
    starts = range(0, rows, step)
    chunks = (take_rows(samples, min(step, rows - start), main.axes, start) for start in starts)
    yield from summarise_all(({**chunk, **main.run(spec, chunk)} for chunk in chunks), rows)


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


def _draft(spec: OnnxSpec, graphs: Mapping[str, Analysed]) -> Manifest:
    """The manifest before anything is measured. Raises SpecError if the spec does not fit its graphs."""
    try:
        manifest = Manifest(**spec.in_manifest(), graphs={name: one.graph for name, one in graphs.items()})
    except ValidationError as error:
        raise SpecError(f"{spec.name}: the graph does not fit its description: {describe(error)}") from None
    check_further_files(spec, manifest)
    return manifest


def _describe_golden(
    spec: OnnxSpec, graphs: Mapping[str, Analysed], golden: Mapping[str, GoldenSamples]
) -> dict[str, Any]:
    """The fields of a manifest that describe golden samples."""
    facts = {
        name: Golden(
            file=golden_file(name),
            rows=max(1, one.count_rows(golden[name].inputs)),
            atol=default_atol(golden[name].outputs) if spec.golden_atol is None else spec.golden_atol,
            rtol=spec.golden_rtol,
        )
        for name, one in graphs.items()
    }
    return {"golden": facts.pop(MAIN), "graph_golden": facts}
