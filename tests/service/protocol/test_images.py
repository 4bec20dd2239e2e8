"""Pictures to rows: what is refused before anything is decoded, and what comes out of each kind."""

import base64
import contextlib
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from model_store.tasks import Image
from service.errors import InvalidInput, UnsupportedMedia
from service.protocol.images import decode_base64, decode_image

MAX_PIXELS = 10_000
GREY = Image(input="image", channels=1, height=2, width=3)
COLOUR = Image(input="image", channels=3, height=2, width=3)


def encode(picture: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(mode: str, colour: Any, size: tuple[int, int] = (3, 2)) -> Pillow.Image:
    return Pillow.new(mode, size, colour)


def decode(content: bytes, facts: Image = COLOUR, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    return decode_image(content, facts, max_pixels, "inputs[0].image")


def claim(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size: what it takes to decode it is not there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(8))) + chunk(b"IEND", b"")


NOISE = Pillow.frombytes("RGB", (8, 8), np.random.default_rng(0).bytes(192))
DAMAGED = {
    "empty": b"",
    "text": b"this is no picture",
    "gif": encode(plain("P", 0), "GIF"),
    "bmp": encode(plain("RGB", 0), "BMP"),
    "tiff": encode(plain("RGB", 0), "TIFF"),
    "webp": encode(plain("RGB", 0), "WEBP"),
    "png cut in its header": encode(NOISE)[:20],
    "png cut in its pixels": encode(NOISE)[:-60],
    "jpeg cut in its header": encode(NOISE, "JPEG")[:40],
    "jpeg cut in its pixels": encode(NOISE, "JPEG")[:-30],
    "png with a wrong sum": encode(NOISE)[:60] + b"\0\0\0\0" + encode(NOISE)[64:],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_png_or_jpeg_is_refused(content: bytes) -> None:
    """Other formats, text and damaged or truncated files are an unsupported medium, and the place is named."""
    with pytest.raises(UnsupportedMedia, match=r"^inputs\[0\]\.image: expected a PNG or JPEG picture, got "):
        decode(content)


@pytest.mark.parametrize(("width", "height"), [(101, 100), (10_001, 1), (9000, 9000)])
def test_picture_with_too_many_pixels_is_refused_before_decoding(width: int, height: int) -> None:
    """The claim of the header is enough to refuse it; the pixels, which are not even there, are not looked at."""
    with pytest.raises(InvalidInput, match=rf"expected at most 10000 pixels, got {width} x {height}$"):
        decode(claim(width, height))


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_decompression_bomb_is_refused(side: int) -> None:
    """A picture of a few bytes that claims hundreds of millions of pixels is refused, whatever the limit here is."""
    with pytest.raises((InvalidInput, UnsupportedMedia), match="pixels"):
        decode(claim(side, side), max_pixels=1 << 40)
    with pytest.raises((InvalidInput, UnsupportedMedia), match="pixels"):
        decode(claim(side, side))


def test_limit_speaks_before_pillow_does() -> None:
    """Any picture above our limit is refused as too large, in our words, however much it is above."""
    with pytest.raises(InvalidInput, match="expected at most 10000 pixels"):
        decode(claim(20_000, 20_000))


def test_picture_at_the_limit_is_decoded() -> None:
    """The limit itself is allowed, also where Pillow would warn of the size; no warning is left to others."""
    assert decode(encode(plain("L", 7, (100, 100)))).shape == (3, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnsupportedMedia, match="damaged"):
            decode(claim(10_000, 9_000), max_pixels=90_000_000)


def test_broken_exif_is_no_failure_of_ours() -> None:
    """A PNG whose EXIF block is rubbish is decoded or refused, and never fails inside."""
    with contextlib.suppress(UnsupportedMedia):
        decode(encode(plain("RGB", 0), exif=b"Exif\0\0rubbish rubbish"))


COLOURS = {
    "RGB": (encode(plain("RGB", (10, 20, 30))), (10, 20, 30)),
    "grey": (encode(plain("L", 9)), (9, 9, 9)),
    "black and white": (encode(plain("1", 1)), (255, 255, 255)),
    "alpha": (encode(plain("RGBA", (200, 100, 50, 51))), (40, 20, 10)),
    "clear": (encode(plain("RGBA", (200, 100, 50, 0))), (0, 0, 0)),
    "grey with alpha": (encode(plain("LA", (200, 51))), (40, 40, 40)),
    "palette": (encode(plain("RGB", (10, 20, 30)).convert("P", palette=Pillow.Palette.ADAPTIVE)), (10, 20, 30)),
    "palette with a clear colour": (encode(plain("P", 3), transparency=3), (0, 0, 0)),
    "palette with alpha": (encode(plain("P", 3), transparency=bytes(8)), (0, 0, 0)),
    "RGB with a clear colour": (encode(plain("RGB", (1, 2, 3)), transparency=(1, 2, 3)), (0, 0, 0)),
    "16-bit grey": (encode(Pillow.fromarray(np.full((2, 3), 200 * 257, np.uint16))), (200, 200, 200)),
    "brightest 16-bit grey": (encode(Pillow.fromarray(np.full((2, 3), 65535, np.uint16))), (255, 255, 255)),
    "dark 16-bit grey": (encode(Pillow.fromarray(np.full((2, 3), 300, np.uint16))), (1, 1, 1)),
    "JPEG": (encode(plain("RGB", (120, 120, 120)), "JPEG"), (120, 120, 120)),
    "grey JPEG": (encode(plain("L", 33), "JPEG"), (33, 33, 33)),
    "CMYK JPEG": (encode(plain("CMYK", (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
}


@pytest.mark.parametrize(("content", "colour"), COLOURS.values(), ids=COLOURS)
def test_every_kind_of_picture_becomes_its_colour(content: bytes, colour: tuple[int, int, int]) -> None:
    """Palettes, CMYK and 16 bits are converted and alpha is laid over black, to the colour that people see."""
    row = decode(content)
    assert (row.dtype, row.shape) == (np.float32, (3, 2, 3))
    np.testing.assert_allclose(row, np.float32(colour)[:, None, None] * np.ones((1, 2, 3)), atol=2)


def test_colour_becomes_luminance_for_a_grey_model() -> None:
    """A model of one channel gets the luminance by ITU-R 601-2: 0.299 R + 0.587 G + 0.114 B."""
    row = decode(encode(plain("RGB", (100, 200, 50))), GREY)
    assert row.shape == (1, 2, 3)
    np.testing.assert_allclose(row, 0.299 * 100 + 0.587 * 200 + 0.114 * 50, atol=1)


def test_values_are_scaled_and_shifted_as_the_manifest_says() -> None:
    """value * scale + offset, from pixel values of 0 to 255."""
    facts = COLOUR.model_copy(update={"scale": 2 / 255, "offset": -1.0})
    row = decode(encode(plain("RGB", (0, 255, 51))), facts)
    np.testing.assert_allclose(row[:, 0, 0], [-1, 1, -0.6], atol=1e-6)


def test_pixels_are_where_they_were() -> None:
    """Channels come first, then rows from the top, then columns from the left."""
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(decode(encode(Pillow.fromarray(pixels))), pixels.transpose(2, 0, 1))


def test_picture_of_another_size_is_resized() -> None:
    """Any size becomes the height and width of the model, without a change of a flat colour."""
    assert (decode(encode(plain("L", 77, (50, 9)))) == 77).all()


UPRIGHT = np.array([[1, 2, 3], [4, 5, 6]], np.uint8) * 40
AS_STORED = {  # by the value of the tag Orientation in EXIF 2.3
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", AS_STORED)
def test_picture_is_turned_upright(orientation: int) -> None:
    """What a camera stored on its side is turned as its EXIF orientation says, before it is resized."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = Pillow.fromarray(np.ascontiguousarray(AS_STORED[orientation]))
    np.testing.assert_array_equal(decode(encode(stored, exif=exif), GREY)[0], UPRIGHT)


SEEDS = [encode(NOISE), encode(NOISE, "JPEG"), encode(NOISE.convert("P")), encode(NOISE.convert("CMYK"), "JPEG")]


@settings(deadline=None, max_examples=200)
@given(seed=st.sampled_from(SEEDS), at=st.integers(0, 400), replacement=st.binary(max_size=4), cut=st.booleans())
def test_damage_anywhere_is_refused_or_harmless(seed: bytes, at: int, replacement: bytes, cut: bool) -> None:
    """Wherever bytes are changed or cut off, the outcome is a row or a refusal, never a failure."""
    content = seed[:at] + replacement + (b"" if cut else seed[at + len(replacement) :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of oddities that it can read past
        try:
            row = decode(content)
        except (InvalidInput, UnsupportedMedia):
            return
    assert (row.shape, row.dtype) == ((3, 2, 3), np.float32)


@pytest.mark.parametrize("text", ["%", "a", "abc=d", "YWJj\n", "é", "data:image/png;base64,YWJj"])
def test_text_that_is_no_base64_is_refused(text: str) -> None:
    """Anything but clean base64 is refused, named, and shown in part."""
    with pytest.raises(InvalidInput, match=r"^inputs\[3\]: expected a base64 text, got '"):
        decode_base64(text, "inputs[3]")


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=64))
def test_base64_is_decoded(content: bytes) -> None:
    """Bytes that were encoded come back."""
    assert decode_base64(base64.b64encode(content).decode(), "x") == content
