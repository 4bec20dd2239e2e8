"""Pictures of requests: files and base64 texts to pixels, by ``model_store/pictures``."""

import base64
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model_store.errors import PictureTooLarge, UnreadablePicture
from model_store.pictures.geometry import Placement
from model_store.pictures.reading import CheckPlan, read_pixels, scale_pixels
from model_store.tasks import Image
from service.errors import BodyTooLarge, InvalidInput, UnsupportedMedia

__all__ = ["CheckRow", "PictureFile", "decode_base64", "decode_pixels", "scale_pixels"]

CheckRow = Callable[[int], None]
"""Raises if a row of this many elements is too large."""


class PictureFile(NamedTuple):
    """A row that came as a file. ``where`` names it in messages."""

    content: bytes | memoryview
    where: str


def decode_base64(text: str, what: str) -> bytes:
    """Raises InvalidInput, naming ``what``."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidInput(f"{what}: expected a base64 text, got {text!r:.40}") from None


def decode_pixels(
    content: bytes, facts: Image, max_pixels: int, what: str, check: CheckPlan = lambda plan: None
) -> tuple[np.ndarray, Placement]:
    """The pixels of a file as the model takes them, uint8, and where the picture lies in them.

    Raises UnsupportedMedia, BodyTooLarge, and what ``check`` raises before anything is decoded.
    """
    try:
        return read_pixels(content, facts, max_pixels, what, check)
    except UnreadablePicture as error:
        raise UnsupportedMedia(str(error)) from None
    except PictureTooLarge as error:
        raise BodyTooLarge(str(error)) from None
