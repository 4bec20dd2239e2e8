"""generate: rows from noise, in one run or by diffusion. The same seed gives the same rows in any batch."""

import math
import secrets
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.datatypes import DATATYPES
from model_store.tasks import Generation
from service.engine.loop.noise import LARGEST_SEED, draw_normal
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.protocol.request_model import RequestModel
from service.tasks.answer import PictureOptions, check_finite, choose_picture, show_row, show_rows, show_together
from service.tasks.generation.diffusion import DiffusionOptions, plan_loop_request, read_sampling
from service.tasks.request import FromText, refuse
from service.tasks.work import Admit, Call, Infer, Iterate, Result, run_in_thread

NAME = "generate"
_DRAWN_SEEDS = 2**53
"""Random seeds are smaller, so that clients whose numbers are floats read them exactly."""
_MOST_LABELS = 1 << 16
"""A longer list is refused at once: to check its elements would hold up other requests."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Labels = Annotated[list[str | int], Field(max_length=_MOST_LABELS)]


class Between(RequestModel):
    """The seeds of the two ends of an interpolation."""

    seeds: Annotated[list[Seed], Field(min_length=2, max_length=2)]


class Options(PictureOptions, DiffusionOptions):
    """The fields of a request."""

    count: int | None = None
    """how many rows; default: as many as labels, or 1"""
    seed: Seed | None = None
    """0 to 2^63 - 1; the same seed gives the same bits, in any batch"""
    labels: Annotated[Labels | None, FromText] = None
    """texts or positions: one for all rows, or one for each; default: all in turn"""
    interpolate: Annotated[Between | None, FromText] = None
    """from the row of one seed to that of another, with one label; not for a diffusion"""


async def work(call: Call[Options]) -> Result:
    """``{"model", "version", "seed" or "seeds", "labels"?, "outputs": [row]}``; with Accept: image/png a grid.

    Events of a stream are ``{"row", "step", "steps", "preview"}``. Without a diffusion there is one step.
    """
    options, context = call.options, call.model
    facts = context.manifest.generation
    if facts is None:
        raise InvalidInput(f"model: the manifest of {context.name!r} does not say what it generates")
    if call.rows is not None:
        raise InvalidInput("inputs: expected none, for rows are made from noise: see count, seed and labels")
    picture = choose_picture(call, facts.graph, facts.output, facts.picture)
    count = _read_count(call)
    labels = _read_labels(call, count, facts)
    seed = secrets.randbelow(_DRAWN_SEEDS) if options.seed is None else options.seed
    _check_kind(call, facts)
    sampling = None if facts.diffusion is None else read_sampling(call, facts.diffusion)
    noise = context.inputs(facts.graph)[facts.noise]
    shape = [int(size) for size in noise.row_shape]  # the manifest allows no free size
    dtype = DATATYPES[noise.datatype].dtype
    begin: Arrays = await run_in_thread(
        lambda: {facts.noise: _draw(options.interpolate, seed, count, shape).astype(dtype, copy=False)},
        count * 8 * math.prod(shape),
        Admit(count, 0 if sampling is None else sampling.steps, facts.graph),
    )
    if facts.label is not None and labels is not None:
        begin = {**begin, facts.label: np.array(labels, np.int64)}
    if sampling is None:
        outputs = await Infer(begin, facts.graph)
    else:
        outputs = (await Iterate(plan_loop_request(call, facts, begin, seed, sampling, picture))).last
    rows = check_finite(context.name, facts.output, outputs[facts.output])
    if call.emit is not None and sampling is None:
        for i, row in enumerate(rows):
            call.emit({"row": i, "step": 0, "steps": 1, "preview": show_row(row, picture)})
    if call.wants_picture and picture is not None:
        return await show_together(rows, picture)
    told: dict[str, Any] = {"seeds": options.interpolate.seeds} if options.interpolate else {"seed": seed}
    if labels is not None:
        told["labels"] = [context.manifest.labels[label] for label in labels]
    return call.answer(**told, outputs=await show_rows(rows, picture))


def _check_kind(call: Call[Options], facts: Generation) -> None:
    """Raises InvalidInput for options that do not apply to this model, or contradict each other."""
    options, name = call.options, call.model.name
    if facts.diffusion is None:
        why = f"only a model with a diffusion takes it, and {name!r} makes its rows in one run"
        refuse(options, DiffusionOptions.own(), why)
    else:
        refuse(options, ["interpolate"], f"expected a model that makes its rows in one run, {name!r} diffuses")
    if options.interpolate is not None:
        refuse(options, ["seed"], "expected none beside interpolate, which has seeds of its own")


def _read_count(call: Call[Options]) -> int:
    options, most = call.options, call.limits.max_generated
    count = options.count
    if count is None:
        count = len(options.labels) if options.labels else 1
    if not 1 <= count <= most:
        raise InvalidInput(f"count: expected 1 to {most}, got {count}")
    if options.interpolate is not None and count < 2:
        raise InvalidInput(f"count: expected 2 or more with interpolate, which has two ends, got {count}")
    return count


def _read_labels(call: Call[Options], count: int, facts: Generation) -> list[int] | None:
    """The position of the label of each row; None if the model takes no labels."""
    given, names = call.options.labels, call.model.manifest.labels
    if facts.label is None:
        refuse(call.options, ["labels"], f"expected none, for model {call.model.name!r} takes none")
        return None
    if given is None:
        return [0 if call.options.interpolate else row % len(names) for row in range(count)]
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


def _draw(between: Between | None, seed: int, count: int, shape: Sequence[int]) -> np.ndarray:
    """The noise of each row. It depends on the position of the row, not on the number of rows."""
    if between is None:
        return np.stack([draw_normal(seed, row, 0, shape) for row in range(count)])
    first, last = (draw_normal(end, 0, 0, shape) for end in between.seeds)
    return _interpolate(first, last, count)


def _interpolate(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """[count, ...] from ``first`` to ``last`` at equal angles (slerp): points on a straight line would be too short.

    Shoemake, Animating Rotation with Quaternion Curves, 1985.
    """
    a, b = first.astype(np.float64), last.astype(np.float64)
    cosine = np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.arccos(np.clip(cosine, -1, 1))
    shares = np.linspace(0, 1, count)
    if np.sin(angle) < 1e-6:  # the same direction, or the opposite one, for which there is no shortest arc
        weights = zip(1 - shares, shares, strict=True)
    else:
        weights = zip(np.sin((1 - shares) * angle) / np.sin(angle), np.sin(shares * angle) / np.sin(angle), strict=True)
    rows = np.stack([u * a + v * b for u, v in weights]).astype(np.float32)
    rows[0], rows[-1] = first, last
    return rows
