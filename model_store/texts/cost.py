"""Describes how the cost of written text grows with its length."""

from model_store.graph import MAIN
from model_store.manifest import Manifest


def tell_cost(manifest: Manifest, steps_alone: bool) -> str | None:
    """How the time of a text grows with its length, and which rows share a step; None if the model writes no text.

    ``steps_alone``: rows share no steps, because they are not independent.
    """
    facts, loop, main = manifest.writing, manifest.loop, manifest.graphs[MAIN]
    if facts is None or loop is None:
        return None
    tensors = {tensor.name: tensor for tensor in main.inputs}
    growing = [c.input for c in loop.carries if c.output is not None and not tensors[c.input].has_fixed_rows]
    if facts.prefix is not None:
        text = "a step takes all tokens so far, for there is no cache: time grows with the square of the length"
    elif growing:
        text = "a step takes one token and a cache that grows"
    else:
        text = "a step takes one token and what is kept of those before it"
    if steps_alone:
        return f"{text}; each row takes its steps alone"
    if facts.prefix is not None or growing:
        return f"{text}; rows of one length share steps"
    return f"{text}; rows share steps, whatever their lengths"
