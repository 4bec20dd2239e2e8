"""Pictures to arrays, by Pillow, with a limit on pixels that holds before anything is decoded."""

import base64
import binascii
import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from model_store.tasks import Image, Picture
from service.errors import BodyTooLarge, InvalidInput, UnsupportedMedia

MEDIA_TYPES = ("image/png", "image/jpeg")
# By the first bytes. PIL.Image.open would add warnings and a limit of its own to the one that the settings give.
_READERS: dict[bytes, type[ImageFile]] = {b"\x89PNG\r\n\x1a\n": PngImageFile, b"\xff\xd8\xff": JpegImageFile}
# What Pillow raises for damaged pictures.
_DAMAGES = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error, zlib.error)
_STRIP_PIXELS = 1 << 20
"""Converted in 10 ms."""

CheckRow = Callable[[int], None]
"""Raises what stands against a row of so many elements."""


class PictureFile(NamedTuple):
    """A row that came as a PNG or JPEG file. ``where`` names it in messages."""

    content: bytes | memoryview
    where: str


class PixelCount:
    """Counts what is decoded for one request: a short file may be a large picture, and there may be many of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    def take(self, pixels: int, what: str) -> None:
        """Raises BodyTooLarge where there are too many with these."""
        self._taken += pixels
        if self._taken > self._most:
            raise BodyTooLarge(f"{what}: expected pictures of at most {self._most} pixels together, got more")


def decode_base64(text: str, what: str) -> bytes:
    """Raises InvalidInput, naming ``what``."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{what}: expected a base64 text, got {text!r:.40}") from None


def decode_pixels(
    content: bytes,
    facts: Image,
    max_pixels: int,
    what: str,
    check_row: CheckRow | None = None,
    count: PixelCount | None = None,
) -> np.ndarray:
    """A PNG or JPEG as uint8 [channels, height, width].

    Resized to the height and width of ``facts``; where these are None the picture keeps its own. EXIF rotation is
    applied, alpha is laid over black, 16 bits a channel become 8, palettes and CMYK become colours.
    Raises UnsupportedMedia for what is no such picture, BodyTooLarge for one with more than ``max_pixels``, and what
    ``check_row`` raises for the elements of the row and ``count`` for the pixels, before anything is decoded.
    """

    def check(width: int, height: int) -> None:
        if count is not None:
            count.take(width * height, what)
        if check_row is not None:
            check_row(facts.channels * (facts.width or width) * (facts.height or height))

    picture = _read(content, "L" if facts.channels == 1 else "RGB", max_pixels, what, check)
    size = (facts.width or picture.width, facts.height or picture.height)
    if picture.size != size:
        picture = picture.resize(size, Pillow.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[None] if facts.channels == 1 else pixels.transpose(2, 0, 1)


def scale_pixels(pixels: np.ndarray, facts: Picture) -> np.ndarray:
    """Pixel values as the float32 numbers that the model takes, in an array of its own."""
    row = np.empty(pixels.shape, np.float32)
    np.multiply(pixels, np.float32(facts.scale), out=row)
    row += np.float32(facts.offset)
    return row


def _read(content: bytes, mode: str, max_pixels: int, what: str, check: Callable[[int, int], None]) -> Pillow.Image:
    """The decoded picture, upright, in Pillow's ``mode``."""
    reader = next((reader for start, reader in _READERS.items() if content.startswith(start)), None)
    if reader is None:
        got = "something else" if content else "nothing"
        raise UnsupportedMedia(f"{what}: expected a PNG or JPEG picture, got {got}")
    try:
        picture = reader(io.BytesIO(content))
        if picture.width * picture.height <= max_pixels:
            check(picture.width, picture.height)
            picture.load()
            with contextlib.suppress(*_DAMAGES):  # with a broken EXIF block it is shown as it is stored
                ImageOps.exif_transpose(picture, in_place=True)
            return _in_strips(picture, mode)
    except _DAMAGES as error:
        raise UnsupportedMedia(f"{what}: expected a PNG or JPEG picture, got a damaged one ({error})") from None
    raise BodyTooLarge(f"{what}: expected at most {max_pixels} pixels, got {picture.width} x {picture.height}")


def _in_strips(picture: Pillow.Image, mode: str) -> Pillow.Image:
    """In Pillow's ``mode``, some rows at a time: while it converts nobody else has the interpreter."""
    rows = max(1, _STRIP_PIXELS // picture.width)
    if rows >= picture.height:
        return _flatten(picture).convert(mode)
    converted = Pillow.new(mode, picture.size)
    for top in range(0, picture.height, rows):
        box = (0, top, picture.width, min(top + rows, picture.height))
        converted.paste(_flatten(picture.crop(box)).convert(mode), box)
    return converted


def _flatten(picture: Pillow.Image) -> Pillow.Image:
    """8 bits a channel and no transparency."""
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = np.asarray(picture)
        shown = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if (clear := picture.info.get("transparency")) is not None:
            shown[grey == clear] = 0
        return Pillow.fromarray(shown)
    if picture.mode == "P" and picture.palette is None:
        raise ValueError("no palette")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Pillow.new("RGBA", picture.size, (0, 0, 0, 255))
        return Pillow.alpha_composite(ground, picture)
    return picture
