"""Pictures of requests: files and base64 texts to pixels, by ``model_store/pictures``."""

import base64
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model_store.errors import PictureTooLarge, UnreadablePicture
from model_store.pictures import reading
from model_store.pictures.reading import scale_pixels
from model_store.tasks import Image
from service.errors import BodyTooLarge, InvalidInput, UnsupportedMedia

MEDIA_TYPES = ("image/png", "image/jpeg")
__all__ = ["MEDIA_TYPES", "CheckRow", "PictureFile", "decode_base64", "decode_pixels", "scale_pixels"]

CheckSize = Callable[[int, int], None]
"""Raises if a picture of this width and height must not be decoded."""
CheckRow = Callable[[int], None]
"""Raises if a row of this many elements is too large."""


class PictureFile(NamedTuple):
    """A row that came as a PNG or JPEG file. ``where`` names it in messages."""

    content: bytes | memoryview
    where: str


def decode_base64(text: str, what: str) -> bytes:
    """Raises InvalidInput, naming ``what``."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidInput(f"{what}: expected a base64 text, got {text!r:.40}") from None


def decode_pixels(
    content: bytes, facts: Image, max_pixels: int, what: str, check: CheckSize = lambda width, height: None
) -> np.ndarray:
    """The pixels of a file. Raises UnsupportedMedia, BodyTooLarge, and what ``check`` raises."""
    try:
        return reading.read_pixels(content, facts, max_pixels, what, lambda plan: check(*plan.placement[:2]))[0]
    except UnreadablePicture as error:
        raise UnsupportedMedia(str(error)) from None
    except PictureTooLarge as error:
        raise BodyTooLarge(str(error)) from None
