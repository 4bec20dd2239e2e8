"""Rows as people send them, for every task: nested numbers of the model's row shape, or a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.manifest import Manifest, Tensor
from service.engine.tensors import Arrays, show_shape
from service.errors import InvalidInput
from service.protocol.images import decode_base64, decode_image
from service.protocol.numbers import array_of
from service.protocol.text import type_name

MAX_ROWS = 65_536


def read_rows(inputs: Any, manifest: Manifest, max_pixels: int) -> Arrays:
    """The input tensor of ``main`` from a JSON array of rows. Raises InvalidInput, which names the row at fault."""
    tensor = only_input(manifest)
    if not isinstance(inputs, list) or not 0 < len(inputs) <= MAX_ROWS:
        got = f"an array of {len(inputs)}" if isinstance(inputs, list) else type_name(inputs)
        raise InvalidInput(f"inputs: expected an array of 1 to {MAX_ROWS} rows, got {got}")
    if any(isinstance(row, dict) for row in inputs):
        rows = [_read_row(row, i, tensor, manifest, max_pixels) for i, row in enumerate(inputs)]
        shape = list(rows[0].shape)
        for i, row in enumerate(rows):
            if list(row.shape) != shape:
                raise InvalidInput(f"inputs[{i}]: expected shape {shape} like inputs[0], got {list(row.shape)}")
        return {tensor.name: np.stack(rows)}
    datatype = DATATYPES[tensor.datatype]
    try:
        array = array_of(inputs, datatype, "inputs")
    except InvalidInput:
        for i, row in enumerate(inputs):
            _read_row(row, i, tensor, manifest, max_pixels)
        raise
    if not _fits(array.shape[1:], tensor):
        _refuse_shape("inputs[0]", tensor, array.shape[1:])
    return {tensor.name: array}


def image_rows(content: bytes, manifest: Manifest, max_pixels: int) -> Arrays:
    """The input tensor of ``main`` from one picture as the whole body. Raises InvalidInput, UnsupportedMedia."""
    tensor = only_input(manifest)
    return {tensor.name: _from_picture(content, "body", tensor, manifest, max_pixels)[None]}


def only_input(manifest: Manifest) -> Tensor:
    """The input that a row becomes. Raises InvalidInput for a model that takes several tensors."""
    inputs = manifest.graphs["main"].inputs
    if len(inputs) != 1:
        names = ", ".join(t.name for t in inputs)
        raise InvalidInput(
            f"model {manifest.name!r} takes several tensors ({names}): use /v2/models/{manifest.name}/infer"
        )
    return inputs[0]


def _read_row(row: Any, index: int, tensor: Tensor, manifest: Manifest, max_pixels: int) -> np.ndarray:
    where = f"inputs[{index}]"
    if isinstance(row, dict):
        if set(row) != {"image"} or not isinstance(row["image"], str):
            raise InvalidInput(
                f'{where}: expected nested numbers or {{"image": "<base64>"}}, got fields {list(row)!r:.60}'
            )
        content = decode_base64(row["image"], f"{where}.image")
        return _from_picture(content, f"{where}.image", tensor, manifest, max_pixels)
    array = array_of(row, DATATYPES[tensor.datatype], where)
    if not _fits(array.shape, tensor):
        _refuse_shape(where, tensor, array.shape)
    return array


def _from_picture(content: bytes, where: str, tensor: Tensor, manifest: Manifest, max_pixels: int) -> np.ndarray:
    if manifest.image is None or manifest.image.input != tensor.name:
        raise InvalidInput(
            f"{where}: model {manifest.name!r} takes numbers of shape {_row_shape(tensor)}, not pictures"
        )
    return decode_image(content, manifest.image, max_pixels, where).astype(DATATYPES[tensor.datatype].dtype, copy=False)


def _fits(shape: Sequence[int], tensor: Tensor) -> bool:
    wanted = tensor.row_shape
    return len(shape) == len(wanted) and all(isinstance(w, str) or w == g for w, g in zip(wanted, shape, strict=True))


def _refuse_shape(where: str, tensor: Tensor, got: Sequence[int]) -> None:
    raise InvalidInput(f"{where}: expected a row of shape {_row_shape(tensor)}, got {list(got)}")


def _row_shape(tensor: Tensor) -> str:
    return show_shape(tensor.row_shape)
