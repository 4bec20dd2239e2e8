"""reconstruct: a row like the given row, how much they differ, and whether that is an anomaly."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.codecs.model_context import known
from service.codecs.pictures.reader import CheckRow
from service.codecs.pictures.writer import as_image, encode_heat, to_picture
from service.codecs.rows import Group, in_order, shown_input
from service.codecs.sounds import find_sound
from service.engine.tensors import Arrays, are_finite
from service.errors import BodyTooLarge, InvalidInput, ModelFailure
from service.tasks.answer import (
    Rows,
    check_finite,
    choose_picture,
    show_row,
    show_rows,
    show_together,
)
from service.tasks.reconstruction.options import Options
from service.tasks.reconstruction.sounds import reconstruct_sounds
from service.tasks.reconstruction.tiles import Plan, infer_tiled
from service.tasks.reconstruction.verdict import describe_error
from service.tasks.room import Take
from service.tasks.work import SLOW_BYTES, Call, Result, decode_rows, infer_group, run_in_thread

NAME = "reconstruct"
_PIXEL_BYTES, _MAP_PIXEL_BYTES = 24, 16
"""Memory for a pixel of a large picture, and for a pixel of its map, with the copies that encoding makes."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The results for the rows of a group: outputs, errors [rows], scores [rows], maps [rows, height, width]."""

    outputs: Rows
    errors: np.ndarray
    scores: np.ndarray
    maps: Rows


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "predictions": [{"output", "error", "anomaly"?, "score"?, "threshold"?, "error_map"?}]}``.

    With Accept: image/png the answer is one PNG of all outputs, with audio/wav a WAV of the only output. A stream has
    one event, the last.
    """
    graph = _choose_graph(call)
    if (sound := find_sound(call.model.manifest, graph)) is not None:
        return await reconstruct_sounds(call, graph, sound)
    plan = _plan(call, graph)
    with call.limits.room.open() as take:
        groups = await decode_rows(call, plan.graph, plan.tiles, _check_of(plan, take))
        found = [await _reconstruct(plan, group) for group in groups]
        if call.wants_picture and plan.picture is not None:
            return await show_together(in_order(groups, [one.outputs for one in found]), plan.picture)
        answers = [await _describe(plan, one) for one in found]
    is_large = sum(output.size for one in found for output in one.outputs) > SLOW_BYTES
    return call.answer(is_large, predictions=in_order(groups, answers))


def _choose_graph(call: Call[Options]) -> str:
    """The graph that the request asks for, or the first one. Raises InvalidInput."""
    facts = call.model.manifest.reconstruction
    if facts is None:
        raise InvalidInput(f"model: the manifest of {call.model.name!r} does not say what it reconstructs")
    graph = facts.graphs[0] if call.options.graph is None else call.options.graph
    if graph not in facts.graphs:
        raise InvalidInput(f"graph: expected one of {', '.join(facts.graphs)}, got {graph!r:.60}")
    return graph


def _plan(call: Call[Options], graph: str) -> Plan:
    """Raises InvalidInput for options that do not apply to this model."""
    options, manifest = call.options, call.model.manifest
    facts = known(manifest.reconstruction)
    if options.error_map and call.wants_picture:
        raise InvalidInput("error_map: expected an answer in JSON, for Accept: image/png shows the outputs alone")
    row = shown_input(manifest, graph)
    if options.error_map and row is None:
        raise InvalidInput(f"error_map: expected a model of one input, {call.model.name!r} has several")
    picture = choose_picture(call, graph, facts.output, manifest.image)
    return Plan(call, facts, graph, row, picture, options.error_map)


def _check_of(plan: Plan, take: Take) -> CheckRow | None:
    """A check of the size of each picture that may be cut into tiles: is there memory for it, and for a run of a tile?

    If the answer is numbers, memory for a run of the whole picture is required.
    """
    if plan.tiles is None:
        return None
    check_run = plan.call.model.row_checks.get(plan.graph)
    image = plan.call.model.manifest.image
    channels = 1 if image is None else image.channels
    largest = plan.tiles.size**2

    def check(elements: int) -> None:
        pixels = elements // channels
        if check_run is not None:
            try:
                check_run(elements if plan.picture is None else min(pixels, largest) * channels)
            except BodyTooLarge as error:
                if plan.picture is not None:
                    raise
                advice = "as a picture (output_format: picture, or Accept: image/png) it may be larger"
                raise BodyTooLarge(f"{error}; {advice}") from None
        if pixels > largest:
            take((_PIXEL_BYTES + _MAP_PIXEL_BYTES * plan.error_map) * pixels)

    return check


async def _reconstruct(plan: Plan, group: Group) -> _Found:
    """Run the rows of a group: together, or one by one in tiles if they are large."""
    if plan.tiles is not None and plan.row is not None:
        rows = group.inputs[plan.row.name]
        if plan.tiles.cuts(*rows.shape[-2:]):
            joined = [await infer_tiled(plan, row) for row in rows]
            errors = np.array([one.error for one in joined])
            maps = [one.error_map for one in joined if one.error_map is not None]
            return _Found([one.output for one in joined], errors, errors, maps)
    outputs = await infer_group(group, plan.graph)
    size = 0 if plan.call.wants_picture else outputs[plan.facts.output].size
    return await run_in_thread(lambda: _examine(plan, group, outputs), size)


def _examine(plan: Plan, group: Group, outputs: Arrays) -> _Found:
    facts, model = plan.facts, plan.call.model.name
    found = check_finite(model, facts.output, outputs[facts.output])
    if plan.call.wants_picture:  # the picture shows only the outputs
        return _Found(found, np.empty(0), np.empty(0), ())
    if facts.error is not None:
        errors = check_finite(model, facts.error, outputs[facts.error])
    else:  # the root mean square of the differences
        flat = _subtract(plan, group, found).reshape(len(group.places), -1)
        errors = np.sqrt(np.mean(np.square(flat, dtype=np.float64), axis=1))
    scores = errors if facts.anomaly is None else check_finite(model, facts.anomaly, outputs[facts.anomaly])
    maps: Rows = ()
    if plan.error_map:
        difference = np.abs(_subtract(plan, group, found))
        maps = difference.mean(axis=tuple(range(1, difference.ndim - 2)))  # over channels
    return _Found(found, errors, scores, maps)


def _subtract(plan: Plan, group: Group, found: np.ndarray) -> np.ndarray:
    rows = None if plan.row is None else group.inputs[plan.row.name]
    if rows is None or rows.shape != found.shape:
        raise ModelFailure(
            f"model {plan.call.model.name!r} gave {plan.facts.output!r} of shape {list(found.shape)}, which cannot be "
            "compared with its rows, and the manifest names no output for the error"
        )
    if not are_finite(rows):
        raise InvalidInput("inputs: expected finite numbers, for they are compared with the output")
    difference: np.ndarray = found - rows
    return difference


async def _describe(plan: Plan, found: _Found) -> list[dict[str, Any]]:
    shown = await show_rows(found.outputs, plan.picture)
    answers: list[dict[str, Any]] = []
    for row, error, score in zip(shown, found.errors.tolist(), found.scores.tolist(), strict=True):
        answers.append({"output": row, **describe_error(plan.facts, error, score)})
    if plan.error_map:
        size = sum(row.size for row in found.outputs)
        for answer, its_map in zip(answers, await run_in_thread(lambda: _show_maps(plan, found), size), strict=True):
            answer["error_map"] = its_map
    return answers


def _show_maps(plan: Plan, found: _Found) -> list[Any]:
    """The maps as numbers, or as pictures over the outputs if these are pictures."""
    picture = plan.picture
    if picture is None:
        return [show_row(values, None) for values in found.maps]
    pairs = zip(found.maps, found.outputs, strict=True)
    return [as_image(encode_heat(values, to_picture(row, picture))) for values, row in pairs]
