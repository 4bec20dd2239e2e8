"""Pictures to arrays, by Pillow. The limit of pixels holds before anything is decoded."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from model_store.errors import PictureTooLarge, UnreadablePicture
from model_store.tasks import Image, Picture

# By the first bytes. PIL.Image.open would add warnings and a limit of its own.
_READERS: dict[bytes, type[ImageFile]] = {b"\x89PNG\r\n\x1a\n": PngImageFile, b"\xff\xd8\xff": JpegImageFile}
# What Pillow raises for damaged pictures.
_DAMAGES = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error, zlib.error)
_STRIP_PIXELS = 1 << 20
"""Converted in 10 ms."""

CheckSize = Callable[[int, int], None]
"""Raises if a picture of this width and height must not be decoded."""


def decode_pixels(
    content: bytes, facts: Image, max_pixels: int, what: str, check: CheckSize = lambda width, height: None
) -> np.ndarray:
    """A PNG or JPEG as uint8 [channels, height, width].

    It is resized to the height and width of ``facts``, where these are given. EXIF rotation is applied, alpha is laid
    over black, 16 bits per channel become 8, palettes and CMYK become colours.
    Raises UnreadablePicture for other files, PictureTooLarge for more than ``max_pixels``, and what ``check`` raises.
    """
    picture = _read(content, "L" if facts.channels == 1 else "RGB", max_pixels, what, check)
    size = (facts.width or picture.width, facts.height or picture.height)
    if picture.size != size:
        picture = picture.resize(size, Pillow.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[None] if facts.channels == 1 else pixels.transpose(2, 0, 1)


def scale_pixels(pixels: np.ndarray, facts: Picture) -> np.ndarray:
    """Pixel values as the float32 numbers that the model takes, in a new array."""
    row = np.empty(pixels.shape, np.float32)
    np.multiply(pixels, facts.spread(facts.scale), out=row)
    row += facts.spread(facts.offset)
    return row


def _read(content: bytes, mode: str, max_pixels: int, what: str, check: CheckSize) -> Pillow.Image:
    """The decoded picture, upright, in Pillow's ``mode``."""
    reader = next((reader for start, reader in _READERS.items() if content.startswith(start)), None)
    if reader is None:
        got = "something else" if content else "nothing"
        raise UnreadablePicture(f"{what}: expected a PNG or JPEG picture, got {got}")
    try:
        picture = reader(io.BytesIO(content))
        if picture.width * picture.height <= max_pixels:
            check(picture.width, picture.height)
            picture.load()
            with contextlib.suppress(*_DAMAGES):  # a broken EXIF block is ignored
                ImageOps.exif_transpose(picture, in_place=True)
            return _convert(picture, mode)
    except _DAMAGES as error:
        raise UnreadablePicture(f"{what}: expected a PNG or JPEG picture, got a damaged one ({error})") from None
    raise PictureTooLarge(f"{what}: expected at most {max_pixels} pixels, got {picture.width} x {picture.height}")


def _convert(picture: Pillow.Image, mode: str) -> Pillow.Image:
    """In Pillow's ``mode``, in strips of some lines: Pillow holds the interpreter while it converts."""
    lines = max(1, _STRIP_PIXELS // picture.width)
    if lines >= picture.height:
        return _flatten(picture).convert(mode)
    converted = Pillow.new(mode, picture.size)
    for top in range(0, picture.height, lines):
        box = (0, top, picture.width, min(top + lines, picture.height))
        converted.paste(_flatten(picture.crop(box)).convert(mode), box)
    return converted


def _flatten(picture: Pillow.Image) -> Pillow.Image:
    """8 bits per channel and no transparency."""
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
        return Pillow.alpha_composite(Pillow.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return picture
