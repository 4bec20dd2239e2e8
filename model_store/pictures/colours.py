"""Converts decoded pictures of any kind to grey or RGB, with 8 bits a channel and no transparency."""

import numpy as np
from PIL import Image as Pillow

_STRIP_PIXELS = 1 << 20
"""This many pixels are converted in about 10 ms."""


def convert(picture: Pillow.Image, mode: str) -> Pillow.Image:
    """Convert to Pillow's ``mode``, L or RGB. This is done in strips, because Pillow holds the GIL while it converts.

    Transparent pixels are laid over black, 16 bits a channel become 8, and palettes, CMYK and YCbCr become colours.
    Raises ValueError.
    """
    if picture.mode == mode and not picture.has_transparency_data:
        return picture
    lines = max(1, _STRIP_PIXELS // picture.width)
    if lines >= picture.height:
        return _flatten(picture).convert(mode)
    converted = Pillow.new(mode, picture.size)
    for top in range(0, picture.height, lines):
        box = (0, top, picture.width, min(top + lines, picture.height))
        converted.paste(_flatten(picture.crop(box)).convert(mode), box)
    return converted


def _flatten(picture: Pillow.Image) -> Pillow.Image:
    """Convert to 8 bits per channel without transparency."""
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = np.asarray(picture)
        shown = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if (clear := picture.info.get("transparency")) is not None:
            shown[grey == clear] = 0
        return Pillow.fromarray(shown)
    if picture.mode in ("P", "PA") and picture.palette is None:
        raise ValueError("no palette")
    if picture.mode == "La":  # grey that is already multiplied by its alpha
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return picture
