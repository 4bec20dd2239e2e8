"""Reads the pictures of requests, from files and base64 texts. ``model_store/pictures`` does the decoding."""

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as Pillow

from model_store.errors import PictureTooLarge, UnreadablePicture
from model_store.pictures.cutting import Cut
from model_store.pictures.geometry import Placement
from model_store.pictures.reading import CheckPlan, fit_pixels, open_picture_file, read_pixels, scale_pixels
from model_store.sounds.formats import is_sound
from model_store.tasks import Image
from service.errors import BodyTooLarge, InvalidInput, UnsupportedMedia
from service.protocol.json import type_name

__all__ = [
    "CheckRow",
    "RowFile",
    "decode_base64",
    "decode_cut",
    "decode_pixels",
    "describe_row",
    "find_file",
    "open_whole",
    "scale_pixels",
]

CheckRow = Callable[[int], None]
"""Raises if a row of this many elements is too large."""


class RowFile(NamedTuple):
    """A row that came as a file: a picture, a sound, or a text. ``where`` names it in messages."""

    content: bytes | memoryview
    where: str

    @property
    def kind(self) -> str:
        """What the file is, for messages."""
        return "a sound" if is_sound(self.content) else "a picture"


def describe_row(row: Any, where: str) -> tuple[str, str]:
    """Where a row is, and what it is, for an error message."""
    if isinstance(row, RowFile):
        return row.where, row.kind
    if isinstance(row, Cut):
        return row.where, "a picture"
    return where, f"fields {list(row)!r:.60}" if isinstance(row, Mapping) else type_name(row)


def decode_base64(text: str, what: str) -> bytes:
    """Raises InvalidInput, which names ``what``."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidInput(f"{what}: expected a base64 text, got {text!r:.40}") from None


def decode_pixels(
    content: bytes, facts: Image, max_pixels: int, what: str, check: CheckPlan = lambda plan: None
) -> tuple[np.ndarray, Placement]:
    """The pixels for the model, uint8, and where the picture lies in them.

    ``check`` is called before anything is decoded. Raises UnsupportedMedia, BodyTooLarge, and what ``check`` raises.
    """
    try:
        return read_pixels(content, facts, max_pixels, what, check)
    except UnreadablePicture as error:
        raise UnsupportedMedia(str(error)) from None
    except PictureTooLarge as error:
        raise BodyTooLarge(str(error)) from None


def decode_cut(
    cut: Cut, facts: Image, max_pixels: int, where: str, check: CheckPlan = lambda plan: None
) -> tuple[np.ndarray, Placement]:
    """As ``decode_pixels``, for a part of a decoded picture. Raises BodyTooLarge."""
    try:
        return fit_pixels(cut.take(), facts, max_pixels, where, check)
    except PictureTooLarge as error:
        raise BodyTooLarge(str(error)) from None


def find_file(row: Any, where: str) -> tuple[bytes, str] | None:
    """The picture file of a row, and its place for messages; None for a row of another form. Raises InvalidInput."""
    if isinstance(row, RowFile):
        return bytes(row.content), row.where
    if isinstance(row, dict) and isinstance(row.get("image"), str):
        return decode_base64(row["image"], f"{where}.image"), where
    return None


def open_whole(value: Any, where: str, max_pixels: int, take: Callable[[int], None]) -> Pillow.Image:
    """The picture of a row, upright, in RGB, not resized. ``take`` is called with its bytes first, and may raise.

    Raises InvalidInput if the row is not a picture; UnsupportedMedia, BodyTooLarge.
    """
    if isinstance(value, Cut):
        take(3 * math.prod(value.size))
        return value.take()
    found = find_file(value, where)
    if found is None:
        raise InvalidInput(f'{where}: expected a picture, as a file or as {{"image": "<base64>"}}')
    content, where = found
    try:
        return open_picture_file(content, max_pixels, where, lambda plan: take(3 * math.prod(plan.size)))
    except UnreadablePicture as error:
        raise UnsupportedMedia(str(error)) from None
    except PictureTooLarge as error:
        raise BodyTooLarge(str(error)) from None
