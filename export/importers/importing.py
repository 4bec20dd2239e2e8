"""``sluice import``: read the source, plan, change the graph, prove it, and publish."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from export.errors import SpecError
from export.importers.changes.change import Arrays, apply_all
from export.importers.changes.shapes import FreeSizes
from export.importers.evaluation import check_evaluation, evaluate
from export.importers.facts import Facts
from export.importers.options import FILE, read_file
from export.importers.plan import Plan, make_plan
from export.importers.proof import RowRunner, count_rows, make_rows, prove_changes
from export.importers.rows.samples import Reader
from export.importers.rows.sounds import make_up_sounds
from export.importers.rows.texts import make_text_reader
from export.importers.sources.kinds import choose_source
from export.importers.sources.source import Found, OnnxModel, Publication, TorchModel
from export.onnx_files.publish import publish_content
from export.onnx_files.spec import OnnxSpec
from export.publish import publish_each
from export.spec import Progress
from model_store.manifest import Parity, Quality
from model_store.store import ModelVersion, Store

GOLDEN_ROWS = 8
_ROWS = {
    "samples": "a folder of pictures, texts or sounds, or a file with rows",
    "evaluate": "a folder with a sub-folder for each label, or a table",
}


def plan_import(path: Path, said: Facts) -> tuple[Found, Plan]:
    """Read a source and plan its import. ``said`` are the options; a ``model.toml`` beside the file counts next.

    Raises ExportError if the source cannot be imported, SpecError if facts are missing or contradict each other.
    """
    beside = (path if path.is_dir() else path.absolute().parent) / FILE
    in_file: Facts = read_file(beside) if beside.is_file() else {}
    found = choose_source(path).read(path, {**in_file, **said})
    plan = make_plan(found, (said, in_file))
    check_evaluation(plan.description, plan.get("bar") or {}, plan.get("evaluate") is not None)
    _check_paths(plan)
    return found, plan


def _check_paths(plan: Plan) -> None:
    """Raise SpecError if files with rows do not exist: a dry run would not read them."""
    for path, expected in _ROWS.items():
        fact = plan.facts.get(path)
        if fact is not None and not Path(fact.value).exists():
            raise SpecError(
                f"{plan.description.name}: {fact.origin}: expected {expected}, got nothing at {fact.value!r}"
            )


def publish_import(
    path: Path, found: Found, plan: Plan, store: Store, progress: Progress = lambda step: None
) -> Iterator[ModelVersion]:
    """Prove and publish what was planned. Raises NotPublished, and what ``Store.publish`` raises."""
    description = plan.description
    texts = make_text_reader(description, found.model.graph)
    reader = Reader(description.name, found.model.graph, description.image, description.table, description.sound, texts)
    samples = None
    if plan.get("samples") is not None:
        progress("samples")
        samples = reader.read_samples(Path(plan.get("samples")))
    measure = _measurer(plan, reader)
    if isinstance(found.model, TorchModel):
        publication = Publication(description=description, samples=samples, quality=measure, golden_rows=GOLDEN_ROWS)
        yield from publish_each(found.model.make_spec(publication), store, progress)
    else:
        yield _publish_onnx(path, found.model, plan, samples, measure, store, progress)


def _measurer(plan: Plan, reader: Reader) -> Callable[..., Quality] | None:
    """A function that measures the quality, given one that runs the exported graph. None if there is no evaluation."""
    if plan.get("evaluate") is None:
        return None
    return lambda predict: evaluate(
        reader, plan.description, Path(plan.get("evaluate")), plan.get("bar") or {}, predict
    )


def _publish_onnx(
    path: Path,
    model: OnnxModel,
    plan: Plan,
    samples: Arrays | None,
    measure: Callable[..., Quality] | None,
    store: Store,
    progress: Progress,
) -> ModelVersion:
    description = plan.description
    content, parity, quality = model.content, None, None
    if plan.changes or model.original is not None:
        progress("changing the graph")
        content = apply_all(content, plan.changes)
        progress("proof against the original")
        parity = _prove(model, plan, content, samples)
    texts = make_text_reader(description, model.graph)
    if texts is not None and texts.is_padded:
        progress("proof of padding")
        runner = RowRunner(description.name, content, model.external)
        texts.prove_padding(lambda inputs: runner.run(inputs, 0))
    if measure is not None:
        progress("quality")
        quality = measure(_predictor(description.name, content, model.external))
    spec = OnnxSpec(**description.as_fields(), file=path, samples=samples, quality=quality, golden_rows=GOLDEN_ROWS)
    has_own = any(facts is not None for facts in (description.image, description.tokens, description.sound))
    made_up = _make_rows(model, plan) if samples is None and has_own else None
    return publish_content(spec, content, model.external, store, progress, parity, made_up)


def _prove(model: OnnxModel, plan: Plan, content: bytes, samples: Arrays | None) -> Parity:
    rows, origin = samples, "samples"
    # An original of fixed size runs at that size only, and the samples may have another.
    if rows is None or any(isinstance(change, FreeSizes) for change in plan.changes):
        rows, origin = _make_rows(model, plan), "made-up rows"
    return prove_changes(plan.description.name, model, content, plan.changes, rows, origin)


def _make_rows(model: OnnxModel, plan: Plan) -> Arrays:
    """Made-up rows of sizes that the original accepts, for the inputs that remain."""
    texts = make_text_reader(plan.description, model.graph)
    if texts is not None:
        return texts.make_rows(GOLDEN_ROWS)
    kept = {tensor.name for tensor in plan.inputs}
    sound = plan.description.sound
    if sound is not None:
        return make_up_sounds(sound, plan.inputs, GOLDEN_ROWS)
    made = make_rows(model.graph, plan.description.image)
    return {name: array for name, array in made.items() if name in kept}


def _predictor(name: str, content: bytes, external: Mapping[str, bytes]) -> Callable[[Arrays], Arrays]:
    """Runs any number of rows, one at a time."""
    runner = RowRunner(name, content, external)

    def predict(inputs: Arrays) -> Arrays:
        answers = [runner.run(inputs, row) for row in range(count_rows(inputs))]
        return {output: np.concatenate([answer[output] for answer in answers]) for output in answers[0]}

    return predict
