"""How pictures become rows, and rows pictures."""

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from model_store.graph import MAIN
from model_store.strict_model import Count, Finite, StrictModel

Level = Annotated[int, Field(ge=0, le=255)]


def _not_zero(value: float) -> float:
    if value == 0:
        raise ValueError("expected a number other than 0, because 0 would make all pictures equal")
    return value


Scale = Annotated[Finite, AfterValidator(_not_zero)]


class Picture(StrictModel):
    """How pixel values 0..255 become the numbers of a tensor: value * scale + offset.

    ``scale`` and ``offset`` are one number, or three, in the order of the tensor's channels. A tensor of datatype UINT8
    takes the pixel values as they are.
    """

    channels: Literal[1, 3]
    """1: luminance. 3: colours."""
    scale: Scale | tuple[Scale, Scale, Scale] = 1.0
    offset: Finite | tuple[Finite, Finite, Finite] = 0.0
    order: Literal["RGB", "BGR"] = "RGB"
    """The order of three channels."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Rows are [channels, height, width] or [height, width, channels]."""

    def spread(self, value: float | tuple[float, ...]) -> np.ndarray:
        """``scale`` or ``offset`` as float32 that broadcasts over a row."""
        array = np.asarray(value, np.float32)
        return array if array.ndim == 0 or self.layout == "NHWC" else array[:, None, None]


class Image(Picture):
    """How a picture becomes a row of ``input``: it is made upright, resized, padded or cropped, and scaled.

    Without height and width, any size is taken. It is changed only by ``shortest``, ``longest`` and ``multiple``.
    With a height alone, as for lines of text, the width follows from the proportions.
    """

    input: str
    """An input of ``graph``."""
    graph: str = MAIN
    """The graph that takes the picture: ``main``, or the loop's start graph."""
    height: Count | None = None
    width: Count | None = None
    resize: Literal["stretch", "fit", "crop"] = "stretch"
    """How another size becomes height x width.

    ``stretch``: each side is resized by itself. ``fit``: the proportions stay, the picture lies wholly inside, and
    padding fills the rest. ``crop``: the proportions stay, the picture covers height x width, or has the shortest side
    ``shortest``, and its centre is cut out, or padded where it is smaller. Where any size is taken, ``stretch`` and
    ``fit`` say how sides become multiples of ``multiple``: by resizing, or by padding.
    """
    shortest: Count | None = None
    """The shortest side after resizing, in pixels: before a crop, or where any size is taken."""
    longest: Count | None = None
    """The longest side after resizing, in pixels, where any size is taken. With ``shortest`` it is a limit.

    With a height alone it is the greatest width: a longer picture is squeezed.
    """
    narrowest: Count | None = None
    """The least width, with a height alone. A narrower picture is stretched or padded, as for ``multiple``."""
    multiple: Count = 1
    """Where any size is taken, both sides become multiples of this, the next larger ones. With a height alone, the
    width does."""
    enlarge: bool = True
    """False: a picture is never made larger by ``fit``, ``crop``, ``shortest`` or ``longest``, but padded."""
    rounding: Literal["nearest", "down"] = "nearest"
    """How the sides of ``fit`` and half of an odd difference are rounded: where a crop or its padding begins.

    ``nearest``: as Ultralytics' letterbox and torchvision's centre crop. ``down``: as Hugging Face's image processors.
    """
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "lanczos"] = "bilinear"
    antialias: bool = True
    """Whether a smaller picture averages all pixels, as Pillow does, or reads the nearest ones only, as OpenCV does.

    False goes with ``nearest``, ``bilinear`` and ``bicubic``.
    """
    padding: Level | tuple[Level, Level, Level] = 0
    """The level of the padding, 0 to 255: one, or three, in the order of the tensor's channels."""
    padded: Literal["centre", "end"] = "centre"
    """Where a padded picture lies: in the centre, or at the left and top."""
    reduced_decoding: bool = False
    """Whether a JPEG may be decoded at a half, a quarter or an eighth of its size if that is still larger than needed.

    This is several times faster. Pixel values change by a few levels, because the result is sharper.
    """
