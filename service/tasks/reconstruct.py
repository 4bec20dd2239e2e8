"""reconstruct: a row to a row like it, with how far they are apart, and whether that is too far."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.tasks import Picture, Reconstruction
from service.codecs.model_context import ModelContext
from service.codecs.picture_writer import encode_heat, to_pixels
from service.codecs.rows import Group, in_order, shown_input
from service.engine.tensors import Arrays, are_finite
from service.errors import InvalidInput, ModelFailure
from service.tasks.answer import Form, as_image, check_finite, require_picture, show_rows, show_together
from service.tasks.request import TaskOptions, TaskRequest, check_answer
from service.tasks.work import Emit, Limits, Result, RunInThread, Work, decode_rows, infer_groups, run_in_thread

NAME = "reconstruct"


class Options(TaskOptions):
    """Everything of a request but its rows. ``graph`` is one of those that the manifest names, by default the first."""

    graph: str | None = None
    error_map: bool = False
    output_format: Form = "numbers"


@dataclass(frozen=True, slots=True)
class _Plan:
    """``picture`` says how outputs become pictures; None: they are given as numbers."""

    context: ModelContext
    facts: Reconstruction
    graph: str
    picture: Picture | None
    error_map: bool


def work(options: Options, request: TaskRequest, context: ModelContext, limits: Limits, emit: Emit | None) -> Work:
    """``{"model", "version", "predictions": [{"output", "error", "anomaly"?, "score"?, "threshold"?, "error_map"?}]}``.

    With Accept: image/png it is one PNG of the outputs. A stream has no event before its last.
    """
    check_answer(options, request)
    plan = _plan(options, request, context)
    groups = yield from decode_rows(request.rows, context.manifest, limits, plan.graph)
    outputs = yield from infer_groups(groups, plan.graph)
    for of_group in outputs:
        check_finite(context, plan.facts.output, of_group[plan.facts.output])
    if request.wants_picture and plan.picture is not None:
        rows = in_order(groups, [of_group[plan.facts.output] for of_group in outputs])
        return (yield from show_together(rows, plan.picture))
    answers = []
    for group, of_group in zip(groups, outputs, strict=True):
        answers.append((yield from _describe(plan, group, of_group)))
    return Result({"model": context.name, "version": context.version, "predictions": in_order(groups, answers)})


def _plan(options: Options, request: TaskRequest, context: ModelContext) -> _Plan:
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
    if options.error_map and shown_input(manifest, graph) is None:
        raise InvalidInput(f"error_map: expected a model of one input, {context.name!r} has several")
    picture = None
    if request.wants_picture or options.output_format == "picture":
        field = "accept: image/png" if request.wants_picture else "output_format"
        output = next(tensor for tensor in manifest.graphs[graph].outputs if tensor.name == facts.output)
        picture = require_picture(context, output, manifest.image, field)
    return _Plan(context, facts, graph, picture, options.error_map)


def _describe(plan: _Plan, group: Group, outputs: Arrays) -> Generator[RunInThread, Any, list[dict[str, Any]]]:
    """The answers of a group's rows."""
    facts = plan.facts
    found = outputs[facts.output]
    errors = _find_errors(plan, group, outputs)
    shown = yield from show_rows(found, plan.picture)
    answers: list[dict[str, Any]] = [
        {"output": row, "error": error} for row, error in zip(shown, errors.tolist(), strict=True)
    ]
    scores = errors
    if facts.anomaly is not None:
        scores = outputs[facts.anomaly]
        check_finite(plan.context, facts.anomaly, scores)
        for answer, score in zip(answers, scores.tolist(), strict=True):
            answer["score"] = score
    if facts.threshold is not None:
        for answer, score in zip(answers, scores.tolist(), strict=True):
            answer |= {"anomaly": score > facts.threshold, "threshold": facts.threshold}
    if plan.error_map:
        maps = _compare(plan, group, found)
        for answer, its_map in zip(answers, (yield from _show_maps(plan, maps, found)), strict=True):
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


def _show_maps(plan: _Plan, maps: np.ndarray, found: np.ndarray) -> Generator[RunInThread, Any, list[Any]]:
    """As numbers, or as pictures over the outputs where these are pictures."""
    picture = plan.picture
    if picture is None:
        return (yield from show_rows(maps, None))
    return (
        yield from run_in_thread(
            lambda: [
                as_image(encode_heat(values, to_pixels(row, picture))) for values, row in zip(maps, found, strict=True)
            ],
            found.size,
        )
    )
