"""Draws boxes, points and masks over pictures."""

import colorsys
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from service.codecs.pictures.boxes import PlacedBox
from service.codecs.pictures.writer import write_png

_OPACITY = 0.5
_LEAST_TEXT = 11  # pixels; smaller letters cannot be read
_GOLDEN = 0.618034  # of the colour circle: neighbouring labels get very different colours


def colour_of(label: int) -> tuple[int, int, int]:
    """A colour for a label, bright enough for black letters on it."""
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(pixels: np.ndarray, found: Iterable[PlacedBox], labels: Sequence[str]) -> bytes:
    """A PNG of the picture, uint8 [1 or 3, height, width], with the boxes. The best box is drawn last, on top."""
    picture = _as_colours(pixels)
    boxes = []
    for one in found:
        if one.mask is not None:
            _lay_over(picture, one.mask.inside, (one.mask.left, one.mask.top), colour_of(one.label))
        boxes.append(one._replace(mask=None))  # keep no masks: each may be as large as the picture
    pen = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / 400))
    font = ImageFont.load_default(max(_LEAST_TEXT, round(max(picture.size) / 45)))
    for one in reversed(boxes):
        colour = colour_of(one.label)
        pen.rectangle(tuple(one.box), outline=colour, width=line)
        for x, y, *_ in one.points:
            pen.ellipse((x - line, y - line, x + line, y + line), fill=colour)
        _write(pen, f"{labels[one.label]}: {one.score:.2f}", one.box, colour, font)
    return write_png(picture)


def draw_labels(pixels: np.ndarray, labels: np.ndarray, ignored: int | None) -> bytes:
    """A PNG of the picture, uint8 [1 or 3, height, width], tinted with the colours of labels [height, width]."""
    picture = _as_colours(pixels)
    for label in np.unique(labels).tolist():
        if label != ignored:
            _lay_over(picture, labels == label, (0, 0), colour_of(label))
    return write_png(picture)


def _as_colours(pixels: np.ndarray) -> Pillow.Image:
    channels = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels
    return Pillow.fromarray(np.ascontiguousarray(channels.transpose(1, 2, 0)))


def _lay_over(picture: Pillow.Image, inside: np.ndarray, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    strength = Pillow.fromarray(np.where(inside, round(255 * _OPACITY), 0).astype(np.uint8))
    picture.paste(colour, (*at, at[0] + strength.width, at[1] + strength.height), strength)


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    box: Sequence[float],
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write above the box, or inside if there is no room above. The text is shifted to stay in the picture."""
    _, _, width, height = pen.textbbox((0, 0), text, font=font)
    top = box[1] - height - 2 if box[1] >= height + 2 else box[1]
    left = max(0.0, min(box[0], pen.im.size[0] - width - 3))
    pen.rectangle((left, top, left + width + 2, top + height + 2), fill=colour)
    pen.text((left + 1, top), text, fill=(0, 0, 0), font=font)
