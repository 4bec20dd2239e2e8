"""generate: rows from noise, in one run or by a diffusion. The same seed gives the same rows in any batch."""

import math
import secrets
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Generation, Picture
from service.codecs.model_context import ModelContext
from service.engine.loop.noise import LARGEST_SEED, draw_normal
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.protocol.request_model import RequestModel
from service.tasks.answer import Form, check_finite, choose_picture, show_row, show_rows, show_together
from service.tasks.diffusion import plan_loop_request, read_sampling
from service.tasks.request import FromText, TaskOptions, TaskRequest, check_answer
from service.tasks.work import Admit, Emit, Infer, Iterate, Limits, Result, run_in_thread

NAME = "generate"
_DRAWN_SEEDS = 2**53
"""Random seeds are below: callers whose numbers are floats get them back unchanged."""
_MOST_LABELS = 1 << 16
"""Longer lists are refused before their elements are checked, which would hold up other requests."""
_OF_DIFFUSION = ("steps", "guidance", "eta")

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Labels = Annotated[list[str | int], Field(max_length=_MOST_LABELS)]


class Between(RequestModel):
    """The seeds whose first rows are the two ends."""

    seeds: Annotated[list[Seed], Field(min_length=2, max_length=2)]


class Options(TaskOptions):
    """The fields of a request."""

    count: int | None = None
    """how many rows; default: as many as labels, or 1"""
    seed: Seed | None = None
    """0 to 2^63 - 1; the same seed gives the same bits, in any batch"""
    labels: Annotated[Labels | None, FromText] = None
    """texts or positions: one for all rows, or one for each; default: all in turn"""
    steps: int | None = None
    """of a diffusion"""
    guidance: Annotated[float, Field(ge=-100, le=100)] | None = None
    """of a diffusion: the strength of classifier-free guidance"""
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    """of a diffusion: noise between the steps, from 0 (none, DDIM) to 1 (all, DDPM)"""
    interpolate: Annotated[Between | None, FromText] = None
    """from the row of one seed to that of another, with one label; not for a diffusion"""
    output_format: Form = "numbers"
    """`picture`: each row as a PNG in base64"""


async def work(
    options: Options, request: TaskRequest, context: ModelContext, limits: Limits, emit: Emit | None
) -> Result:
    """``{"model", "version", "seed" or "seeds", "labels"?, "outputs": [row]}``, or with Accept: image/png a grid.

    An event of a stream is ``{"row", "step", "steps", "preview"}``; without a diffusion there is one step.
    """
    facts = context.manifest.generation
    if facts is None:
        raise InvalidInput(f"model: the manifest of {context.name!r} does not say what it generates")
    if request.rows is not None:
        raise InvalidInput("inputs: expected none, for rows are made from noise: see count, seed and labels")
    check_answer(options, request)
    picture = choose_picture(options.output_format, request, context, facts.graph, facts.output, facts.picture)
    count = _read_count(options, limits)
    labels = _read_labels(options, count, context, facts)
    seed = secrets.randbelow(_DRAWN_SEEDS) if options.seed is None else options.seed
    steps = 0
    if facts.diffusion is not None:
        sampling = read_sampling(facts.diffusion, context, limits, options.steps, options.guidance, options.eta)
        steps = sampling.steps
    noise = context.inputs(facts.graph)[facts.noise]
    begin = await run_in_thread(
        lambda: _begin(options, context, facts, noise, count, seed, labels),
        count * 8 * math.prod(_shape(noise)),
        Admit(count, steps, facts.graph),
    )
    if facts.diffusion is None:
        rows = await _run_once(begin, context, facts, picture, emit)
    else:
        result = await Iterate(plan_loop_request(begin, seed, sampling, context, facts, emit, picture))
        rows = check_finite(context.name, facts.output, result.last[facts.output])
    if request.wants_picture and picture is not None:
        return await show_together(rows, picture)
    answer: dict[str, Any] = {"model": context.name, "version": context.version}
    answer |= {"seeds": options.interpolate.seeds} if options.interpolate else {"seed": seed}
    if labels is not None:
        answer["labels"] = [context.manifest.labels[label] for label in labels]
    return Result({**answer, "outputs": await show_rows(rows, picture)})


def _read_count(options: Options, limits: Limits) -> int:
    count = options.count
    if count is None:
        count = len(options.labels) if options.labels else 1
    if not 1 <= count <= limits.max_generated:
        raise InvalidInput(f"count: expected 1 to {limits.max_generated}, got {count}")
    if options.interpolate is not None and count < 2:
        raise InvalidInput(f"count: expected 2 or more with interpolate, which has two ends, got {count}")
    return count


def _read_labels(options: Options, count: int, context: ModelContext, facts: Generation) -> list[int] | None:
    """Positions of the labels, one for each row; None for a model that takes none."""
    given = options.labels
    if facts.label is None:
        if given is not None:
            raise InvalidInput(f"labels: expected none, for model {context.name!r} takes none")
        return None
    names = context.manifest.labels
    if given is None:
        return [0 if options.interpolate else row % len(names) for row in range(count)]
    if len(given) not in (1, count):
        raise InvalidInput(f"labels: expected one for all rows or one for each of {count}, got {len(given)}")
    found = [_find_label(label, f"labels[{i}]", names) for i, label in enumerate(given)]
    return found if len(found) == count else found * count


def _find_label(label: str | int, where: str, names: Sequence[str]) -> int:
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    if label in names:
        return names.index(str(label))
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise InvalidInput(f"{where}: expected one of {shown}, or a position 0 to {len(names) - 1}, got {label!r:.60}")


def _shape(tensor: Tensor) -> list[int]:
    """The shape of a row of noise. The manifest allows no free size."""
    return [int(size) for size in tensor.row_shape]


def _begin(
    options: Options,
    context: ModelContext,
    facts: Generation,
    noise: Tensor,
    count: int,
    seed: int,
    labels: Sequence[int] | None,
) -> dict[str, np.ndarray]:
    """The noise of each row, and its label."""
    if facts.diffusion is None:
        for field in _OF_DIFFUSION:
            if getattr(options, field) is not None:
                raise InvalidInput(
                    f"{field}: only a model with a diffusion takes it, and {context.name!r} makes its rows in one run"
                )
    shape = _shape(noise)
    if options.interpolate is None:  # each row by its own position, so that it does not depend on how many there are
        drawn = np.stack([draw_normal(seed, row, 0, shape) for row in range(count)])
    elif facts.diffusion is not None:
        raise InvalidInput(f"interpolate: expected a model that makes its rows in one run, {context.name!r} diffuses")
    elif options.seed is not None:
        raise InvalidInput("seed: expected none beside interpolate, which has seeds of its own")
    else:
        first, last = (draw_normal(end, 0, 0, shape) for end in options.interpolate.seeds)
        drawn = _interpolate(first, last, count)
    begin = {facts.noise: drawn.astype(DATATYPES[noise.datatype].dtype, copy=False)}
    if facts.label is not None and labels is not None:
        begin[facts.label] = np.array(labels, np.int64)
    return begin


def _interpolate(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """[count, ...] from ``first`` to ``last`` at equal angles: the middle of a straight line is too short for noise.

    Shoemake, Animating Rotation with Quaternion Curves, 1985.
    """
    a, b = first.astype(np.float64), last.astype(np.float64)
    cosine = np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.arccos(np.clip(cosine, -1, 1))
    shares = np.linspace(0, 1, count)
    if np.sin(angle) < 1e-6:  # the same direction, or the opposite one, to which there is no shortest arc
        weights = zip(1 - shares, shares, strict=True)
    else:
        weights = zip(np.sin((1 - shares) * angle) / np.sin(angle), np.sin(shares * angle) / np.sin(angle), strict=True)
    rows = np.stack([u * a + v * b for u, v in weights]).astype(np.float32)
    rows[0], rows[-1] = first, last
    return rows


async def _run_once(
    begin: Arrays, context: ModelContext, facts: Generation, picture: Picture | None, emit: Emit | None
) -> np.ndarray:
    outputs = await Infer(begin, facts.graph)
    rows = check_finite(context.name, facts.output, outputs[facts.output])
    if emit is not None:
        for i, row in enumerate(rows):
            emit({"row": i, "step": 0, "steps": 1, "preview": show_row(row, picture)})
    return rows
