"""The options and the messages that a stream takes."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN
from model_store.tasks import Sound
from service.codecs.sound_stream import Form, SoundRow, SoundStream
from service.engine.tensors import Arrays
from service.errors import InvalidInput, UnreadableMessage
from service.models.entry import Model
from service.protocol.infer_request import InferRequest, parse_infer
from service.protocol.json import parse_json
from service.protocol.request_model import RequestModel
from service.tasks.request import read_query

_MAX_FIELDS = 16
_MOST_END = 64
"""The most characters of the message that ends a stream."""


class StreamOptions(RequestModel):
    """The options in the query string of a sound stream."""

    rate: int | None = None
    """samples a second, in Hz; default: the model's own"""
    format: Form = "int16"
    """of a sample, little-endian; float32 goes from -1 to 1"""
    top_k: Annotated[int, Field(ge=1, le=1000)] = 1
    """how many labels for each row, of a model with labels"""


def read_options(query: bytes) -> StreamOptions:
    """Raises InvalidInput."""
    fields = read_query(query, _MAX_FIELDS)
    names = [name for name, _ in fields]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(f"{repeated[0]:.60}: expected once, got it more than once")
    return StreamOptions.read(dict(fields), strict=False)


def check_model(model: Model, options: StreamOptions, query: bytes) -> None:
    """Raises InvalidInput or NotOffered if there can be no stream of this model with these options."""
    sound = model.manifest.sound
    if sound is None:
        if query:
            raise InvalidInput(f"query: model {model.name!r} takes tensors, and no options: leave it out")
        return
    if sound.graph != MAIN or model.manifest.writing is not None:
        raise InvalidInput(f"model {model.name!r} takes whole sounds: send them to /predict_sequence")
    rules = model.sequence_rules
    given = {sound.input, sound.length}
    if rules is not None:
        given |= {state.input for state in rules.facts.states} | {each.input for each in rules.facts.controls}
    missing = [t.name for t in model.signature.public_inputs.values() if t.name not in given and not t.optional]
    if missing:
        raise InvalidInput(f"model {model.name!r} takes more than sound: {', '.join(missing)}: use its infer route")
    SoundStream(sound, options.rate, options.format, rules is not None)


def describe_stream(model: Model) -> dict[str, Any]:
    """What a client must know before it opens a stream. Raises InvalidInput if the model can have none."""
    check_model(model, StreamOptions(), b"")
    sound = model.manifest.sound
    facts: dict[str, Any] = {"name": model.name, "version": model.version, "protocol": "websocket"}
    if sound is None:
        return {**facts, "takes": "requests"}
    return {**facts, "takes": "samples", "rate": sound.rate, "window": sound.window, "overlap": sound.overlap}


def inputs_of(row: SoundRow, sound: Sound, model: Model) -> Arrays:
    tensor = model.signature.inputs[sound.input]
    if (check := model.row_checks.get(MAIN)) is not None:
        check(row.samples.size)
    inputs = {sound.input: row.samples[None].astype(DATATYPES[tensor.datatype].dtype, copy=False)}
    if sound.length is not None:
        inputs[sound.length] = np.array([row.end - row.begin], np.int64)
    return inputs


def check_end(message: str) -> None:
    """Raises UnreadableMessage for a text that is not JSON, InvalidInput for one that does not end the stream."""
    if not is_end(message):
        _check_json(message)
        raise InvalidInput(f'message: expected samples, or the text {{"end": true}}, got {message!r:.60}')


def is_end(message: str) -> bool:
    if len(message) > _MOST_END:
        return False
    try:
        return bool(parse_json(message.encode()) == {"end": True})
    except InvalidInput:
        return False


def _check_json(message: str) -> None:
    try:
        parse_json(message.encode(), "message")
    except InvalidInput as error:
        raise UnreadableMessage(str(error)) from None


def read_request(body: bytes, max_tensors: int) -> InferRequest:
    """Raises UnreadableMessage for a body that is not JSON, InvalidInput for a request that a stream cannot take."""
    try:
        request = parse_infer(body, None, max_tensors=max_tensors)
    except InvalidInput:
        _check_json(body.decode())
        raise
    header = request.header
    if header.sequence is not None:
        raise InvalidInput("sequence_id: expected none, for a stream is one sequence; leave it out")
    if header.uses_regions:
        raise InvalidInput("shared_memory_region: expected none in a live stream: send the data")
    if header.classes:
        raise InvalidInput("classification: expected none in a stream")
    if header.binary_default or any((header.outputs or {}).values()):
        raise InvalidInput("binary_data: expected false, for a stream answers in JSON")
    return request
