"""Reads the rows of requests: nested numbers, texts, pictures, sounds, tables, or objects of several inputs.

All rows of a batch have one shape. So rows are grouped by shape, and answers are put back in the order of the request.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model_store.datatypes import DATATYPES
from model_store.graph import MAIN, Tensor
from model_store.manifest import Manifest
from model_store.pictures.cutting import Cut
from model_store.pictures.formats import is_picture
from model_store.pictures.geometry import Placement, Plan
from model_store.sounds.formats import is_sound
from model_store.tasks import Image, Tiles
from model_store.texts.tokenizer import Encoded
from service.codecs.pictures.reader import (
    CheckRow,
    RowFile,
    decode_base64,
    decode_cut,
    decode_pixels,
    describe_row,
    scale_pixels,
)
from service.codecs.sounds import SoundReader, SoundWindow, find_sound
from service.codecs.table import read_table
from service.engine.tensors import Arrays, show_shape
from service.errors import BodyTooLarge, Cancelled, InvalidInput
from service.protocol.json import type_name
from service.protocol.large_json import array_of_large, count_numbers

_MOST_DECODED = 8
"""A request may decode this many times the pixels of the largest picture. 64 MiB of photographs have fewer."""
DEFAULT_SAMPLES = 1 << 26
"""The most samples of a sound, over all channels."""
_PIXELS_A_BYTE, _CUT_BYTES = 4, 1 << 10
"""The cost of cutting a part out of a decoded picture: a byte for so many pixels, and so many bytes for each part."""
_NUMBERS_A_BYTE = 2
"""The cost of reading numbers: a byte for so many of them."""


class TextRow(NamedTuple):
    """A text and its tokens. The spans of the tokens are places in ``text``, not in the prefix of the manifest."""

    text: str
    pair: str | None
    encoded: Encoded


class Group(NamedTuple):
    """Rows of one shape as tensors. ``places`` are their positions in the request, in rising order."""

    places: Sequence[int]
    inputs: Arrays
    placements: Sequence[Placement | None] = ()
    """Where the caller's picture lies in each row. None: the row is not a picture. Empty: no row is a picture."""
    texts: Sequence[TextRow] = ()
    """The texts of the rows, if they are texts."""
    windows: Sequence[SoundWindow] = ()
    """The window of a sound that each row is, if they are sounds.

    Then ``places`` are positions among the windows of all sounds. A sound has all its windows in one group, in order.
    """


def group_rows(rows: Sequence[Arrays]) -> list[list[int]]:
    """Positions of rows, grouped by the shapes and types of their arrays, in the order of each group's first row."""
    groups: dict[Hashable, list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(tuple((array.shape, array.dtype) for array in row.values()), []).append(position)
    return list(groups.values())


def stack_rows(rows: Sequence[Arrays], positions: Sequence[int]) -> dict[str, np.ndarray]:
    """The rows at these positions, which have equal shapes, as arrays [rows, ...] by name."""
    if len(positions) == 1:
        return {name: array[None] for name, array in rows[positions[0]].items()}
    return {name: np.stack([rows[i][name] for i in positions]) for name in rows[positions[0]]}


def in_order(groups: Sequence[Group], values: Sequence[Sequence[Any] | np.ndarray]) -> list[Any]:
    """``values`` has a sequence for each group, with a value for each row. Returns them in the order of the request."""
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
    graph: str = "main",
    check_row: CheckRow | None = None,
    tiles: Tiles | None = None,
    is_over: Callable[[], bool] = lambda: False,
    field: str = "inputs",
    max_samples: int = DEFAULT_SAMPLES,
    one_window: bool = True,
) -> list[Group]:
    """The rows of a field of the request as tensors, in a group for each shape.

    Pictures that ``tiles`` will cut stay pixel values, uint8: they take a quarter of the memory, and tiles are scaled
    later. A sound becomes a row for each of its windows; with ``one_window``, a sound of several windows is refused.
    Raises InvalidInput, UnsupportedMedia, BodyTooLarge; Cancelled when ``is_over`` says that nobody waits any more.
    """
    tensors = manifest.graphs[graph].inputs
    if manifest.table is not None and graph == MAIN:
        return [Group(range(len(rows)), read_table(rows, manifest.table, tensors, field))]
    if len(tensors) == 1 and manifest.sound is None and {dict, RowFile, Cut}.isdisjoint(map(type, rows)):
        array = _read_all(rows, tensors[0], field)
        if array is not None:
            return [Group(range(len(rows)), {tensors[0].name: array})]
    reader = _RowReader(manifest, image_of(manifest, graph), tensors, max_pixels, check_row, tiles)
    if manifest.sound is not None and (sound := find_sound(manifest, graph)) is not None:
        read_value = reader.read_value
        sounds = SoundReader(manifest.name, sound, tensors, max_samples, read_value, check_row, one_window, is_over)
        return _read_sounds(rows, sounds, field)
    found: list[Arrays] = []
    placements: list[Placement | None] = []
    kept_pixels = 0
    for i, row in enumerate(rows):
        if is_over():
            raise Cancelled("nobody waits for the rows any more")
        found.append(reader.read(row, f"{field}[{i}]"))
        placements.append(reader.placement)
        kept_pixels += sum(reader.count_pixels(name, value) for name, value in found[-1].items())
        if kept_pixels > max_pixels and i:  # a small file may be a large picture, and there may be many of them
            raise BodyTooLarge(f"{field}[{i}]: expected at most {max_pixels} pixels in all rows together, got more")
    return [Group(places, stack_rows(found, places), [placements[i] for i in places]) for places in group_rows(found)]


def _read_sounds(rows: Sequence[Any], reader: SoundReader, field: str) -> list[Group]:
    found = [each for i, row in enumerate(rows) for each in reader.read(row, i, f"{field}[{i}]")]
    arrays = [of_row for of_row, _ in found]
    return [
        Group(places, stack_rows(arrays, places), windows=[found[i][1] for i in places])
        for places in group_rows(arrays)
    ]


def check_count(rows: Any, max_rows: int, field: str = "inputs") -> None:
    """Raises InvalidInput unless the rows are an array of 1 to ``max_rows`` elements."""
    if not isinstance(rows, list) or not 0 < len(rows) <= max_rows:
        got = f"an array of {len(rows)}" if isinstance(rows, list) else type_name(rows)
        raise InvalidInput(f"{field}: expected an array of 1 to {max_rows} rows, got {got}")


def image_of(manifest: Manifest, graph: str = MAIN) -> Image | None:
    """How pictures become rows of a graph. If ``main`` takes pictures, all graphs take them in the same way."""
    image = manifest.image
    return image if image is not None and image.graph in (MAIN, graph) else None


def shown_input(manifest: Manifest, graph: str = "main") -> Tensor | None:
    """The input that stands for the row: that of the picture, or the only one; None if there are several."""
    inputs = manifest.graphs[graph].inputs
    image = image_of(manifest, graph)
    if image is not None:
        return next((tensor for tensor in inputs if tensor.name == image.input), None)
    return inputs[0] if len(inputs) == 1 else None


def count_bytes(rows: Sequence[Any], enough: int) -> int:
    """The cost of reading rows: about how many bytes of a picture take as long to decode. Stops at ``enough``.

    A sound costs more than ``enough``, because a small file may be a long sound.
    """
    count = 0
    for row in rows:
        if count > enough:
            break
        if isinstance(row, RowFile):
            count += len(row.content) + (0 if is_picture(row.content) else enough + 1)
            continue
        if isinstance(row, Cut):
            count += _CUT_BYTES + math.prod(row.size) // _PIXELS_A_BYTE
            continue
        values = row.values() if isinstance(row, dict) else (row,)
        if any("sound" in each for each in (row, *values) if isinstance(each, dict)):
            count += enough + 1
        for value in values:
            text = value.get("image") if isinstance(value, dict) else value
            count += len(text) if isinstance(text, str) else 1 + count_numbers(value) // _NUMBERS_A_BYTE
    return count


def _read_all(rows: list[Any], tensor: Tensor, field: str) -> np.ndarray | None:
    """Rows of numbers in one go; None if they must be read one by one, because of an error or different shapes."""
    try:
        array = array_of_large(rows, DATATYPES[tensor.datatype], field)
    except InvalidInput:
        return None
    _check_shape(f"{field}[0]", tensor, array.shape[1:])
    return array


@dataclass
class _RowReader:
    """Reads the rows of one request, one by one."""

    manifest: Manifest
    image: Image | None
    tensors: Sequence[Tensor]
    max_pixels: int
    check_row: CheckRow | None
    tiles: Tiles | None
    decoded_pixels: int = 0
    placement: Placement | None = None
    """The placement of the picture in the last row."""

    def read(self, row: Any, where: str) -> Arrays:
        self.placement = None
        if len(self.tensors) == 1:
            return {self.tensors[0].name: self.read_value(row, where, self.tensors[0])}
        names = [tensor.name for tensor in self.tensors]
        if isinstance(row, dict) and row.keys() == set(names):
            return {t.name: self.read_value(row[t.name], f"{where}.{t.name}", t) for t in self.tensors}
        where, got = describe_row(row, where)
        raise InvalidInput(f"{where}: model {self.manifest.name!r} takes an object of {', '.join(names)}, got {got}")

    def read_value(self, value: Any, where: str, tensor: Tensor) -> np.ndarray:
        if isinstance(value, RowFile):
            return self._read_picture(bytes(value.content), value.where, tensor)
        if isinstance(value, Cut):
            return self._read_picture(value, where, tensor)
        if isinstance(value, dict):
            if value.keys() == {"sound"}:
                raise InvalidInput(f"{where}: {self._refuse(tensor, 'sounds')}")
            if value.keys() != {"image"} or not isinstance(value["image"], str):
                got = f"fields {list(value)!r:.60}"
                raise InvalidInput(f'{where}: expected nested numbers or {{"image": "<base64>"}}, got {got}')
            where = f"{where}.image"
            return self._read_picture(decode_base64(value["image"], where), where, tensor)
        array = array_of_large(value, DATATYPES[tensor.datatype], where)
        _check_shape(where, tensor, array.shape)
        return array

    def _read_picture(self, content: bytes | Cut, where: str, tensor: Tensor) -> np.ndarray:
        image = self.image
        if image is None or image.input != tensor.name:
            what = "sounds" if isinstance(content, bytes) and is_sound(content) else "pictures"
            raise InvalidInput(f"{where}: {self._refuse(tensor, what)}")

        def check(plan: Plan) -> None:
            self.decoded_pixels += plan.placement.width * plan.placement.height
            most = _MOST_DECODED * self.max_pixels
            if self.decoded_pixels > most:  # a small file may be a large picture, and there may be many of them
                raise BodyTooLarge(f"{where}: expected pictures of at most {most} pixels together, got more")
            if self.check_row is not None:
                self.check_row(image.channels * math.prod(plan.size))

        if isinstance(content, Cut):
            pixels, self.placement = decode_cut(content, image, self.max_pixels, where, check)
        else:
            pixels, self.placement = decode_pixels(content, image, self.max_pixels, where, check)
        if self.tiles is not None and self.tiles.cuts(*pixels.shape[1:]):
            return pixels
        return scale_pixels(pixels, image, DATATYPES[tensor.datatype].dtype)

    def _refuse(self, tensor: Tensor, what: str) -> str:
        image = self.image
        takes = f"numbers of shape {show_shape(tensor.row_shape)}"
        takes = f"pictures or {takes}" if image is not None and image.input == tensor.name else takes
        return f"model {self.manifest.name!r} takes {takes}, not {what}"

    def count_pixels(self, name: str, value: np.ndarray) -> int:
        """The pixels of a picture; for other values, the product of the last two axes."""
        image = self.image
        is_last = image is not None and image.input == name and image.layout == "NHWC"
        return math.prod(value.shape[:2] if is_last else value.shape[-2:])


def fits(shape: Sequence[int], tensor: Tensor) -> bool:
    """Whether a row of this shape fits the tensor."""
    wanted = tensor.row_shape
    return len(shape) == len(wanted) and all(isinstance(w, str) or w == g for w, g in zip(wanted, shape, strict=True))


def _check_shape(where: str, tensor: Tensor, got: Sequence[int]) -> None:
    if not fits(got, tensor):
        raise InvalidInput(f"{where}: expected a row of shape {show_shape(tensor.row_shape)}, got {list(got)}")
