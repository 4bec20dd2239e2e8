"""reconstruct: a row to a row like it, with how far they are apart, and whether that is too far."""

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.tasks import Picture, Reconstruction
from service.codecs.model_context import ModelContext
from service.codecs.picture_reader import CheckRow
from service.codecs.picture_writer import encode_heat, to_pixels
from service.codecs.rows import Group, in_order, shown_input
from service.engine.tensors import Arrays, are_finite
from service.errors import BodyTooLarge, InvalidInput, ModelFailure
from service.tasks.answer import Form, Rows, as_image, check_finite, require_picture, show_rows, show_together
from service.tasks.request import TaskOptions, TaskRequest, check_answer
from service.tasks.room import PictureLease
from service.tasks.tiles import Cutting, infer_tiled
from service.tasks.work import (
    SLOW_BYTES,
    Emit,
    Infer,
    Limits,
    Result,
    RunInThread,
    Wanted,
    Work,
    decode_rows,
    run_in_thread,
)

NAME = "reconstruct"
_BYTES_A_PIXEL, _BYTES_OF_MAP = 24, 16
"""What a picture that is cut takes, apart from its tiles, and its map: each is there several times as it is encoded."""


class Options(TaskOptions):
    """Everything of a request but its rows. ``graph`` is one of those that the manifest names, by default the first."""

    graph: str | None = None
    error_map: bool = False
    output_format: Form = "numbers"


@dataclass(frozen=True, slots=True)
class _Plan:
    """``picture`` says how outputs become pictures; None: they are given as numbers. ``cutting``: large rows are cut.

    ``describes``: the answer has more than the outputs.
    """

    context: ModelContext
    facts: Reconstruction
    graph: str
    picture: Picture | None
    error_map: bool
    describes: bool
    cutting: Cutting | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the rows of a group gave: outputs, [rows] of errors and of scores, maps [rows, height, width]."""

    outputs: Rows
    errors: np.ndarray
    scores: np.ndarray
    maps: Rows


def work(options: Options, request: TaskRequest, context: ModelContext, limits: Limits, emit: Emit | None) -> Work:
    """``{"model", "version", "predictions": [{"output", "error", "anomaly"?, "score"?, "threshold"?, "error_map"?}]}``.

    With Accept: image/png it is one PNG of the outputs. A stream has no event before its last.
    """
    check_answer(options, request)
    plan = _plan(options, request, context, limits)
    with limits.room.open() as lease:
        own_limits = _limit_rows(plan, limits, lease)
        tiles = None if plan.cutting is None else plan.cutting.tiles
        groups = yield from decode_rows(request.rows, context.manifest, own_limits, plan.graph, tiles)
        found = []
        for group in groups:
            found.append((yield from _reconstruct(plan, group)))  # noqa: PERF401  # a comprehension cannot yield
        if request.wants_picture and plan.picture is not None:
            return (yield from show_together(in_order(groups, [one.outputs for one in found]), plan.picture))
        answers = []
        for one in found:
            answers.append((yield from _describe(plan, one)))  # noqa: PERF401
    is_large = sum(output.size for one in found for output in one.outputs) > SLOW_BYTES
    body = {"model": context.name, "version": context.version, "predictions": in_order(groups, answers)}
    return Result(body, is_large=is_large)


def _plan(options: Options, request: TaskRequest, context: ModelContext, limits: Limits) -> _Plan:
    """Raises InvalidInput for what this model cannot do."""
    manifest = context.manifest
    facts = manifest.reconstruction
    if facts is None:
        raise InvalidInput(f"model: the manifest of {context.name!r} does not say what it reconstructs")
    graph = facts.graphs[0] if options.graph is None else options.graph
    if graph not in facts.graphs:
        raise InvalidInput(f"graph: expected one of {', '.join(facts.graphs)}, got {graph!r:.60}")
    if options.error_map and request.wants_picture:
        raise InvalidInput("error_map: expected an answer in JSON, for Accept: image/png shows the outputs alone")
    row = shown_input(manifest, graph)
    if options.error_map and row is None:
        raise InvalidInput(f"error_map: expected a model of one input, {context.name!r} has several")
    picture = None
    if request.wants_picture or options.output_format == "picture":
        field = "accept: image/png" if request.wants_picture else "output_format"
        output = next(tensor for tensor in manifest.graphs[graph].outputs if tensor.name == facts.output)
        picture = require_picture(context, output, manifest.image, field)
    cutting = None
    if facts.tiles is not None and row is not None:
        cutting = Cutting(
            context=context,
            graph=graph,
            tiles=facts.tiles,
            row=row,
            output=facts.output,
            image=manifest.image,
            picture=picture,
            makes_map=options.error_map,
            at_once=limits.tiles_at_once,
        )
    return _Plan(context, facts, graph, picture, options.error_map, not request.wants_picture, cutting)


def _limit_rows(plan: _Plan, limits: Limits, lease: PictureLease) -> Limits:
    """The limits with what looks at the size of a picture that may be cut: there must be room for it, and its tiles
    must not take too much. As numbers it takes as much as a run of the whole."""
    if plan.cutting is None:
        return limits
    tiles, check_run = plan.cutting.tiles, limits.row_checks.get(plan.graph)
    image = plan.context.manifest.image
    channels = 1 if image is None else image.channels
    largest = tiles.size**2

    def check(elements: int) -> None:
        pixels = elements // channels
        if check_run is not None:
            if plan.picture is None:
                _check_numbers(check_run, elements)
            else:
                check_run(min(pixels, largest) * channels)
        if pixels > largest:
            lease.take((_BYTES_A_PIXEL + _BYTES_OF_MAP * plan.error_map) * pixels)

    return dataclasses.replace(limits, row_checks={plan.graph: check})


def _check_numbers(check_run: CheckRow, elements: int) -> None:
    try:
        check_run(elements)
    except BodyTooLarge as error:
        raise BodyTooLarge(
            f"{error}; as a picture (output_format: picture, or Accept: image/png) it may be larger"
        ) from None


def _reconstruct(plan: _Plan, group: Group) -> Generator[Wanted, Any, _Found]:
    """Run the rows of a group: at once, or each of them in tiles where they are large."""
    cutting = plan.cutting
    if cutting is not None:
        rows = group.inputs[cutting.row.name]
        if cutting.tiles.cuts(*rows.shape[-2:]):
            joined = []
            for row in rows:
                joined.append((yield from infer_tiled(cutting, row)))  # noqa: PERF401
            errors = np.array([one.error for one in joined])
            maps = [one.error_map for one in joined if one.error_map is not None]
            return _Found([one.output for one in joined], errors, errors, maps)
    outputs = yield Infer(group.inputs, plan.graph)
    size = outputs[plan.facts.output].size if plan.describes else 0
    return (yield from run_in_thread(lambda: _examine(plan, group, outputs), size))


def _examine(plan: _Plan, group: Group, outputs: Arrays) -> _Found:
    facts = plan.facts
    found = outputs[facts.output]
    check_finite(plan.context, facts.output, found)
    if not plan.describes:
        return _Found(found, np.empty(0), np.empty(0), ())
    errors = scores = _find_errors(plan, group, outputs)
    if facts.anomaly is not None:
        scores = outputs[facts.anomaly]
        check_finite(plan.context, facts.anomaly, scores)
    return _Found(found, errors, scores, _compare(plan, group, found) if plan.error_map else ())


def _describe(plan: _Plan, found: _Found) -> Generator[RunInThread, Any, list[dict[str, Any]]]:
    """The answers of a group's rows."""
    facts = plan.facts
    shown = yield from show_rows(found.outputs, plan.picture)
    answers: list[dict[str, Any]] = [
        {"output": row, "error": error} for row, error in zip(shown, found.errors.tolist(), strict=True)
    ]
    scores: Sequence[float] = found.scores.tolist()
    if facts.anomaly is not None:
        for answer, score in zip(answers, scores, strict=True):
            answer["score"] = score
    if facts.threshold is not None:
        for answer, score in zip(answers, scores, strict=True):
            answer |= {"anomaly": score > facts.threshold, "threshold": facts.threshold}
    if plan.error_map:
        for answer, its_map in zip(answers, (yield from _show_maps(plan, found)), strict=True):
            answer["error_map"] = its_map
    return answers


def _find_errors(plan: _Plan, group: Group, outputs: Arrays) -> np.ndarray:
    """[rows]: from the graph, else the root mean square of the differences."""
    if plan.facts.error is not None:
        errors = outputs[plan.facts.error]
        check_finite(plan.context, plan.facts.error, errors)
        return errors
    difference = _subtract(plan, group, outputs[plan.facts.output]).reshape(len(group.places), -1)
    root: np.ndarray = np.sqrt(np.mean(np.square(difference, dtype=np.float64), axis=1))
    return root


def _compare(plan: _Plan, group: Group, found: np.ndarray) -> np.ndarray:
    """The magnitude of the differences, [rows, height, width] for rows with channels: their mean."""
    difference = np.abs(_subtract(plan, group, found))
    mean: np.ndarray = difference.mean(axis=tuple(range(1, difference.ndim - 2)))
    return mean


def _subtract(plan: _Plan, group: Group, found: np.ndarray) -> np.ndarray:
    tensor = shown_input(plan.context.manifest, plan.graph)
    rows = None if tensor is None else group.inputs[tensor.name]
    if rows is None or rows.shape != found.shape:
        raise ModelFailure(
            f"model {plan.context.name!r} gave {plan.facts.output!r} of shape {list(found.shape)}, which cannot be "
            "compared with its rows, and the manifest names no output for the error"
        )
    if not are_finite(rows):
        raise InvalidInput("inputs: expected finite numbers, for they are compared with the output")
    difference: np.ndarray = found - rows
    return difference


def _show_maps(plan: _Plan, found: _Found) -> Generator[RunInThread, Any, list[Any]]:
    """As numbers, or as pictures over the outputs where these are pictures."""
    picture = plan.picture
    if picture is None:
        return (yield from show_rows(found.maps, None))
    return (
        yield from run_in_thread(
            lambda: [
                as_image(encode_heat(values, to_pixels(row, picture)))
                for values, row in zip(found.maps, found.outputs, strict=True)
            ],
            sum(row.size for row in found.outputs),
        )
    )
