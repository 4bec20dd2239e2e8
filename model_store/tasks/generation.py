"""Rows from noise."""

from model_store.strict_model import Count, Finite, StrictModel
from model_store.tasks.picture import Picture


class Diffusion(StrictModel):
    """A loop over noise levels.

    ``time`` and ``next_time`` int64 [batch] are inputs of ``main``: the level of the sample and the next level, from
    ``times`` - 1 down to -1, which means no noise. ``preview`` is the output that shows what the finished sample will
    look like. ``step_noise`` (of the sample's shape), ``guidance`` [batch] and ``eta`` [batch] (0: DDIM, 1: DDPM) are
    inputs if the graph has them.
    """

    time: str
    next_time: str
    times: Count
    preview: str
    step_noise: str | None = None
    guidance: str | None = None
    eta: str | None = None
    steps: Count
    """The number of steps by default."""
    default_guidance: Finite = 0.0
    """The guidance by default."""


class Generation(StrictModel):
    """Rows from noise. ``noise`` [batch, ...] takes standard normal numbers; with ``diffusion`` it is the carried
    tensor.

    ``label`` int64 [batch] is a position in the labels of the model.
    """

    graph: str = "main"
    """The graph that makes rows."""
    output: str
    """The output with the row."""
    noise: str
    label: str | None = None
    picture: Picture | None = None
    """How the row becomes a picture, if it is one."""
    diffusion: Diffusion | None = None
