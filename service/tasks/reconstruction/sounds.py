"""Reconstruction of sounds: the windows of a long sound run as rows, and their outputs are joined."""

from typing import Any, NamedTuple

import numpy as np

from model_store.sounds.windows import join_windows
from model_store.sounds.writing import MEDIA_TYPE as WAV
from model_store.sounds.writing import encode_wav
from model_store.tasks import Reconstruction, Sound
from service.codecs.model_context import known
from service.codecs.rows import Group, in_order
from service.codecs.sounds import as_sound
from service.engine.tensors import Arrays
from service.errors import InvalidInput, ModelFailure
from service.tasks.answer import check_answer, check_finite
from service.tasks.reconstruction.options import Options
from service.tasks.reconstruction.verdict import describe_error
from service.tasks.windows import find_places, find_sounds
from service.tasks.work import SLOW_BYTES, Call, Result, decode_rows, infer_group, run_in_thread


class _Joined(NamedTuple):
    """A sound before and after, float32 [samples]. ``score`` is the error if the graph gives no score."""

    before: np.ndarray
    after: np.ndarray
    error: float
    score: float


async def reconstruct_sounds(call: Call[Options], graph: str, sound: Sound) -> Result:
    """As ``reconstruct.work``. The error of a sound is that of its whole length.

    If the graph gives errors and scores of windows, a sound has the mean error and the largest score of its windows.
    """
    check_answer(call)
    _check_form(call)
    facts = known(call.model.manifest.reconstruction)
    groups = await decode_rows(call, graph, one_window=False)
    outputs = [await infer_group(group, graph) for group in groups]

    def describe() -> list[Any]:
        found = [_join(call.model.name, facts, sound, *each) for each in zip(groups, outputs, strict=True)]
        joined = in_order([Group(find_places(group), {}) for group in groups], found)
        if call.wants_sound:
            return [encode_wav(joined[0].after, sound.rate)]
        return [_describe(call.options, facts, sound, one) for one in joined]

    size = sum(of_group[facts.output].size for of_group in outputs)
    answers = await run_in_thread(describe, size)
    if call.wants_sound:
        return Result(answers[0], WAV)
    return call.answer(size > SLOW_BYTES, predictions=answers)


def _check_form(call: Call[Options]) -> None:
    """Raises InvalidInput if the answer cannot have the form that is asked for."""
    form = call.options.output_format
    if call.wants_picture or form == "picture":
        field = "accept: image/png" if call.wants_picture else "output_format"
        raise InvalidInput(f"{field}: the rows of model {call.model.name!r} are sounds, not pictures")
    if call.wants_sound and call.rows is not None and len(call.rows) > 1:
        raise InvalidInput(f"accept: audio/wav is one sound, got {len(call.rows)} rows: ask for JSON")
    if call.wants_sound and call.options.error_map:
        raise InvalidInput("error_map: expected an answer in JSON, for Accept: audio/wav has the output alone")


def _join(model: str, facts: Reconstruction, sound: Sound, group: Group, outputs: Arrays) -> list[_Joined]:
    """The sounds of a group. Raises ModelFailure."""
    given, found = group.inputs[sound.input], check_finite(model, facts.output, outputs[facts.output])
    if given.shape != found.shape:
        raise ModelFailure(
            f"model {model!r} gave {facts.output!r} of shape {list(found.shape)} for sounds of {list(given.shape)}"
        )
    errors, scores = (
        None if name is None else check_finite(model, name, outputs[name]) for name in (facts.error, facts.anomaly)
    )
    joined = []
    for of in find_sounds(group.windows):
        windows = [window.of_sound for window in group.windows[of]]
        before, after = join_windows(given[of], windows), join_windows(found[of], windows)
        if errors is None:
            error = float(np.sqrt(np.mean(np.square(after - before, dtype=np.float64))))
        else:
            error = float(errors[of].mean())
        joined.append(_Joined(before, after, error, error if scores is None else float(scores[of].max())))
    return joined


def _describe(options: Options, facts: Reconstruction, sound: Sound, joined: _Joined) -> dict[str, Any]:
    is_sound = options.output_format == "sound"
    output = as_sound(joined.after, sound.rate) if is_sound else joined.after.tolist()
    answer = {"output": output, **describe_error(facts, joined.error, joined.score)}
    if options.error_map:
        answer["error_map"] = np.abs(joined.after - joined.before).tolist()
    return answer
