"""Diffusion: the noise levels of a row, and the inputs of each step. The model's graph does the update of a step.

Ho et al., Denoising Diffusion Probabilistic Models, 2020; Song et al., Denoising Diffusion Implicit Models, 2021; Ho
and Salimans, Classifier-Free Diffusion Guidance, 2022.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from model_store.datatypes import DATATYPES
from model_store.tasks import Diffusion, Generation, Picture
from service.codecs.model_context import known
from service.engine.loop.noise import draw_normal
from service.engine.loop.request import ByStep, LoopRequest, Watch
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.tasks.answer import show_row
from service.tasks.request import TaskOptions, refuse
from service.tasks.work import Call, Emit


class Sampling(NamedTuple):
    """``eta`` goes from 0 (DDIM, no noise between the steps) to 1 (DDPM)."""

    steps: int
    guidance: float
    eta: float


class DiffusionOptions(TaskOptions):
    steps: int | None = None
    """of a diffusion"""
    guidance: Annotated[float, Field(ge=-100, le=100)] | None = None
    """of a diffusion: the strength of classifier-free guidance"""
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    """of a diffusion: noise between the steps, from 0 (none, DDIM) to 1 (all, DDPM)"""


def read_sampling(call: Call[DiffusionOptions], facts: Diffusion) -> Sampling:
    """The options, with the model's defaults. Raises InvalidInput for what the model cannot do."""
    options, loop = call.options, call.model.manifest.loop
    most = min(facts.times, call.limits.max_steps, loop.max_steps if loop else 1)
    steps = min(facts.steps, most) if options.steps is None else options.steps
    if not 1 <= steps <= most:
        raise InvalidInput(f"steps: expected 1 to {most}, got {steps}")
    for name in ("guidance", "eta"):
        if getattr(facts, name) is None:
            refuse(options, [name], f"expected none, for model {call.model.name!r} takes none")
    # A graph that takes noise at each step, but no eta, always uses all of it.
    eta = 1.0 if facts.step_noise is not None and facts.eta is None else options.eta or 0.0
    return Sampling(steps, facts.default_guidance if options.guidance is None else options.guidance, eta)


def choose_levels(times: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(levels, next levels), int64 [steps]: evenly spaced from ``times`` - 1 to 0. After the last level comes -1."""
    levels = np.linspace(times - 1, 0, steps).round().astype(np.int64)
    return levels, np.append(levels[1:], -1)


def plan_loop_request(
    call: Call[TaskOptions], facts: Generation, begin: Arrays, seed: int, sampling: Sampling, picture: Picture | None
) -> LoopRequest:
    """The loop request for rows whose noise and labels are in ``begin``. A stream gets a preview after each step."""
    diffusion = known(facts.diffusion)
    dtypes = {name: DATATYPES[tensor.datatype].dtype for name, tensor in call.model.inputs(facts.graph).items()}
    noise = begin[facts.noise]
    levels, next_levels = choose_levels(diffusion.times, sampling.steps)
    constant = dict(begin)
    by_step: dict[str, ByStep] = {
        diffusion.time: lambda rows, step: levels[step],
        diffusion.next_time: lambda rows, step: next_levels[step],
    }
    for name, value in ((diffusion.guidance, sampling.guidance), (diffusion.eta, sampling.eta)):
        if name is not None:
            constant[name] = np.full(len(noise), value, dtypes[name])
    if (name := diffusion.step_noise) is not None:
        if sampling.eta > 0:
            by_step[name] = _draw_by_step(seed, noise.shape[1:], dtypes[name])
        else:
            constant[name] = np.zeros(noise.shape, dtypes[name])
    watch = None if call.emit is None else _watch(call.emit, diffusion, sampling.steps, picture)
    show = () if call.emit is None else (diffusion.preview,)
    return LoopRequest(constant, sampling.steps, by_step, last=(facts.output,), show=show, watch=watch)


def _draw_by_step(seed: int, shape: Sequence[int], dtype: np.dtype) -> ByStep:
    def draw(rows: slice, step: int) -> np.ndarray:
        # Draw 0 of a row is its initial noise.
        drawn = [draw_normal(seed, row, step + 1, shape) for row in range(rows.start, rows.stop)]
        return np.stack(drawn).astype(dtype, copy=False)

    return draw


def _watch(emit: Emit, diffusion: Diffusion, steps: int, picture: Picture | None) -> Watch:
    def show(row: int, step: int, outputs: Mapping[str, np.ndarray]) -> None:
        # A copy, because the loop reuses its array and the event may be rendered later.
        preview = show_row(outputs[diffusion.preview].copy(), picture)
        emit({"row": row, "step": step, "steps": steps, "preview": preview})

    return show
