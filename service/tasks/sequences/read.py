"""Pictures of lines, and sounds, to text in one run of the graph."""

import functools
from typing import Any

from service.codecs.ctc import CtcText, Piece
from service.codecs.model_context import ModelContext, known
from service.codecs.rows import Group, in_order
from service.engine.tensors import Arrays
from service.errors import InvalidInput, ModelFailure
from service.tasks.answer import check_finite
from service.tasks.pictures import placement_of, size_of
from service.tasks.request import TaskOptions
from service.tasks.work import Call, decode_rows, infer_group, run_in_thread

_STEP_BYTES = 4
"""About what reading a score costs, in bytes of a picture that are decoded."""


class ReadOptions(TaskOptions):
    pieces: bool = False
    """where each symbol was read: its sides in the picture, or its seconds in the sound"""


async def read(call: Call[ReadOptions]) -> list[dict[str, Any]]:
    """One prediction for each row: ``text``, ``probability`` and, where they are asked for, ``pieces``.

    ``probability`` is the mean over the symbols, each as in the first step that has it; 0 for an empty text. A piece
    has ``text``, ``probability``, and its place: ``left`` and ``right`` in pixels of the caller's picture, or ``start``
    and ``end`` in seconds.
    Rows of one width share a run: nothing is padded beyond what the manifest says, so other rows change nothing.
    Raises InvalidInput, UnsupportedMedia, BodyTooLarge; ModelFailure for scores that are not finite.
    """
    manifest = call.model.manifest
    if call.options.pieces and manifest.image is None and manifest.sound is None:
        raise InvalidInput(
            f"pieces: the rows of model {call.model.name!r} are neither pictures nor sounds; leave it out"
        )
    groups = await decode_rows(call)
    found = []
    for group in groups:
        outputs = await infer_group(group)
        size = outputs[known(manifest.reading).output].size
        found.append(await run_in_thread(functools.partial(_read_group, call, group, outputs), size * _STEP_BYTES))
    predictions: list[dict[str, Any]] = in_order(groups, found)
    if call.emit is not None:
        for row, prediction in enumerate(predictions):
            call.emit({"row": row, "step": 0, "text": prediction["text"]})
    return predictions


def read_scores(model: ModelContext, outputs: Arrays) -> list[CtcText]:
    """The text of each row of a run. Raises ModelFailure."""
    facts = known(model.manifest.reading)
    scores = check_finite(model.name, facts.output, outputs[facts.output])
    symbols = model.symbols or facts.symbols
    if scores.shape[2] != len(symbols):
        raise ModelFailure(f"model {model.name!r} gave scores of {scores.shape[2]} symbols, expected {len(symbols)}")
    lengths = [scores.shape[1]] * len(scores) if facts.length is None else outputs[facts.length].tolist()
    texts = []
    for row, length in zip(scores, lengths, strict=True):
        text = CtcText(facts, symbols)
        text.add(row[: max(0, length)])
        texts.append(text)
    return texts


def _read_group(call: Call[ReadOptions], group: Group, outputs: Arrays) -> list[dict[str, Any]]:
    steps = outputs[known(call.model.manifest.reading).output].shape[1]
    predictions = []
    for row, text in enumerate(read_scores(call.model, outputs)):
        prediction: dict[str, Any] = {"text": text.text, "probability": text.probability}
        if call.options.pieces:
            prediction["pieces"] = [_locate(piece, call.model, group, row, steps) for piece in text.pieces]
        predictions.append(prediction)
    return predictions


def _locate(piece: Piece, model: ModelContext, group: Group, row: int, steps: int) -> dict[str, Any]:
    """A piece with its place in what the caller sent. ``steps``: of the whole row."""
    found: dict[str, Any] = {"text": piece.text, "probability": piece.probability}
    manifest = model.manifest
    if manifest.image is None:
        sound = known(manifest.sound)
        step_s = known(manifest.reading).step_s or group.inputs[sound.input].shape[1] / sound.rate / steps
        return {**found, "start": piece.begin * step_s, "end": piece.end * step_s}
    placement = placement_of(group, row, manifest.image)
    step = size_of(group, manifest.image)[1] / steps
    left, right = (
        min(max(0.0, (place * step - placement.offset_x) / placement.scale_x), float(placement.width))
        for place in (piece.begin, piece.end)
    )
    return {**found, "left": left, "right": right}
