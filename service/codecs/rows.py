"""Rows as people send them, for every task: nested numbers of the model's row shape, a picture, or several by name.

Rows of different shapes become a group each, for a batch has rows of one shape; answers come in their order.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import Tensor
from model_store.manifest import Manifest
from model_store.tasks import Tiles
from service.codecs.picture_reader import (
    CheckRow,
    PictureFile,
    PixelCount,
    decode_base64,
    decode_pixels,
    scale_pixels,
)
from service.engine.tensors import Arrays, show_shape
from service.errors import BodyTooLarge, Cancelled, InvalidInput
from service.protocol.json import type_name
from service.protocol.large_json import array_of_large, count_numbers

MAX_ROWS = 65_536
_MOST_DECODED = 8
"""So many times the pixels of the largest picture are decoded for one request: more than 64 MiB of photographs have."""
_NUMBERS_A_BYTE = 2
"""So many numbers are read in the time that a byte of a picture takes to decode."""


class Group(NamedTuple):
    """Rows of one shape as tensors. ``places`` are their positions among the rows of the request, rising."""

    places: Sequence[int]
    inputs: Arrays


def group_rows(rows: Sequence[Arrays]) -> list[list[int]]:
    """Positions of the rows whose arrays have equal shapes and types, in the order in which these first come."""
    groups: dict[Hashable, list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(tuple((array.shape, array.dtype) for array in row.values()), []).append(position)
    return list(groups.values())


def stack_rows(rows: Sequence[Arrays], positions: Sequence[int]) -> dict[str, np.ndarray]:
    """The rows at these positions, of equal shapes, as arrays [rows, ...] by name."""
    if len(positions) == 1:
        return {name: array[None] for name, array in rows[positions[0]].items()}
    return {name: np.stack([rows[i][name] for i in positions]) for name in rows[positions[0]]}


def in_order(groups: Sequence[Group], values: Sequence[Sequence[Any] | np.ndarray]) -> list[Any]:
    """One value a row, given group by group, in the order of the request's rows."""
    if len(groups) == 1:
        return list(values[0])
    ordered: list[Any] = [None] * sum(len(group.places) for group in groups)
    for group, of_group in zip(groups, values, strict=True):
        for place, value in zip(group.places, of_group, strict=True):
            ordered[place] = value
    return ordered


def read_groups(
    rows: Any,
    manifest: Manifest,
    max_pixels: int,
    max_rows: int = MAX_ROWS,
    graph: str = "main",
    check_row: CheckRow | None = None,
    tiles: Tiles | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> list[Group]:
    """The rows as tensors, a group for each shape. Raises InvalidInput, UnsupportedMedia, BodyTooLarge.

    Pictures that ``tiles`` cuts stay pixel values, uint8, a quarter of the bytes: each tile is scaled by itself.
    ``is_over`` is asked before each row: where nobody waits any more this raises Cancelled.
    """
    check_count(rows, max_rows)
    tensors = manifest.graphs[graph].inputs
    if len(tensors) == 1 and {dict, PictureFile}.isdisjoint(map(type, rows)):
        array = _read_all(rows, tensors[0])
        if array is not None:
            return [Group(range(len(rows)), {tensors[0].name: array})]
    found: list[Arrays] = []
    pictures = _Pictures(manifest, max_pixels, check_row, tiles, PixelCount(_MOST_DECODED * max_pixels))
    kept_pixels = 0
    for i, row in enumerate(rows):
        if is_over():
            raise Cancelled("nobody waits for the rows any more")
        found.append(_read_row(row, f"inputs[{i}]", tensors, pictures))
        kept_pixels += sum(math.prod(value.shape[-2:]) for value in found[-1].values())
        if kept_pixels > max_pixels and i:  # a short file may be a large picture, and there may be many of them
            raise BodyTooLarge(f"inputs[{i}]: expected at most {max_pixels} pixels in all rows together, got more")
    return [Group(places, stack_rows(found, places)) for places in group_rows(found)]


def check_count(rows: Any, max_rows: int) -> None:
    """Raises InvalidInput where they are no array, none, or too many."""
    if not isinstance(rows, list) or not 0 < len(rows) <= max_rows:
        got = f"an array of {len(rows)}" if isinstance(rows, list) else type_name(rows)
        raise InvalidInput(f"inputs: expected an array of 1 to {max_rows} rows, got {got}")


def shown_input(manifest: Manifest, graph: str = "main") -> Tensor | None:
    """The input that stands for the row: that of pictures, or the only one; None where there are several."""
    inputs = manifest.graphs[graph].inputs
    if manifest.image is not None:
        return next((tensor for tensor in inputs if tensor.name == manifest.image.input), None)
    return inputs[0] if len(inputs) == 1 else None


def count_bytes(rows: Sequence[Any], enough: int) -> int:
    """About how many bytes of encoded pictures take as long to decode as these rows; it stops where that is enough."""
    count = 0
    for row in rows:
        if count > enough:
            break
        if isinstance(row, PictureFile):
            count += len(row.content)
            continue
        for value in row.values() if isinstance(row, dict) else (row,):
            text = value.get("image") if isinstance(value, dict) else value
            count += len(text) if isinstance(text, str) else 1 + count_numbers(value) // _NUMBERS_A_BYTE
    return count


def _read_all(rows: list[Any], tensor: Tensor) -> np.ndarray | None:
    """Rows of numbers at once; None where they must be looked at one by one, for a fault or their different shapes."""
    try:
        array = array_of_large(rows, DATATYPES[tensor.datatype], "inputs")
    except InvalidInput:
        return None
    if not _fits(array.shape[1:], tensor):
        _refuse_shape("inputs[0]", tensor, array.shape[1:])
    return array


class _Pictures(NamedTuple):
    """What pictures are read by."""

    manifest: Manifest
    max_pixels: int
    check_row: CheckRow | None
    tiles: Tiles | None
    decoded: PixelCount


def _read_row(row: Any, where: str, tensors: Sequence[Tensor], pictures: _Pictures) -> Arrays:
    if len(tensors) == 1:
        return {tensors[0].name: _read_value(row, where, tensors[0], pictures)}
    names = [tensor.name for tensor in tensors]
    if not isinstance(row, dict) or row.keys() != set(names):
        where, got = (row.where, "a picture") if isinstance(row, PictureFile) else (where, type_name(row))
        if isinstance(row, dict):
            got = f"fields {list(row)!r:.60}"
        raise InvalidInput(
            f"{where}: model {pictures.manifest.name!r} takes an object of {', '.join(names)}, got {got}"
        )
    return {t.name: _read_value(row[t.name], f"{where}.{t.name}", t, pictures) for t in tensors}


def _read_value(value: Any, where: str, tensor: Tensor, pictures: _Pictures) -> np.ndarray:
    if isinstance(value, PictureFile):
        return _from_picture(bytes(value.content), value.where, tensor, pictures)
    if isinstance(value, dict):
        if value.keys() != {"image"} or not isinstance(value["image"], str):
            raise InvalidInput(
                f'{where}: expected nested numbers or {{"image": "<base64>"}}, got fields {list(value)!r:.60}'
            )
        content = decode_base64(value["image"], f"{where}.image")
        return _from_picture(content, f"{where}.image", tensor, pictures)
    array = array_of_large(value, DATATYPES[tensor.datatype], where)
    if not _fits(array.shape, tensor):
        _refuse_shape(where, tensor, array.shape)
    return array


def _from_picture(content: bytes, where: str, tensor: Tensor, pictures: _Pictures) -> np.ndarray:
    manifest = pictures.manifest
    if manifest.image is None or manifest.image.input != tensor.name:
        raise InvalidInput(
            f"{where}: model {manifest.name!r} takes numbers of shape {_row_shape(tensor)}, not pictures"
        )
    pixels = decode_pixels(content, manifest.image, pictures.max_pixels, where, pictures.check_row, pictures.decoded)
    if pictures.tiles is not None and pictures.tiles.cuts(*pixels.shape[1:]):
        return pixels
    return scale_pixels(pixels, manifest.image).astype(DATATYPES[tensor.datatype].dtype, copy=False)


def _fits(shape: Sequence[int], tensor: Tensor) -> bool:
    wanted = tensor.row_shape
    return len(shape) == len(wanted) and all(isinstance(w, str) or w == g for w, g in zip(wanted, shape, strict=True))


def _refuse_shape(where: str, tensor: Tensor, got: Sequence[int]) -> None:
    raise InvalidInput(f"{where}: expected a row of shape {_row_shape(tensor)}, got {list(got)}")


def _row_shape(tensor: Tensor) -> str:
    return show_shape(tensor.row_shape)
