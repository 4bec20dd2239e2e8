"""Recognises picture files by their first bytes, and opens them without decoding a pixel."""

import io
from collections.abc import Callable
from typing import NamedTuple

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model_store.pictures import containers
from model_store.pictures.tiff import Unsupported, take_first_picture

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/tiff", "image/bmp")
NAMES = "JPEG, PNG, WebP, GIF, TIFF or BMP"

_EXIF_TEXT = "Raw profile type exif"
"""The key under which ImageMagick stores EXIF in a PNG: three lines, then hexadecimal digits."""

CheckSize = Callable[[int, int], None]
"""Raises if a picture of this width and height must not be decoded."""


class Opened(NamedTuple):
    """A file whose header was read. ``orientation`` is that of EXIF, 1 to 8."""

    file: ImageFile
    orientation: int


def is_picture(content: bytes | memoryview) -> bool:
    """Whether the first bytes are those of a picture, even of a kind that is not supported."""
    return _find(bytes(content[:16])) is not None


def open_picture(content: bytes, check: CheckSize) -> Opened | None:
    """The picture, not decoded; None for other files. No memory of its size is taken before ``check`` allows the size.

    Raises Unsupported, what ``check`` raises, and anything for damaged files.
    """
    opener = _find(content[:16])
    if opener is None:
        return None
    opened = opener(content, check)
    if opened.file.width < 1 or opened.file.height < 1:
        raise ValueError("no pixels")
    check(*opened.file.size)
    return opened


def orientation_of(file: ImageFile) -> int:
    """The orientation, 1 to 8, as far as the file was read."""
    if isinstance(exif := file.info.get("exif"), bytes):
        return containers.read_orientation(exif)
    if not isinstance(text := file.info.get(_EXIF_TEXT), str):
        return 1
    try:
        return containers.read_orientation(bytes.fromhex("".join(text.split("\n")[3:])))
    except ValueError:
        return 1


def _open_jpeg(content: bytes, check: CheckSize) -> Opened:
    containers.check_jpeg(content)
    file = JpegImageFile(io.BytesIO(content))
    return Opened(file, orientation_of(file))


def _open_png(content: bytes, check: CheckSize) -> Opened:
    containers.check_png(content)
    file = PngImageFile(io.BytesIO(content))
    return Opened(file, orientation_of(file))


def _open_webp(content: bytes, check: CheckSize) -> Opened:
    check(*containers.measure_webp(content))
    file = WebPImageFile(io.BytesIO(content))
    return Opened(file, orientation_of(file))


def _open_gif(content: bytes, check: CheckSize) -> Opened:
    width, height, frame = containers.take_first_frame(content)
    check(width, height)
    return Opened(GifImageFile(io.BytesIO(frame)), 1)


def _open_tiff(content: bytes, check: CheckSize) -> Opened:
    tiff = take_first_picture(content)
    check(tiff.width, tiff.height)
    return Opened(TiffImageFile(io.BytesIO(tiff.content)), tiff.orientation)


def _open_bmp(content: bytes, check: CheckSize) -> Opened:
    file = BmpImageFile(io.BytesIO(content))
    if file.info["compression"] not in (0, 3):  # Pillow decodes it in Python
        raise Unsupported("a BMP without compression, got a compressed one: PNG is smaller")
    return Opened(file, 1)


def _refuse(kind: str) -> "_Opener":
    """An opener that refuses pictures of a kind that is recognised but not supported."""

    def refuse(content: bytes, check: CheckSize) -> Opened:
        raise Unsupported(f"a {NAMES} picture, got {kind}: convert it to one of these")

    return refuse


_Opener = Callable[[bytes, CheckSize], Opened]
# PIL.Image.open would add warnings, a limit of its own, and formats that were not reviewed.
_OPENERS: dict[bytes, _Opener] = {
    b"\xff\xd8\xff": _open_jpeg,
    b"\x89PNG\r\n\x1a\n": _open_png,
    b"GIF87a": _open_gif,
    b"GIF89a": _open_gif,
    b"II*\0": _open_tiff,
    b"MM\0*": _open_tiff,
    b"II+\0": _open_tiff,
    b"MM\0+": _open_tiff,
    b"BM": _open_bmp,
    b"\xff\x0a": _refuse("JPEG XL"),
    b"\0\0\0\x0cJXL ": _refuse("JPEG XL"),
    b"\0\0\0\x0cjP  ": _refuse("JPEG 2000"),
}
_HEIF_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def _find(start: bytes) -> _Opener | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _open_webp
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return _refuse("AVIF or HEIF")
    return next((opener for first, opener in _OPENERS.items() if start.startswith(first)), None)
