"""Example requests for a model: those of the documentation, and its golden samples in the form that people send.

The pages offer them, so that people can try a model without data of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from model_store import GoldenSamples, ModelVersion
from model_store.graph import MAIN, Tensor
from model_store.manifest import Manifest
from model_store.tasks import Table
from service.api.openapi.examples import EXAMPLES
from service.codecs.model_context import ModelContext, known
from service.codecs.pictures.writer import as_image, encode_png
from service.codecs.rows import image_of
from service.codecs.series import SeriesReader
from service.codecs.sounds import as_sound, find_sound
from service.engine.tensors import Arrays
from service.models.entry import Model, Served
from service.models.pipeline import Pipeline
from service.protocol.large_json import parse_object

_MOST_SAMPLES = 4
"""The most golden samples that become examples."""
_MOST_NUMBERS = 4096
"""The most numbers of a row in JSON. Larger rows are left out unless they are pictures or sounds."""

Example = dict[str, Any]


def make_examples(model: Served, version: ModelVersion | None) -> list[Example]:
    """``{"task", "title", "body"}`` for each example, the documented ones first.

    ``version`` is the version in the store; None if it has no golden samples. Raises StoreError if the store has
    changed.
    """
    if isinstance(model, Pipeline):
        stored = [("pipeline", parse_object(golden.request)) for golden in model.loaded.golden]
    elif version is None:
        stored = []
    else:
        stored = list(_of_samples(model.context, _read_samples(model, version)))
    documented = [
        {"task": task, "title": title, "body": dict(body)}
        for task, examples in EXAMPLES.items()
        for title, body in examples.values()
        if body["model"] == model.name and task in model.tasks
    ]
    counts = dict.fromkeys(model.tasks | {"tensors"}, 0)
    for task, fields in stored:
        counts[task] += 1
        body = fields if task == "tensors" else {"model": model.name, **fields}
        title = "Seed 1" if task == "generate" else f"Stored sample {counts[task]}"
        documented.append({"task": task, "title": title, "body": body})
    return documented


def _read_samples(model: Model, version: ModelVersion) -> dict[str, GoldenSamples]:
    """The golden samples of each graph that has some."""
    manifest = model.manifest
    golden = {**manifest.graph_golden, **({} if manifest.golden is None else {MAIN: manifest.golden})}
    return {name: GoldenSamples.from_bytes(version.read(manifest, facts.file)) for name, facts in golden.items()}


def _of_samples(context: ModelContext, samples: Mapping[str, GoldenSamples]) -> Iterator[tuple[str, Example]]:
    """(task, body) for each example. The bodies do not name the model."""
    manifest = context.manifest
    for task in sorted(manifest.tasks - {"tensors"}):
        if task == "generate":
            yield task, _generate(manifest)
            continue
        graph = _first_graph(manifest) if task == "predict_sequence" else MAIN
        for arrays in _rows_of(manifest, graph, samples):
            row = _make_row(context, graph, arrays, task)
            if row is not None:
                yield task, {"inputs": [row]}
    for arrays in _rows_of(manifest, MAIN, samples, public=True):
        tensors = [_as_tensor(manifest, name, array) for name, array in arrays.items()]
        if sum(array.size for array in arrays.values()) <= _MOST_NUMBERS and all(map(_is_json, arrays.values())):
            yield "tensors", {"inputs": tensors}


def _generate(manifest: Manifest) -> Example:
    labelled = manifest.generation is not None and manifest.generation.label is not None
    return {"seed": 1, **({"labels": list(manifest.labels[:4])} if labelled else {"count": 4})}


def _first_graph(manifest: Manifest) -> str:
    """The graph that takes the row of a request."""
    loop = manifest.loop
    return loop.start if loop is not None and loop.start is not None else MAIN


def _rows_of(
    manifest: Manifest, graph: str, samples: Mapping[str, GoldenSamples], public: bool = False
) -> Iterator[Arrays]:
    """Some rows of a graph's samples, by input. They have no batch axis, or one of size 1 if ``public``."""
    if graph not in samples:
        return
    arrays = samples[graph].inputs
    tensors = {t.name: t for t in manifest.graphs[graph].inputs if t.name in arrays and not (public and t.internal)}
    axes = {name: tensor.batch_axis for name, tensor in tensors.items()}
    counts = [arrays[name].shape[axis] for name, axis in axes.items() if axis is not None]
    count = min(counts, default=1)
    for number in np.linspace(0, count - 1, min(count, _MOST_SAMPLES), dtype=int).tolist():
        take = [number] if public else number
        yield {n: arrays[n] if axis is None else arrays[n].take(take, axis) for n, axis in axes.items()}


def _make_row(context: ModelContext, graph: str, arrays: Arrays, task: str) -> Any:
    """A row in the form that people send, from its tensors; None if it has no such form."""
    manifest, tokens = context.manifest, context.manifest.tokens
    if task == "predict_sequence" and manifest.forecast is not None:
        return _make_series(context, arrays)
    if manifest.text is not None and graph != MAIN:
        return "".join(manifest.text.characters[place] for place in arrays[manifest.text.source].tolist() if place)
    if tokens is not None and tokens.graph == graph:
        text = context.tokenizers[tokens.file].decode(
            [each for each in arrays[tokens.ids].tolist() if each != tokens.pad]
        )
        return text.removeprefix(tokens.prefix.strip()).strip() or None
    if manifest.table is not None and graph == MAIN:
        return _make_table_row(manifest.table, arrays)
    if manifest.writing is not None and graph == MAIN:
        return None  # the row is a prompt, and the samples of a step do not hold it
    sound = find_sound(manifest, graph)
    left_out = set() if sound is None else {sound.length}
    inputs = [tensor for tensor in manifest.graphs[graph].inputs if tensor.name not in left_out]
    values = {tensor.name: _make_value(manifest, graph, tensor, arrays[tensor.name]) for tensor in inputs}
    if any(value is None for value in values.values()):
        return None
    return values if len(values) > 1 else next(iter(values.values()))


def _make_value(manifest: Manifest, graph: str, tensor: Tensor, array: np.ndarray) -> Any:
    image, sound = image_of(manifest, graph), find_sound(manifest, graph)
    if image is not None and image.input == tensor.name and array.ndim == 3:
        return as_image(encode_png(array, image))
    if sound is not None and sound.input == tensor.name:
        return as_sound(array, sound.rate)
    return _as_json(array) if array.size <= _MOST_NUMBERS and _is_json(array) else None


def _make_series(context: ModelContext, arrays: Arrays) -> Any:
    facts = known(context.manifest.forecast)
    history = arrays[facts.history]
    if facts.length is not None:
        history = history[: int(arrays[facts.length])]
    further = {tensor.name: _as_json(arrays[tensor.name]) for tensor in SeriesReader(context, b"").further}
    return {"values": _as_json(history), **further} if further else _as_json(history)


def _make_table_row(table: Table, arrays: Arrays) -> dict[str, Any]:
    """A value for each column; null for a missing one."""
    values = {column.name: _as_json(arrays[column.input].reshape(-1)[column.position]) for column in table.columns}
    return {name: None if value != value else value for name, value in values.items()}  # only NaN differs from itself


def _as_tensor(manifest: Manifest, name: str, array: np.ndarray) -> dict[str, Any]:
    datatype = next(tensor.datatype for tensor in manifest.graphs[MAIN].inputs if tensor.name == name)
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": _as_json(array)}


def _is_json(array: np.ndarray) -> bool:
    """Whether JSON can express the array: it has no NaN and no infinity."""
    return array.dtype.kind in "OUSiub" or bool(np.isfinite(array.astype(np.float32)).all())


def _as_json(array: np.ndarray | np.generic) -> Any:
    """The array as nested lists. Floats are rounded to six digits."""
    if array.dtype.kind in "OUS":
        return np.vectorize(_as_text, otypes=[object])(array).tolist()
    if array.dtype.kind in "iub":
        return array.tolist()
    return _shorten(array.astype(np.float32).tolist())


def _as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _shorten(values: Any) -> Any:
    if isinstance(values, list):
        return [_shorten(each) for each in values]
    return float(f"{values:.6g}")
