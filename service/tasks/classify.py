"""classify: rows to labels with probabilities, and why."""

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.manifest import Manifest
from service.codecs.model_context import ModelContext
from service.codecs.picture_writer import MEDIA_TYPE as PNG
from service.codecs.picture_writer import encode_heat, to_pixels
from service.codecs.rows import Group, in_order, shown_input
from service.engine.tensors import Arrays, are_finite
from service.errors import InvalidInput, ModelFailure
from service.tasks.answer import Form, as_image
from service.tasks.explain import Maps, Method, choose_method, explain_rows
from service.tasks.request import TaskOptions, TaskRequest, check_answer
from service.tasks.work import Emit, Infer, Limits, Result, RunInThread, Work, decode_rows, infer_groups, run_in_thread

NAME = "classify"
_ROW_BYTES = 64
"""Of an answer."""


class Options(TaskOptions):
    """Everything of a request but its rows. ``explain`` true leaves the method to the model."""

    top_k: Annotated[int, Field(ge=1, le=1000)] = 1
    explain: bool | Method = False
    explanation_format: Form = "numbers"


def work(options: Options, request: TaskRequest, context: ModelContext, limits: Limits, emit: Emit | None) -> Work:
    """``{"model", "version", "predictions": [{"label", "index", "probability", "top", "explanation"?}]}``.

    With Accept: image/png it is one PNG, of the explanation over the row. A stream has no event before its last.
    """
    check_answer(options, request)
    manifest = context.manifest
    method = choose_method(options.explain, context) if options.explain else None
    as_picture = request.wants_picture or options.explanation_format == "picture"
    if as_picture:
        _check_picture(method, request, context)
    groups = yield from decode_rows(request.rows, manifest, limits)
    outputs = yield from infer_groups(groups)
    found = yield from run_in_thread(
        lambda: [predictions(manifest, of_group, options.top_k) for of_group in outputs],
        _ROW_BYTES * sum(len(group.places) for group in groups),
    )
    if method is not None:
        for group, of_group, answers in zip(groups, outputs, found, strict=True):
            maps = yield from _explain(method, group, of_group, answers, context)
            pictures = (yield from _draw(maps, group, context)) if as_picture else None
            if pictures and request.wants_picture:
                return Result(pictures[0], PNG)
            _attach(answers, method, maps, pictures)
    return Result({"model": context.name, "version": context.version, "predictions": in_order(groups, found)})


def predictions(manifest: Manifest, outputs: Mapping[str, np.ndarray], top_k: int) -> list[dict[str, Any]]:
    """One prediction a row, with the ``top_k`` most probable labels in falling order. Raises ModelFailure on NaN."""
    assert manifest.classes is not None  # noqa: S101  # a manifest of the task classify has them
    probabilities = outputs[manifest.classes.probabilities]
    if not are_finite(probabilities):
        raise ModelFailure(f"model {manifest.name!r} gave probabilities that are not numbers")
    count = min(top_k, probabilities.shape[1])
    # Labels of equal probability come in their own order whoever shares the batch: by the first of them, which argmax
    # takes, and by a stable sort.
    if count == 1:
        best = probabilities.argmax(axis=1)[:, None]
    else:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    chosen = probabilities[np.arange(len(best))[:, None], best]
    labels = manifest.labels
    answers = []
    for indices, values in zip(best.tolist(), chosen.tolist(), strict=True):
        top = [{"label": labels[i], "index": i, "probability": p} for i, p in zip(indices, values, strict=True)]
        answers.append({**top[0], "top": top})
    return answers


def _check_picture(method: Method | None, request: TaskRequest, context: ModelContext) -> None:
    """Raises InvalidInput where no picture of an explanation can be made."""
    field = "accept: image/png" if request.wants_picture else "explanation_format: a picture"
    if method is None:
        raise InvalidInput(f"{field} shows an explanation, and none is asked for: add explain, or ask for JSON")
    tensor = shown_input(context.manifest)
    if tensor is None or len(tensor.row_shape) < 2:
        raise InvalidInput(f"{field}: the rows of model {context.name!r} have no height and width: ask for numbers")
    if request.wants_picture and request.rows is not None and len(request.rows) > 1:
        raise InvalidInput(f"{field} shows the explanation of one row, got {len(request.rows)}: ask for JSON")


def _explain(
    method: Method, group: Group, outputs: Arrays, answers: Sequence[Mapping[str, Any]], context: ModelContext
) -> Generator[Infer, Any, Maps]:
    """Why each row got its most probable label."""
    assert context.manifest.classes is not None  # noqa: S101
    indices = np.array([answer["index"] for answer in answers])
    return (yield from explain_rows(method, group, indices, outputs[context.manifest.classes.probabilities], context))


def _draw(maps: Maps, group: Group, context: ModelContext) -> Generator[RunInThread, Any, list[bytes]]:
    """A PNG for each row: the map over the picture, where the row is one."""
    image, tensor = context.manifest.image, shown_input(context.manifest)
    assert tensor is not None  # noqa: S101  # asked by _check_picture
    rows = group.inputs[tensor.name]

    def draw() -> list[bytes]:
        under = [to_pixels(row, image) for row in rows] if image else [None] * len(rows)
        return [encode_heat(values, over) for values, over in zip(maps.values, under, strict=True)]

    return (yield from run_in_thread(draw, rows.size))


def _attach(answers: Sequence[dict[str, Any]], method: Method, maps: Maps, pictures: Sequence[bytes] | None) -> None:
    how: dict[str, Any] = {"method": method}
    if maps.window is not None:
        how |= {"window": maps.window, "stride": maps.stride}
    for i, answer in enumerate(answers):
        shown = {"values": maps.values[i]} if pictures is None else as_image(pictures[i])
        answer["explanation"] = {**how, **shown}
