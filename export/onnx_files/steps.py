"""Real inputs for a loop that writes: the inputs of its step after a few tokens."""

from collections.abc import Mapping

import numpy as np

from export.onnx_files.analysis import Analysed
from export.onnx_files.spec import OnnxSpec
from export.spec import Arrays
from model_store.datatypes import DATATYPES
from model_store.graph import MAIN, Tensor
from model_store.graphs.bits import take_rows
from model_store.tasks import Writing

STEPS = 3
"""How many tokens are written before the inputs are taken."""


def sample_step(spec: OnnxSpec, graphs: Mapping[str, Analysed], sources: Arrays) -> Arrays | None:
    """The inputs of ``main`` after a few steps from ``sources``, which are inputs of the start graph.

    None if the spec describes no loop that writes. Raises ExportError if a graph fails.
    """
    facts, loop = spec.writing, spec.loop
    if facts is None or loop is None:
        return None
    main, tensors = graphs[MAIN], {tensor.name: tensor for tensor in graphs[MAIN].graph.inputs}
    rows = min(spec.golden_rows, main.most_rows or spec.golden_rows)
    given: dict[str, np.ndarray] = {}
    if loop.start is not None:
        start = graphs[loop.start]
        rows = min(rows, start.count_rows(sources), start.most_rows or rows)
        given = dict(take_rows(sources, rows, start.axes))
        given |= start.run(spec, given)
    state: dict[str, np.ndarray] = {}
    for carry in loop.carries:
        if carry.start is not None and carry.start in given:
            state[carry.input] = given[carry.start]
        else:
            shape = [size if isinstance(size, int) else 0 for size in tensors[carry.input].row_shape]
            state[carry.input] = np.zeros((rows, *shape), DATATYPES[tensors[carry.input].datatype].dtype)
    tokens = [np.full(rows, token, np.int64) for token in facts.begin]
    for step in range(STEPS):
        inputs = {**state, **_write_tokens(facts, tokens, step, tensors)}
        outputs = main.run(spec, inputs)
        state |= {carry.input: outputs[carry.output] for carry in loop.carries if carry.output is not None}
        if step + 1 >= len(tokens) or facts.prefix is not None:
            tokens.append(_choose(outputs[facts.scores], differ=not given and len(tokens) == len(facts.begin)))
    return {**state, **_write_tokens(facts, tokens, STEPS, tensors)}


def _write_tokens(facts: Writing, tokens: list[np.ndarray], step: int, tensors: Mapping[str, Tensor]) -> Arrays:
    """The inputs of a step besides its state."""
    if facts.prefix is not None:
        return {facts.prefix: np.stack(tokens, axis=1)}
    given: dict[str | None, np.ndarray] = {
        facts.token: tokens[step],
        facts.position: np.full_like(tokens[step], step),
    }
    return {
        name: array.reshape(-1, *(1,) * (len(tensors[name].shape) - 1))
        for name, array in given.items()
        if name is not None and name in tensors
    }


def _choose(scores: np.ndarray, differ: bool) -> np.ndarray:
    """The most likely token of each row. ``differ``: row n gets the n-th most likely, because all rows are equal."""
    last = scores[:, -1] if scores.ndim == 3 else scores
    order: np.ndarray = np.argsort(-last, axis=1, kind="stable")
    rows = np.arange(len(last))
    chosen: np.ndarray = order[rows, rows % last.shape[1] if differ else 0]
    return chosen
