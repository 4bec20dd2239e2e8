"""The answer of a stream to a row of sound: labels, the text so far, or the outputs."""

from collections.abc import Callable, Mapping
from typing import Any

from model_store.tasks import Sound
from service.codecs.ctc import CtcText, JoinedText
from service.codecs.model_context import ModelContext
from service.codecs.sound_stream import SoundRow
from service.engine.tensors import Arrays
from service.protocol.infer_response import to_nested
from service.tasks.answer import check_finite
from service.tasks.classify import predictions
from service.tasks.sequences.read import find_scores, size_step

Answerer = Callable[[SoundRow, Arrays], Mapping[str, Any]]
"""Makes the fields of the message for a row. Raises ModelFailure."""


def open_text(model: ModelContext, sound: Sound) -> JoinedText | None:
    """The text of a stream, empty at first; None if the model does not read text."""
    facts = model.manifest.reading
    if facts is None:
        return None
    symbols = model.symbols or facts.symbols
    return JoinedText(len(symbols), sound.overlap, CtcText(facts, symbols))


def choose_answers(model: ModelContext, top_k: int, text: JoinedText | None) -> Answerer:
    """The answers that suit the task of the model. ``text`` comes from ``open_text``."""
    manifest = model.manifest
    if text is not None:
        return lambda row, outputs: _read(model, text, row, outputs)
    if manifest.task == "classify" and manifest.classes is not None:
        return lambda row, outputs: {"prediction": predictions(manifest, outputs, top_k)[0]}
    carries = manifest.loop.carries if manifest.loop else ()
    hidden = {carry.output for carry in carries}  # the state for the next row, which is of no use to the client
    return lambda row, outputs: {
        "outputs": {
            name: to_nested(check_finite(model.name, name, array)[0])
            for name, array in outputs.items()
            if name not in hidden
        }
    }


def _read(model: ModelContext, text: JoinedText, row: SoundRow, outputs: Arrays) -> Mapping[str, Any]:
    scores, _, lengths = find_scores(model, outputs)
    step_samples = size_step(model, len(row.samples), scores.shape[1])
    text.add(scores[0, : lengths[0]], row.begin, row.end, step_samples)
    return {"text": text.text}
