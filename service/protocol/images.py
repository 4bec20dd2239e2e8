"""Pictures to arrays, by Pillow, with a limit on pixels that holds before anything is decoded."""

import base64
import binascii
import io
import warnings

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from model_store.tasks import Image
from service.errors import InvalidInput, UnsupportedMedia

FORMATS = ("PNG", "JPEG")
MEDIA_TYPES = ("image/png", "image/jpeg")


def decode_base64(text: str, what: str) -> bytes:
    """Raises InvalidInput, naming ``what``."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{what}: expected a base64 text, got {text!r:.40}") from None


def decode_image(content: bytes, facts: Image, max_pixels: int, what: str) -> np.ndarray:
    """A PNG or JPEG as a float32 row [channels, height, width], scaled as the manifest says.

    EXIF rotation is applied, alpha is laid over black, 16-bit grey keeps its range, palettes and CMYK are converted.
    Raises UnsupportedMedia for what is no such picture, InvalidInput for one with more than ``max_pixels``.
    """
    try:
        # A picture that claims more pixels than Pillow likes warns; the limit here is the stricter one.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            picture = Pillow.open(io.BytesIO(content), formats=FORMATS)
            if picture.width * picture.height > max_pixels:
                raise InvalidInput(
                    f"{what}: expected at most {max_pixels} pixels, got {picture.width} x {picture.height}"
                )
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except (InvalidInput, Pillow.DecompressionBombError) as error:
        raise (
            error
            if isinstance(error, InvalidInput)
            else InvalidInput(f"{what}: expected at most {max_pixels} pixels, got far more")
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UnsupportedMedia(f"{what}: expected a {' or '.join(FORMATS)} picture, got {_complaint(error)}") from None
    grey_or_colour = _flatten(upright).convert("L" if facts.channels == 1 else "RGB")
    size = (facts.width or upright.width, facts.height or upright.height)
    if grey_or_colour.size != size:
        grey_or_colour = grey_or_colour.resize(size, Pillow.Resampling.BILINEAR)
    pixels = np.asarray(grey_or_colour, np.float32)
    planes = pixels[None] if facts.channels == 1 else pixels.transpose(2, 0, 1)
    return planes * np.float32(facts.scale) + np.float32(facts.offset)


def _flatten(picture: Pillow.Image) -> Pillow.Image:
    """8 bits a channel and no transparency."""
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        return Pillow.fromarray((np.asarray(picture, np.float64) / 257.0).round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Pillow.new("RGBA", picture.size, (0, 0, 0, 255))
        return Pillow.alpha_composite(ground, picture)
    return picture


def _complaint(error: Exception) -> str:
    return "something else" if isinstance(error, UnidentifiedImageError) else f"a damaged one ({error})"
