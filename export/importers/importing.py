"""``sluice import``: read the source, plan, change the graph, prove it, and publish."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from export.importers.changes.change import Arrays, apply_all
from export.importers.changes.shapes import FreeSizes
from export.importers.evaluation import check_evaluation, evaluate
from export.importers.facts import Facts
from export.importers.options import FILE, read_file
from export.importers.plan import Plan, make_plan
from export.importers.proof import RowRunner, count_rows, make_rows, prove_changes
from export.importers.samples import Reader
from export.importers.sources.kinds import choose_source
from export.importers.sources.source import Found, OnnxModel, Publication, TorchModel
from export.onnx_files.publish import publish_content
from export.onnx_files.spec import OnnxSpec
from export.publish import publish_each
from export.spec import Progress
from model_store.manifest import Quality
from model_store.store import ModelVersion, Store

GOLDEN_ROWS = 8


def plan_import(path: Path, said: Facts) -> tuple[Found, Plan]:
    """Read a source and plan its import. ``said`` are the options; a ``model.toml`` beside the file counts next.

    Raises ExportError if the source cannot be imported, SpecError if facts are missing or contradict each other.
    """
    beside = (path if path.is_dir() else path.absolute().parent) / FILE
    in_file: Facts = read_file(beside) if beside.is_file() else {}
    found = choose_source(path).read(path, {**in_file, **said})
    plan = make_plan(found, (said, in_file))
    check_evaluation(plan.description, plan.get("bar") or {}, plan.get("evaluate") is not None)
    return found, plan


def publish_import(
    path: Path, found: Found, plan: Plan, store: Store, progress: Progress = lambda step: None
) -> Iterator[ModelVersion]:
    """Prove and publish what was planned. Raises NotPublished, and what ``Store.publish`` raises."""
    description = plan.description
    reader = Reader(description.name, found.model.graph, description.image, description.table)
    samples = None
    if plan.get("samples") is not None:
        progress("samples")
        samples = reader.read_samples(Path(plan.get("samples")))
    if isinstance(found.model, TorchModel):
        measure = _measurer(plan, reader)
        publication = Publication(description=description, samples=samples, quality=measure, golden_rows=GOLDEN_ROWS)
        yield from publish_each(found.model.make_spec(publication), store, progress)
        return
    yield _publish_onnx(path, found.model, plan, reader, samples, store, progress)


def _measurer(plan: Plan, reader: Reader) -> Callable[..., Quality] | None:
    """Measures the quality, given a function that runs the exported graph; None if nothing is to be evaluated."""
    if plan.get("evaluate") is None:
        return None
    return lambda predict: evaluate(
        reader, plan.description, Path(plan.get("evaluate")), plan.get("bar") or {}, predict
    )


def _publish_onnx(
    path: Path,
    model: OnnxModel,
    plan: Plan,
    reader: Reader,
    samples: Mapping[str, np.ndarray] | None,
    store: Store,
    progress: Progress,
) -> ModelVersion:
    description = plan.description
    content, parity = model.content, None
    made_up = None
    if samples is None and description.image is not None:
        made_up = _make_rows(model, plan)
    if plan.changes or model.original is not None:
        progress("changing the graph")
        content = apply_all(content, plan.changes)
        progress("proof against the original")
        # An original of fixed size runs at that size only, which need not be that of the samples.
        frees = any(isinstance(change, FreeSizes) for change in plan.changes)
        rows = samples if samples is not None and not frees else made_up or _make_rows(model, plan)
        origin = "made-up rows" if rows is not samples else "samples"
        parity = prove_changes(description.name, model, content, plan.changes, rows, origin)
    quality = None
    if (measure := _measurer(plan, reader)) is not None:
        progress("quality")
        quality = measure(_predictor(description.name, content, model.external))
    fields = description.as_fields()
    spec = OnnxSpec(**fields, file=path, samples=samples, quality=quality, golden_rows=GOLDEN_ROWS)
    return publish_content(spec, content, model.external, store, progress, parity, made_up)


def _make_rows(model: OnnxModel, plan: Plan) -> Mapping[str, np.ndarray]:
    """Made-up rows of the sizes that the original takes, for the inputs that remain."""
    kept = {tensor.name for tensor in plan.inputs}
    made = make_rows(model.graph, plan.description.image)
    return {name: array for name, array in made.items() if name in kept}


def _predictor(name: str, content: bytes, external: Mapping[str, bytes]) -> Callable[[Arrays], Arrays]:
    """Runs any number of rows, one at a time."""
    runner = RowRunner(name, content, external)

    def predict(inputs: Arrays) -> Arrays:
        answers = [runner.run(inputs, row) for row in range(count_rows(inputs))]
        return {output: np.concatenate([answer[output] for answer in answers]) for output in answers[0]}

    return predict
