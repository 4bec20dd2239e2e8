"""What a row writes, step by step and alone: a plain stand-in for the loop."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from model_store.manifest import Manifest
from service.engine.loop.choice import draw, find_log_probabilities
from service.engine.loop.decoding import Greedy, begin_row
from service.engine.loop.request import LoopRequest, Sentence

Arrays = dict[str, np.ndarray]


def write_row(
    request: LoopRequest, row: int, manifest: Manifest, run: Callable[[Mapping[str, np.ndarray]], Arrays]
) -> Sentence:
    """The sentence of a row whose decoding has one slot. Beams count as one."""
    decoding, loop = request.decoding, manifest.loop
    assert decoding is not None
    assert loop is not None
    written = begin_row(replace(decoding, width=1), row)
    assert isinstance(written, Greedy)
    carried = {name: array[row : row + 1] for name, array in request.begin.items()}
    token_shape = {t.name: (1,) * len(t.shape) for t in manifest.graphs["main"].inputs}[decoding.token]
    if not decoding.takes_all:
        carried[decoding.token] = np.full(token_shape, decoding.begin)
    forced = decoding.forced[row] if decoding.forced else ()
    for step in range(request.steps):
        given = {name: np.asarray(of(slice(row, row + 1), step)) for name, of in request.by_step.items()}
        outputs = run({**carried, **{name: value.reshape(1, *value.shape[1:]) for name, value in given.items()}})
        carried |= {carry.input: outputs[carry.output] for carry in loop.carries if carry.output}
        scores = outputs[decoding.scores]
        scores = np.array(scores[:, -1] if scores.ndim == 3 else scores)
        scores[:, [*decoding.suppressed, *(decoding.suppressed_first if step == len(forced) else ())]] = -np.inf
        token = int(scores[0].argmax())
        if step < len(forced):
            token = forced[step]
        elif decoding.sampling is not None:
            token = draw(scores[0], decoding.sampling, step - len(forced))
        chosen = np.full(token_shape, token)
        carried[decoding.token] = np.concatenate([carried[decoding.token], chosen], 1) if decoding.takes_all else chosen
        if request.watch is not None:
            request.watch(row, step, {decoding.token: np.array(token)})
        log_probability = float(find_log_probabilities(scores, np.array([token]), decoding.are_logits)[0])
        written.take(token, log_probability)
        if written.has_ended:
            break
    return written.best()
