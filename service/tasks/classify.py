"""classify: labels of rows with their probabilities, and explanations."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.manifest import Manifest
from service.codecs.model_context import known
from service.codecs.pictures.writer import MEDIA_TYPE as PNG
from service.codecs.pictures.writer import as_image, encode_heat, to_picture
from service.codecs.rows import Group, in_order, shown_input
from service.codecs.texts.spans import check_pairs, find_spans
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.tasks.answer import Form, check_answer, check_finite
from service.tasks.explain import Maps, Method, choose_method, explain_rows
from service.tasks.request import TaskOptions, refuse
from service.tasks.windows import average_windows, check_windows, describe_windows
from service.tasks.work import Call, Result, decode_rows, infer_group, run_in_thread

NAME = "classify"
_THRESHOLD = 0.5
_ROW_BYTES = 64
"""The cost of the answer to a row, as ``run_in_thread`` counts."""


class Options(TaskOptions):
    """The fields of a request besides its rows."""

    top_k: Annotated[int, Field(ge=1, le=1000)] = 1
    """how many labels for each row"""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """least probability of the labels of a row that may have several, and of parts of texts; default: that of the
    model"""
    explain: bool | Method = False
    """why the label was chosen; true: the method that suits the model"""
    explanation_format: Form = "numbers"
    """`picture`: over the row, as a PNG"""
    windows: bool = False
    """answer with the label of each window of a sound too, and its times"""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions": [{"label", "index", "probability", "top", "score"?, "labels"?,
    "explanation"?, "windows"?}]}``; for a model of tags each prediction is ``{"spans"}``.

    The probabilities of a sound are the means over its windows. With Accept: image/png the answer is a PNG of the
    explanation over the row. A stream has one event, the last.
    """
    check_answer(call)
    options, manifest = call.options, call.model.manifest
    if manifest.tags is not None:
        return await _tag(call)
    if options.windows:
        check_windows(manifest)
    if options.threshold is not None and not known(manifest.classes).multi_label:
        raise InvalidInput(f"threshold: a row has one label with model {manifest.name!r}: ask without it")
    method = choose_method(options.explain, manifest) if options.explain else None
    as_picture = call.wants_picture or options.explanation_format == "picture"
    if as_picture:
        _check_picture(call, method)
    groups = await decode_rows(call, one_window=method is not None)
    outputs = [await infer_group(group) for group in groups]

    def describe() -> tuple[list[Group], list[list[dict[str, Any]]]]:
        described = [_describe_group(manifest, options, *each) for each in zip(groups, outputs, strict=True)]
        return [group for group, _ in described], [answers for _, answers in described]

    groups, found = await run_in_thread(describe, _ROW_BYTES * sum(len(group.places) for group in groups))
    if method is not None:
        for group, of_group, answers in zip(groups, outputs, found, strict=True):
            probabilities = of_group[known(manifest.classes).probabilities]
            chosen = np.array([answer["index"] for answer in answers])
            maps = await explain_rows(method, group, chosen, probabilities, manifest)
            how: dict[str, Any] = {"method": method}
            if maps.window is not None:
                how |= {"window": maps.window, "stride": maps.stride}
            pictures = await _draw(maps, group, manifest) if as_picture else None
            if pictures and call.wants_picture:
                return Result(pictures[0], PNG)
            for i, answer in enumerate(answers):
                shown = {"values": maps.values[i]} if pictures is None else as_image(pictures[i])
                answer["explanation"] = {**how, **shown}
    return call.answer(predictions=in_order(groups, found))


async def _tag(call: Call[Options]) -> Result:
    """Label parts of texts."""
    options, manifest = call.options, call.model.manifest
    reason = f"model {manifest.name!r} gives labels to parts of a text: ask without it"
    if call.wants_picture:
        raise InvalidInput(f"accept: image/png: {reason}")
    refuse(options, ("top_k", "explain", "explanation_format", "windows"), reason)
    groups = await decode_rows(call)
    check_pairs(groups)
    outputs = [await infer_group(group) for group in groups]

    name = known(manifest.tags).output

    def describe() -> list[list[dict[str, Any]]]:
        return [
            find_spans(manifest, group, check_finite(manifest.name, name, of_group[name]), options.threshold)
            for group, of_group in zip(groups, outputs, strict=True)
        ]

    size_bytes = sum(of_group[name].nbytes for of_group in outputs)
    return call.answer(predictions=in_order(groups, await run_in_thread(describe, size_bytes)))


def _describe_group(
    manifest: Manifest, options: Options, group: Group, outputs: Arrays
) -> tuple[Group, list[dict[str, Any]]]:
    """The group, in which each sound is now one row, and the answers to its rows. Raises ModelFailure."""
    if not group.windows:
        return group, predictions(manifest, outputs, options.top_k, options.threshold)
    facts = known(manifest.classes)
    names = [facts.probabilities, *([facts.score] if facts.score is not None else ())]
    merged, means = average_windows(group, outputs, names)
    answers = predictions(manifest, means, options.top_k, options.threshold)
    if options.windows:
        each = [
            {name: found[name] for name in ("label", "index", "probability")}
            for found in predictions(manifest, outputs, 1)
        ]
        for answer, windows in zip(answers, describe_windows(group, each, manifest), strict=True):
            answer["windows"] = windows
    return merged, answers


def predictions(
    manifest: Manifest, outputs: Mapping[str, np.ndarray], top_k: int, threshold: float | None = None
) -> list[dict[str, Any]]:
    """One prediction for each row, with its ``top_k`` most probable labels, highest first. Raises ModelFailure on NaN.

    Labels with equal probabilities keep their order, both with argmax and with a stable sort. If rows may have several
    labels, a prediction also has all labels with a probability of at least ``threshold``.
    """
    name = known(manifest.classes).probabilities
    probabilities = check_finite(manifest.name, name, outputs[name])
    count = min(top_k, probabilities.shape[1])
    if count == 1:
        best = probabilities.argmax(axis=1)[:, None]
    else:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    chosen = np.take_along_axis(probabilities, best, axis=1)
    answers = []
    for indices, values in zip(best.tolist(), chosen.tolist(), strict=True):
        top = _describe(manifest, indices, values)
        answers.append({**top[0], "top": top})
    facts = known(manifest.classes)
    if facts.score is not None:
        scores = check_finite(manifest.name, facts.score, outputs[facts.score])
        for answer, score in zip(answers, scores.ravel().tolist(), strict=True):
            answer["score"] = score
    if facts.multi_label:
        least = threshold if threshold is not None else facts.threshold or _THRESHOLD
        for answer, row in zip(answers, probabilities, strict=True):
            order = np.argsort(-row, kind="stable")
            counted = order[row[order] >= np.float32(least)]
            answer["labels"] = _describe(manifest, counted.tolist(), row[counted].tolist())
    return answers


def _describe(manifest: Manifest, indices: Sequence[int], probabilities: Sequence[float]) -> list[dict[str, Any]]:
    """Labels at these positions, with their probabilities."""
    return [
        {"label": manifest.labels[i], "index": i, "probability": p} for i, p in zip(indices, probabilities, strict=True)
    ]


def _check_picture(call: Call[Options], method: Method | None) -> None:
    """Raises InvalidInput if no picture of an explanation can be made."""
    field = "accept: image/png" if call.wants_picture else "explanation_format: a picture"
    if method is None:
        raise InvalidInput(f"{field} shows an explanation, and none is asked for: add explain, or ask for JSON")
    tensor = shown_input(call.model.manifest)
    if tensor is None or len(tensor.row_shape) < 2:
        raise InvalidInput(f"{field}: the rows of model {call.model.name!r} have no height and width: ask for numbers")
    if call.wants_picture and call.rows is not None and len(call.rows) > 1:
        raise InvalidInput(f"{field} shows the explanation of one row, got {len(call.rows)}: ask for JSON")


async def _draw(maps: Maps, group: Group, manifest: Manifest) -> list[bytes]:
    """A PNG of each map, drawn over the row if that is a picture."""
    image = manifest.image
    rows = group.inputs[known(shown_input(manifest)).name]

    def draw() -> list[bytes]:
        under = [to_picture(row, image) for row in rows] if image else [None] * len(rows)
        return [encode_heat(values, over) for values, over in zip(maps.values, under, strict=True)]

    return await run_in_thread(draw, rows.size)
