"""Renders rows of an answer: as nested numbers, as pictures in JSON, or as one PNG."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from model_store.datatypes import datatype_of
from model_store.tasks import Picture
from service.codecs.pictures.writer import MEDIA_TYPE as PNG
from service.codecs.pictures.writer import as_image, encode_grid, encode_png
from service.engine.tensors import are_finite
from service.errors import InvalidInput, ModelFailure
from service.protocol.infer_response import to_nested
from service.tasks.request import TaskOptions
from service.tasks.work import Call, Result, run_in_thread

Form = Literal["numbers", "picture"]
RowForm = Literal["numbers", "picture", "sound"]
Rows = Sequence[np.ndarray] | np.ndarray


def check_finite(model: str, name: str, array: np.ndarray) -> np.ndarray:
    """The output of a model as it is. Raises ModelFailure for NaN and infinities, which no answer can have."""
    if datatype_of(array).is_float and not are_finite(array):
        raise ModelFailure(f"model {model!r} gave {name!r} with numbers that are not finite")
    return array


class PictureOptions(TaskOptions):
    """Options of tasks whose answers are rows."""

    output_format: RowForm = "numbers"
    """`picture`: each row as a PNG in base64; `sound`: as a WAV in base64"""


def check_answer(call: Call[TaskOptions]) -> None:
    """Raises InvalidInput if the answer should be both a stream and a picture or sound."""
    if call.options.stream and (call.wants_sound or call.wants_picture):
        form = "audio/wav is one sound" if call.wants_sound else "image/png is one picture"
        raise InvalidInput(f"accept: {form}, and a stream has events: ask for one of them")


def choose_picture(call: Call[PictureOptions], graph: str, output: str, picture: Picture | None) -> Picture | None:
    """How rows of the output become pictures; None if numbers are wanted. Raises InvalidInput for other forms."""
    check_answer(call)
    if call.wants_sound or call.options.output_format == "sound":
        field = "accept: audio/wav" if call.wants_sound else "output_format"
        raise InvalidInput(f"{field}: the rows of model {call.model.name!r} are not sounds: ask for numbers")
    if not call.wants_picture and call.options.output_format == "numbers":
        return None
    shape = call.model.outputs(graph)[output].row_shape
    if picture is None or len(shape) != 3 or (isinstance(shape[0], int) and shape[0] != picture.channels):
        field = "accept: image/png" if call.wants_picture else "output_format"
        raise InvalidInput(f"{field}: the rows of model {call.model.name!r} are not pictures: ask for numbers")
    return picture


def show_row(row: np.ndarray, picture: Picture | None) -> Any:
    """A row as nested numbers, or as ``{"image": "<base64 PNG>"}`` if ``picture`` is given."""
    return to_nested(row) if picture is None else as_image(encode_png(row, picture))


async def show_rows(rows: Rows, picture: Picture | None) -> list[Any]:
    """``show_row`` of each row, in a thread if they are large."""
    size = sum(row.size for row in rows)
    return await run_in_thread(lambda: [show_row(row, picture) for row in rows], size)


async def show_together(rows: Rows, picture: Picture) -> Result:
    """One PNG: a single row as it is, several rows in a grid. Raises InvalidInput if they differ in size."""
    if len({row.shape for row in rows}) > 1:
        raise InvalidInput("accept: image/png shows rows of one size in a grid, got several sizes: ask for JSON")

    def encode() -> bytes:
        return encode_png(rows[0], picture) if len(rows) == 1 else encode_grid(np.stack(list(rows)), picture)

    content = await run_in_thread(encode, sum(row.size for row in rows))
    return Result(content, PNG)
