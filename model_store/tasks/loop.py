"""A graph that runs step by step."""

from typing import Annotated

from pydantic import Field

from model_store.strict_model import Count, StrictModel


class Carry(StrictModel):
    """A tensor that a row keeps from step to step: ``input`` of ``main`` takes what ``output`` gave in the step
    before."""

    input: str
    output: str | None = None
    """None: the tensor keeps its first value."""
    start: str | None = None
    """The output of the loop's start graph with its first value, or an input of it, which is passed on. None: zeros, of
    size 0 on free axes, or what the task begins with."""
    resume: str | None = None
    """The input of the start graph that takes it from an earlier request; zeros if there was none."""


class Loop(StrictModel):
    """``main`` runs step by step on what each row carries. Rows at different steps share batches.

    ``start`` names the graph that runs once before the first step.
    """

    carries: Annotated[tuple[Carry, ...], Field(min_length=1)]
    max_steps: Count
    """A row ends at the latest after so many steps."""
    start: str | None = None
