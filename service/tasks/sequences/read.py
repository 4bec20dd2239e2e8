"""Reads text from pictures of lines and from sounds: in one run, or in one run for each window of a long sound."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.tasks import Image
from service.codecs.ctc import CtcText, JoinedText, Piece, Text
from service.codecs.ctc_beams import CtcBeams
from service.codecs.model_context import ModelContext, known
from service.codecs.rows import Group, in_order
from service.engine.tensors import Arrays
from service.errors import InvalidInput, ModelFailure
from service.tasks.answer import check_finite
from service.tasks.pictures import placement_of, size_of
from service.tasks.sequences.translate import TextOptions
from service.tasks.windows import find_places, find_sounds
from service.tasks.work import Call, decode_rows, infer_group, run_in_thread

MAX_STEPS = 10_000
"""The most steps of the rows in a beam search, which then takes a second or two."""
_STEP_BYTES = 4
"""The cost of a score, as ``run_in_thread`` counts."""


class ReadOptions(TextOptions):
    pieces: bool = False
    """where each symbol was read: its sides in the picture, or its seconds in the sound"""


async def read(call: Call[ReadOptions]) -> list[dict[str, Any]]:
    """One prediction for each row: ``text``, ``probability``, and ``pieces`` if they are asked for.

    ``probability`` is the mean over the symbols, each in its first step; 0 for an empty text. With beams the text is
    the most probable one, and ``probability`` is that of the whole text. A piece has ``text``, ``probability``, and its
    place: ``left`` and ``right`` in pixels of the caller's picture, or ``start`` and ``end`` in seconds.

    Rows of one width share a run. Other rows change nothing, because rows are padded only as the manifest says. Raises
    InvalidInput, UnsupportedMedia, BodyTooLarge; ModelFailure for scores that are not finite.
    """
    manifest = call.model.manifest
    if call.options.pieces and manifest.image is None and manifest.sound is None:
        raise InvalidInput(
            f"pieces: the rows of model {call.model.name!r} are neither pictures nor sounds; leave it out"
        )
    width = call.options.beams or 1
    if call.options.pieces and width > 1:
        raise InvalidInput(
            f"pieces: expected it with beams 1, for a search does not know where symbols are, got beams {width}"
        )
    groups = await decode_rows(call, one_window=False)
    found = []
    for group in groups:
        outputs = await infer_group(group)
        scores = outputs[known(manifest.reading).output]
        steps = scores.shape[0] * scores.shape[1]
        if width > 1 and steps > MAX_STEPS:
            raise InvalidInput(f"beams: expected at most {MAX_STEPS} steps of rows together, got {steps}: ask for 1")
        read_all = _read_sounds if group.windows else _read_rows
        found.append(
            await run_in_thread(functools.partial(read_all, call, group, outputs), scores.size * _STEP_BYTES * width)
        )
    places = [Group(find_places(group), {}) for group in groups]
    predictions: list[dict[str, Any]] = in_order(places, found)
    if call.emit is not None:
        for row, prediction in enumerate(predictions):
            call.emit({"row": row, "step": 0, "text": prediction["text"]})
    return predictions


def size_step(model: ModelContext, samples: int, steps: int) -> float:
    """The number of samples for each step, in a row with this number of samples and steps."""
    step_s = known(model.manifest.reading).step_s
    return samples / max(1, steps) if step_s is None else step_s * known(model.manifest.sound).rate


def find_scores(model: ModelContext, outputs: Arrays) -> tuple[np.ndarray, Sequence[str], Sequence[int]]:
    """The scores [rows, steps, symbols], the symbols, and the number of steps of each row. Raises ModelFailure."""
    facts = known(model.manifest.reading)
    scores = check_finite(model.name, facts.output, outputs[facts.output])
    symbols = model.symbols or facts.symbols
    if scores.shape[2] != len(symbols):
        raise ModelFailure(f"model {model.name!r} gave scores of {scores.shape[2]} symbols, expected {len(symbols)}")
    if facts.length is None:
        return scores, symbols, [scores.shape[1]] * len(scores)
    return scores, symbols, [max(0, length) for length in outputs[facts.length].tolist()]


def _open(call: Call[ReadOptions], symbols: Sequence[str]) -> CtcText | CtcBeams:
    facts, width = known(call.model.manifest.reading), call.options.beams or 1
    return CtcText(facts, symbols) if width == 1 else CtcBeams(facts, symbols, width)


def _read_rows(call: Call[ReadOptions], group: Group, outputs: Arrays) -> list[dict[str, Any]]:
    scores, symbols, lengths = find_scores(call.model, outputs)
    predictions = []
    for row, length in enumerate(lengths):
        text = _open(call, symbols)
        text.add(scores[row, :length])
        predictions.append(_describe(text))
        if call.options.pieces and isinstance(text, CtcText):
            image, steps = known(call.model.manifest.image), scores.shape[1]
            predictions[-1]["pieces"] = [_locate(piece, image, group, row, steps) for piece in text.pieces]
    return predictions


def _read_sounds(call: Call[ReadOptions], group: Group, outputs: Arrays) -> list[dict[str, Any]]:
    """One prediction for each sound, from its joined windows."""
    model, sound = call.model, known(call.model.manifest.sound)
    scores, symbols, lengths = find_scores(model, outputs)
    step_samples = size_step(model, group.inputs[sound.input].shape[1], scores.shape[1])
    predictions = []
    for rows in find_sounds(group.windows):
        text = _open(call, symbols)
        joined = JoinedText(len(symbols), sound.overlap, text)
        for row in range(rows.start, rows.stop):
            window = group.windows[row]
            joined.add(scores[row, : lengths[row]], window.begin, window.end, step_samples)
        joined.finish()
        predictions.append(_describe(text))
        if call.options.pieces and isinstance(text, CtcText):
            step_s = step_samples / sound.rate
            predictions[-1]["pieces"] = [
                {**_describe_piece(piece), "start": piece.begin * step_s, "end": piece.end * step_s}
                for piece in text.pieces
            ]
    return predictions


def _describe(text: Text) -> dict[str, Any]:
    return {"text": text.text, "probability": text.probability}


def _describe_piece(piece: Piece) -> dict[str, Any]:
    return {"text": piece.text, "probability": piece.probability}


def _locate(piece: Piece, image: Image, group: Group, row: int, steps: int) -> dict[str, Any]:
    """A piece with its sides in pixels of the caller's picture. ``steps`` is the number of steps of the whole row."""
    placement = placement_of(group, row, image)
    step = size_of(group, image)[1] / steps
    left, right = (
        min(max(0.0, (place * step - placement.offset_x) / placement.scale_x), float(placement.width))
        for place in (piece.begin, piece.end)
    )
    return {**_describe_piece(piece), "left": left, "right": right}
