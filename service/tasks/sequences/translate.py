"""Texts from texts, one character at a time."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.tasks import Text
from service.codecs.model_context import known
from service.codecs.rows import group_rows, stack_rows
from service.codecs.series import begin_loop
from service.engine.loop.request import Decoding, LoopRequest, Sentence, Watch
from service.errors import InvalidInput, ModelFailure
from service.protocol.json import type_name
from service.tasks.request import TaskOptions
from service.tasks.work import Call, Emit, Iterate, infer_rows

MAX_BEAMS = 8


class TextOptions(TaskOptions):
    beams: Annotated[int, Field(ge=1, le=MAX_BEAMS)] | None = None
    """width of the beam search; 1, the default, takes the most probable character at each step"""


async def translate(call: Call[TextOptions]) -> list[dict[str, Any]]:
    """One prediction for each text: ``text``, ``probability``, and ``complete`` (false) if it had not ended.

    Events: row, step from 0, the text so far. Raises InvalidInput, which names the text at fault; ModelFailure for NaN.
    """
    rows, context, limits, emit = call.rows or (), call.model, call.limits, call.emit
    facts, loop = known(context.manifest.text), known(context.manifest.loop)
    width = call.options.beams or 1
    if width > 1 and emit is not None:
        raise InvalidInput(f"stream: expected it with beams 1, for more may change what was sent, got beams {width}")
    if len(rows) * width > limits.max_rows:
        raise InvalidInput(f"inputs: expected at most {limits.max_rows // width} texts, got {len(rows)}")
    positions_of = {character: at for at, character in enumerate(facts.characters) if at}
    sources = [
        {facts.source: _read_text(row, f"inputs[{i}]", positions_of, facts, context.name)} for i, row in enumerate(rows)
    ]
    started = await infer_rows(sources, known(loop.start))
    begun = [begin_loop(context, outputs) for outputs in started]
    steps = min(loop.max_steps, limits.max_steps)
    decoding = Decoding(facts.token, facts.scores, facts.begin, (facts.end,), width)
    predictions: list[dict[str, Any]] = [{} for _ in rows]
    for positions in group_rows(begun):
        watch = _watch(emit, facts, positions) if emit else None
        request = LoopRequest(stack_rows(begun, positions), steps, decoding=decoding, watch=watch)
        result = await Iterate(request)
        for position, sentence in zip(positions, result.sentences, strict=True):
            predictions[position] = _predict(sentence, steps, facts, context.name)
    return predictions


def _predict(sentence: Sentence, steps: int, facts: Text, model: str) -> dict[str, Any]:
    if math.isnan(sentence.log_probability):
        raise ModelFailure(f"model {model!r} gave probabilities that are not numbers")
    text = "".join(facts.symbols[token] for token in sentence.tokens)
    prediction: dict[str, Any] = {"text": text, "probability": math.exp(sentence.log_probability)}
    if len(sentence.tokens) >= steps:  # the end symbol takes a step too
        prediction["complete"] = False
    return prediction


def _watch(emit: Emit, facts: Text, positions: Sequence[int]) -> Watch:
    texts = [""] * len(positions)

    def watch(row: int, step: int, shown: Mapping[str, np.ndarray]) -> None:
        symbol = int(shown[facts.token])
        if symbol != facts.end:
            texts[row] += facts.symbols[symbol]
            emit({"row": positions[row], "step": step, "text": texts[row]})

    return watch


def _read_text(row: Any, where: str, positions: Mapping[str, int], facts: Text, model: str) -> np.ndarray:
    """The positions of the characters, padded to the next of the model's lengths. Raises InvalidInput."""
    longest = facts.lengths[-1]
    if not isinstance(row, str):
        raise InvalidInput(f"{where}: expected a text, got {type_name(row)}")
    if not 0 < len(row) <= longest:
        raise InvalidInput(f"{where}: expected 1 to {longest} characters, got {len(row) or 'an empty text'}")
    source = np.zeros(next(length for length in facts.lengths if length >= len(row)), np.int64)
    for at, character in enumerate(row):
        if character not in positions:
            got = f"{character!r} (U+{ord(character):04X} {unicodedata.name(character, 'without a name')})"
            expected = f"characters that model {model!r} knows ({''.join(positions)!r:.200})"
            raise InvalidInput(f"{where}: expected {expected}, got {got} at position {at}")
        source[at] = positions[character]
    return source
