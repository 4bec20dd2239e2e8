"""Samples by a diffusion: the noise levels that a row goes through, and what each step takes.

Ho et al., Denoising Diffusion Probabilistic Models, 2020; Song et al., Denoising Diffusion Implicit Models, 2021; Ho
and Salimans, Classifier-Free Diffusion Guidance, 2022. The update itself is in the model's graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.tasks import Diffusion, Generation, Picture
from service.codecs.model_context import ModelContext
from service.engine.loop.noise import draw_normal
from service.engine.loop.request import ByStep, LoopRequest, Watch
from service.engine.tensors import Arrays
from service.errors import InvalidInput
from service.tasks.answer import show_row
from service.tasks.work import Emit, Limits


@dataclass(frozen=True, slots=True)
class Sampling:
    """``eta`` from 0 (DDIM: nothing is drawn between the steps) to 1 (DDPM)."""

    steps: int
    guidance: float
    eta: float


def read_sampling(
    facts: Diffusion,
    context: ModelContext,
    limits: Limits,
    steps: int | None,
    guidance: float | None,
    eta: float | None,
) -> Sampling:
    """What was asked for, with the model's own choice of the rest. Raises InvalidInput for what it cannot do."""
    loop = context.manifest.loop
    most = min(facts.times, limits.max_steps, loop.max_steps if loop else 1)
    steps = min(facts.steps, most) if steps is None else steps
    if not 1 <= steps <= most:
        raise InvalidInput(f"steps: expected 1 to {most}, got {steps}")
    if guidance is not None and facts.guidance is None:
        raise InvalidInput(f"guidance: expected none, for model {context.name!r} takes none")
    if eta is not None and facts.eta is None:
        raise InvalidInput(f"eta: expected none, for model {context.name!r} takes none")
    # A graph with noise at each step and no input to turn it down takes all of it.
    least_eta = 1.0 if facts.step_noise is not None and facts.eta is None else 0.0
    return Sampling(steps, facts.default_guidance if guidance is None else guidance, least_eta if eta is None else eta)


def choose_levels(times: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(levels, next levels), int64 [steps]: evenly from ``times`` - 1 to 0; the last goes to -1, which is none."""
    levels = np.linspace(times - 1, 0, steps).round().astype(np.int64)
    return levels, np.append(levels[1:], -1)


def plan_loop_request(
    begin: Arrays,
    seed: int,
    sampling: Sampling,
    context: ModelContext,
    facts: Generation,
    emit: Emit | None,
    picture: Picture | None,
) -> LoopRequest:
    """The steps of rows that begin with the noise and the label in ``begin``; a preview goes to ``emit`` after each."""
    diffusion = facts.diffusion
    assert diffusion is not None  # noqa: S101  # asked by the caller
    inputs = {tensor.name: tensor for tensor in context.manifest.graphs[facts.graph].inputs}
    noise = begin[facts.noise]
    count = len(noise)
    levels, next_levels = choose_levels(diffusion.times, sampling.steps)
    constant = dict(begin)
    by_step: dict[str, ByStep] = {
        diffusion.time: lambda rows, step: levels[step],
        diffusion.next_time: lambda rows, step: next_levels[step],
    }
    for name, value in ((diffusion.guidance, sampling.guidance), (diffusion.eta, sampling.eta)):
        if name is not None:
            constant[name] = np.full(count, value, _dtype(inputs[name]))
    if diffusion.step_noise is not None:
        dtype = _dtype(inputs[diffusion.step_noise])
        if sampling.eta > 0:
            by_step[diffusion.step_noise] = _draw_by_step(seed, noise.shape[1:], dtype)
        else:
            constant[diffusion.step_noise] = np.zeros(noise.shape, dtype)
    watch = None if emit is None else _watch(emit, diffusion, sampling.steps, picture)
    return LoopRequest(
        constant, sampling.steps, by_step, last=(facts.output,), show=(diffusion.preview,) if emit else (), watch=watch
    )


def _draw_by_step(seed: int, shape: Sequence[int], dtype: np.dtype) -> ByStep:
    def draw(rows: slice, step: int) -> np.ndarray:
        # Number 0 of a row is the noise that it begins with.
        drawn = [draw_normal(seed, row, step + 1, shape) for row in range(rows.start, rows.stop)]
        return np.stack(drawn).astype(dtype, copy=False)

    return draw


def _watch(emit: Emit, diffusion: Diffusion, steps: int, picture: Picture | None) -> Watch:
    def show(row: int, step: int, outputs: Mapping[str, np.ndarray]) -> None:
        # A copy: the array is the loop's, and the event may be rendered later.
        preview = show_row(outputs[diffusion.preview].copy(), picture)
        emit({"row": row, "step": step, "steps": steps, "preview": preview})

    return show


def _dtype(tensor: Tensor) -> np.dtype:
    return DATATYPES[tensor.datatype].dtype
