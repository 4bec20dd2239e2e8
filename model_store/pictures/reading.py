"""Reads picture files as rows of tensors. The limit of pixels is checked before anything is decoded.

A file is recognised by its first bytes (``formats.py``), Pillow decodes it, and it is turned upright. Then it is
resized as the manifest says (``geometry.py``, ``resizing.py``), and scaled.
"""

import math
import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image as Pillow

from model_store.errors import PictureTooLarge, UnreadablePicture
from model_store.pictures.colours import convert
from model_store.pictures.formats import NAMES, Opened, open_picture, orientation_of
from model_store.pictures.geometry import Placement, Plan, plan
from model_store.pictures.resizing import resize
from model_store.pictures.tiff import Unsupported
from model_store.tasks import Image, Picture

# What Pillow raises for damaged pictures.
_DAMAGES = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, AttributeError),
    *(struct.error, zlib.error, Pillow.DecompressionBombError, Pillow.DecompressionBombWarning),
)
_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""By orientation in EXIF, the operation that turns a picture upright."""

CheckPlan = Callable[[Plan], None]
"""Raises if a picture must not be decoded, or must not become a row of this size."""


def _accept(plan: Plan) -> None:
    """Accept any picture within the limit of pixels."""


def read_picture(
    content: bytes,
    facts: Image,
    max_pixels: int,
    where: str,
    check: CheckPlan = _accept,
    dtype: DTypeLike = np.float32,
) -> tuple[np.ndarray, Placement]:
    """The row of a file, as numbers for the model, and the position of the picture in it.

    The row is [channels, height, width] or [height, width, channels]. ``where`` names the picture in messages.
    Raises UnreadablePicture, PictureTooLarge for more than ``max_pixels``, and what ``check`` raises before decoding.
    """
    pixels, placement = read_pixels(content, facts, max_pixels, where, check)
    return scale_pixels(pixels, facts, dtype), placement


def read_pixels(
    content: bytes, facts: Image, max_pixels: int, where: str, check: CheckPlan = _accept
) -> tuple[np.ndarray, Placement]:
    """As ``read_picture``, but the row has pixel values, uint8, in the order and layout of the tensor."""
    picture, its_plan = _read(content, facts, max_pixels, where, check)
    return _fit(picture, its_plan, facts), its_plan.placement


def _fit(picture: Pillow.Image, its_plan: Plan, facts: Image) -> np.ndarray:
    pixels = resize(picture, its_plan, facts)
    if facts.order == "BGR":
        pixels = pixels[:, :, ::-1]
    return pixels if facts.layout == "NHWC" else pixels.transpose(2, 0, 1)


def open_picture_file(content: bytes, max_pixels: int, where: str, check: CheckPlan = _accept) -> Pillow.Image:
    """The picture of a file in its own size, upright, in RGB. Raises as ``read_pixels``."""
    return _read(content, Image(input="", channels=3), max_pixels, where, check)[0]


def fit_pixels(
    picture: Pillow.Image, facts: Image, max_pixels: int, where: str, check: CheckPlan = _accept
) -> tuple[np.ndarray, Placement]:
    """As ``read_pixels``, for a picture that is already decoded and upright. Raises PictureTooLarge."""
    its_plan = plan(*picture.size, facts)
    _check_size(its_plan, facts, max_pixels, where)
    check(its_plan)
    return _fit(convert(picture, "L" if facts.channels == 1 else "RGB"), its_plan, facts), its_plan.placement


def scale_pixels(pixels: np.ndarray, facts: Picture, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Pixel values as numbers for the model, in a new contiguous array."""
    if np.dtype(dtype) == np.uint8:
        return np.array(pixels, order="C")
    row = pixels.astype(np.float32, order="C")
    row *= facts.spread(facts.scale)
    if facts.offset:
        row += facts.spread(facts.offset)
    return row.astype(dtype, copy=False)


def _read(content: bytes, facts: Image, max_pixels: int, where: str, check: CheckPlan) -> tuple[Pillow.Image, Plan]:
    """The decoded picture, upright, grey or RGB, and its plan."""

    def check_size(width: int, height: int) -> None:
        if width * height > max_pixels:
            raise PictureTooLarge(f"{where}: expected at most {max_pixels} pixels, got {width} x {height}")

    try:
        opened = open_picture(content, check_size)
        if opened is not None:
            return _decode(opened, facts, max_pixels, where, check)
    except Unsupported as error:
        raise UnreadablePicture(f"{where}: expected {error}") from None
    except _DAMAGES as error:
        raise UnreadablePicture(f"{where}: expected a {NAMES} picture, got a damaged one ({error})") from None
    got = "something else" if content else "nothing"
    raise UnreadablePicture(f"{where}: expected a {NAMES} picture, got {got}")


def _decode(opened: Opened, facts: Image, max_pixels: int, where: str, check: CheckPlan) -> tuple[Pillow.Image, Plan]:
    file, orientation = opened
    size = file.size
    its_plan = _plan(size, orientation, facts)
    _check_size(its_plan, facts, max_pixels, where)
    check(its_plan)
    mode = "L" if facts.channels == 1 else "RGB"
    if facts.reduced_decoding and file.format == "JPEG":
        wanted = its_plan.resized if orientation < 5 else its_plan.resized[::-1]
        file.draft(mode, wanted)
    file.load()
    if orientation == 1 and (orientation := orientation_of(file)) != 1:  # a PNG may have it after its pixels
        its_plan = _plan(size, orientation, facts)
    picture = convert(file, mode)
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn), its_plan


def _check_size(its_plan: Plan, facts: Image, max_pixels: int, where: str) -> None:
    most = max(max_pixels, (facts.width or 0) * (facts.height or 0))
    if math.prod(its_plan.size) > most:
        width, height = its_plan.size
        raise PictureTooLarge(f"{where}: expected at most {most} pixels after resizing, got {width} x {height}")


def _plan(size: tuple[int, int], orientation: int, facts: Image) -> Plan:
    """The plan for a picture that is stored with this size and orientation."""
    return plan(*(size if orientation < 5 else size[::-1]), facts)
