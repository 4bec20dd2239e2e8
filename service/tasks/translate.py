"""Text to text, a character at a time."""

import math
import unicodedata
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.graph import MAIN
from model_store.tasks import Loop, Text
from service.codecs.model_context import ModelContext
from service.codecs.rows import group_rows, stack_rows
from service.codecs.series import zeros_of
from service.engine.loop.request import Decoding, LoopRequest, LoopResult, Sentence, Watch
from service.engine.tensors import Arrays
from service.errors import InvalidInput, ModelFailure
from service.protocol.json import type_name
from service.tasks.request import TaskOptions
from service.tasks.work import Emit, Infer, Iterate, Limits, infer_rows

MAX_BEAMS = 8


class TextOptions(TaskOptions):
    """``beams`` hypotheses a text; 1, the default, takes the likeliest symbol at each step."""

    beams: Annotated[int, Field(ge=1, le=MAX_BEAMS)] | None = None


def translate(
    options: TextOptions, rows: Sequence[Any], context: ModelContext, limits: Limits, emit: Emit | None
) -> Generator[Infer | Iterate, Any, list[dict[str, Any]]]:
    """One prediction a text: ``text``, its ``probability``, and ``complete`` false where the steps ran out before it
    ended.

    Events: row, step from 0, the text so far. Raises InvalidInput, which names the text at fault, and ModelFailure for
    probabilities that are not numbers.
    """
    facts, loop = context.manifest.text, context.manifest.loop
    assert facts is not None  # noqa: S101  # asked by the dispatcher
    assert loop is not None  # noqa: S101  # the manifest's text facts need one, with a start graph
    assert loop.start is not None  # noqa: S101
    width = options.beams or 1
    if width > 1 and emit is not None:
        raise InvalidInput(f"stream: expected it with beams 1, for more may change what was sent, got beams {width}")
    if len(rows) * width > limits.max_rows:
        raise InvalidInput(f"inputs: expected at most {limits.max_rows // width} texts, got {len(rows)}")
    sources = _read_texts(rows, facts, context.name)
    started = yield from infer_rows(sources, loop.start)
    begun = [_begin(outputs, loop, context) for outputs in started]
    steps = min(loop.max_steps, limits.max_steps)
    decoding = Decoding(facts.token, facts.scores, facts.begin, facts.end, width)
    predictions: list[dict[str, Any]] = [{} for _ in rows]
    for positions in group_rows(begun):
        watch = _watch(emit, facts, positions) if emit else None
        result: LoopResult = yield Iterate(
            LoopRequest(stack_rows(begun, positions), steps, decoding=decoding, watch=watch)
        )
        for position, sentence in zip(positions, result.sentences, strict=True):
            predictions[position] = _predict(sentence, steps, facts, context.name)
    return predictions


def _predict(sentence: Sentence, steps: int, facts: Text, model: str) -> dict[str, Any]:
    if math.isnan(sentence.log_probability):
        raise ModelFailure(f"model {model!r} gave probabilities that are not numbers")
    text = "".join(facts.symbols[token] for token in sentence.tokens)
    prediction: dict[str, Any] = {"text": text, "probability": math.exp(sentence.log_probability)}
    if len(sentence.tokens) >= steps:  # the end takes a step as well
        prediction["complete"] = False
    return prediction


def _begin(outputs: Arrays, loop: Loop, context: ModelContext) -> dict[str, np.ndarray]:
    """What a text's row takes to the first step."""
    inputs = {tensor.name: tensor for tensor in context.manifest.graphs[MAIN].inputs}
    return {c.input: outputs[c.start] if c.start else zeros_of(inputs[c.input]) for c in loop.carries}


def _watch(emit: Emit, facts: Text, positions: Sequence[int]) -> Watch:
    """Send each text as it grows, by the symbols that the loop chooses."""
    texts = [""] * len(positions)

    def watch(row: int, step: int, shown: Mapping[str, np.ndarray]) -> None:
        symbol = int(shown[facts.token])
        if symbol != facts.end:
            texts[row] += facts.symbols[symbol]
            emit({"row": positions[row], "step": step, "text": texts[row]})

    return watch


def _read_texts(rows: Sequence[Any], facts: Text, model: str) -> list[Arrays]:
    """The source of each text, padded to the next of the lengths. Raises InvalidInput."""
    positions = {character: at for at, character in enumerate(facts.characters) if at}
    return [{facts.source: _read_text(row, f"inputs[{i}]", positions, facts, model)} for i, row in enumerate(rows)]


def _read_text(row: Any, where: str, positions: Mapping[str, int], facts: Text, model: str) -> np.ndarray:
    longest = facts.lengths[-1]
    if not isinstance(row, str):
        raise InvalidInput(f"{where}: expected a text, got {type_name(row)}")
    if not 0 < len(row) <= longest:
        got = f"{len(row)}" if row else "an empty text"
        raise InvalidInput(f"{where}: expected 1 to {longest} characters, got {got}")
    length = next(length for length in facts.lengths if length >= len(row))
    source = np.zeros(length, np.int64)
    for at, character in enumerate(row):
        if character not in positions:
            raise InvalidInput(f"{where}: {_unknown(character, at, positions, model)}")
        source[at] = positions[character]
    return source


def _unknown(character: str, at: int, positions: Mapping[str, int], model: str) -> str:
    name = unicodedata.name(character, "without a name")
    known = "".join(positions)
    return (
        f"expected characters that model {model!r} knows ({known!r:.200}), got {character!r} "
        f"(U+{ord(character):04X} {name}) at position {at}"
    )
