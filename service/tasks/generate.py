"""generate: rows from noise, in one run or by a diffusion; the same seed gives the same rows in any company."""

import math
import secrets
from collections.abc import Generator, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Generation, Picture
from service.codecs.model_context import ModelContext
from service.engine.loop.noise import LARGEST_SEED, draw_normal
from service.engine.loop.request import LoopResult
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.tasks.answer import Form, check_finite, require_picture, show_row, show_rows, show_together
from service.tasks.diffusion import plan_loop_request, read_sampling
from service.tasks.request import FromText, TaskOptions, TaskRequest, check_answer
from service.tasks.work import Admit, Emit, Infer, Iterate, Limits, Result, Work, run_in_thread

NAME = "generate"
_DRAWN_SEEDS = 2**53
"""Seeds that are drawn here stay below: callers whose numbers are floats get them back unchanged."""
_MOST_LABELS = 1 << 16
"""To look at millions of them, only to refuse them then, would hold up everybody else."""
_OF_DIFFUSION = ("steps", "guidance", "eta")

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class Between(BaseModel):
    """The seeds whose first rows are the two ends."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seeds: Annotated[list[Seed], Field(min_length=2, max_length=2)]


class Options(TaskOptions):
    """What to generate. ``labels`` are texts or positions, one for all rows or one for each; without them the classes
    come in turn. ``count`` is as many as there are labels where it is left out.

    ``interpolate`` goes from one noise to another along a great circle, with one label for all. ``steps``, ``guidance``
    and ``eta`` (0: DDIM, 1: DDPM) are for diffusion models.
    """

    count: int | None = None
    seed: Seed | None = None
    labels: Annotated[Annotated[list[str | int], Field(max_length=_MOST_LABELS)] | None, FromText] = None
    steps: int | None = None
    guidance: Annotated[float, Field(ge=-100, le=100)] | None = None
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    interpolate: Annotated[Between | None, FromText] = None
    output_format: Form = "numbers"


def work(options: Options, request: TaskRequest, context: ModelContext, limits: Limits, emit: Emit | None) -> Work:
    """``{"model", "version", "seed" or "seeds", "labels"?, "outputs": [row]}``, or with Accept: image/png a grid.

    An event of a stream is ``{"row", "step", "steps", "preview"}``; without a diffusion there is one step.
    """
    facts = context.manifest.generation
    if facts is None:
        raise InvalidInput(f"model: the manifest of {context.name!r} does not say what it generates")
    if request.rows is not None:
        raise InvalidInput("inputs: expected none, for rows are made from noise: see count, seed and labels")
    check_answer(options, request)
    picture = _find_picture(options, request, context, facts)
    count = _read_count(options, limits)
    labels = _read_labels(options, count, context, facts)
    seed = secrets.randbelow(_DRAWN_SEEDS) if options.seed is None else options.seed
    steps = 0
    if facts.diffusion is not None:
        sampling = read_sampling(facts.diffusion, context, limits, options.steps, options.guidance, options.eta)
        steps = sampling.steps
    begin = yield from run_in_thread(
        lambda: _begin(options, context, facts, count, seed, labels),
        count * _row_bytes(context, facts),
        Admit(count, steps, facts.graph),
    )
    if facts.diffusion is None:
        rows = yield from _run_once(begin, context, facts, picture, emit)
    else:
        result: LoopResult = yield Iterate(plan_loop_request(begin, seed, sampling, context, facts, emit, picture))
        rows = result.last[facts.output]
    check_finite(context, facts.output, rows)
    if request.wants_picture and picture is not None:
        return (yield from show_together(rows, picture))
    answer: dict[str, Any] = {"model": context.name, "version": context.version}
    answer |= {"seeds": options.interpolate.seeds} if options.interpolate else {"seed": seed}
    if labels is not None:
        answer["labels"] = [context.manifest.labels[label] for label in labels]
    return Result({**answer, "outputs": (yield from show_rows(rows, picture))})


def _find_picture(options: Options, request: TaskRequest, context: ModelContext, facts: Generation) -> Picture | None:
    """How rows become pictures; None where numbers are wanted. Raises InvalidInput where they cannot."""
    if not request.wants_picture and options.output_format == "numbers":
        return None
    field = "accept: image/png" if request.wants_picture else "output_format"
    output = next(t for t in context.manifest.graphs[facts.graph].outputs if t.name == facts.output)
    return require_picture(context, output, facts.picture, field)


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
    """Positions of the labels, one a row; None for a model that takes none."""
    given = options.labels
    if facts.label is None:
        if given is not None:
            raise InvalidInput(f"labels: expected none, for model {context.name!r} takes none")
        return None
    known = context.manifest.labels
    if given is None:
        return [0 if options.interpolate else row % len(known) for row in range(count)]
    if len(given) not in (1, count):
        raise InvalidInput(f"labels: expected one for all rows or one for each of {count}, got {len(given)}")
    found = [_find_label(label, f"labels[{i}]", known) for i, label in enumerate(given)]
    return found if len(found) == count else found * count


def _find_label(label: str | int, where: str, known: Sequence[str]) -> int:
    if isinstance(label, int) and 0 <= label < len(known):
        return label
    if label in known:
        return known.index(str(label))
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    raise InvalidInput(f"{where}: expected one of {shown}, or a position 0 to {len(known) - 1}, got {label!r:.60}")


def _row_bytes(context: ModelContext, facts: Generation) -> int:
    """About the bytes of a row's noise."""
    tensor = next(t for t in context.manifest.graphs[facts.graph].inputs if t.name == facts.noise)
    return 8 * math.prod(int(size) for size in tensor.row_shape)


def _begin(
    options: Options, context: ModelContext, facts: Generation, count: int, seed: int, labels: Sequence[int] | None
) -> dict[str, np.ndarray]:
    """The noise of each row, and its label."""
    if facts.diffusion is None:
        for field in _OF_DIFFUSION:
            if getattr(options, field) is not None:
                raise InvalidInput(
                    f"{field}: only a model with a diffusion takes it, and {context.name!r} makes its rows in one run"
                )
    inputs = {tensor.name: tensor for tensor in context.manifest.graphs[facts.graph].inputs}
    begin = {facts.noise: _draw_noise(options, inputs[facts.noise], context, facts, count, seed)}
    if facts.label is not None and labels is not None:
        begin[facts.label] = np.array(labels, np.int64)
    return begin


def _draw_noise(
    options: Options, tensor: Tensor, context: ModelContext, facts: Generation, count: int, seed: int
) -> np.ndarray:
    """[count, ...]: each row by its own position, so that it does not depend on how many there are."""
    shape = [int(size) for size in tensor.row_shape]  # the manifest has none that is free
    if options.interpolate is None:
        rows = [draw_normal(seed, row, 0, shape) for row in range(count)]
        return np.stack(rows).astype(DATATYPES[tensor.datatype].dtype, copy=False)
    if facts.diffusion is not None:
        raise InvalidInput(f"interpolate: expected a model that makes its rows in one run, {context.name!r} diffuses")
    if options.seed is not None:
        raise InvalidInput("seed: expected none beside interpolate, which has seeds of its own")
    first, last = (draw_normal(end, 0, 0, shape) for end in options.interpolate.seeds)
    return _go_between(first, last, count).astype(DATATYPES[tensor.datatype].dtype, copy=False)


def _go_between(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """[count, ...], the ends included, at equal angles: on a straight line the middle would be too short for noise.

    Shoemake, Animating Rotation with Quaternion Curves, 1985.
    """
    a, b = first.astype(np.float64), last.astype(np.float64)
    cosine = np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if np.sin(angle) < 1e-6:  # the same direction, or the opposite one, to which there is no shortest way
        weights = [(1 - share, share) for share in np.linspace(0, 1, count)]
    else:
        weights = [
            (np.sin((1 - share) * angle) / np.sin(angle), np.sin(share * angle) / np.sin(angle))
            for share in np.linspace(0, 1, count)
        ]
    rows = np.stack([u * a + v * b for u, v in weights]).astype(np.float32)
    rows[0], rows[-1] = first, last
    return rows


def _run_once(
    begin: Arrays, context: ModelContext, facts: Generation, picture: Picture | None, emit: Emit | None
) -> Generator[Infer, Any, np.ndarray]:
    outputs: Arrays = yield Infer(begin, facts.graph)
    rows = outputs[facts.output]
    check_finite(context, facts.output, rows)
    if emit is not None:
        for i, row in enumerate(rows):
            emit({"row": i, "step": 0, "steps": 1, "preview": show_row(row, picture)})
    return rows
