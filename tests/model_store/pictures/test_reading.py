"""Pictures to rows: what is refused before anything is decoded, and what comes out of each kind."""

import struct
import warnings
import zlib
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngImageFile

from model_store.errors import PictureError, PictureTooLarge, UnreadablePicture
from model_store.pictures import colours
from model_store.pictures.geometry import Plan
from model_store.pictures.reading import read_picture
from model_store.tasks import Image
from tests.support.pictures.encoding import claim, encode, png

MAX_PIXELS = 10_000
GREY = Image(input="image", channels=1, height=2, width=3)
COLOUR = Image(input="image", channels=3, height=2, width=3)


def plain(mode: str, colour: Any, size: tuple[int, int] = (3, 2)) -> Pillow.Image:
    return Pillow.new(mode, size, colour)


def decode(content: bytes, facts: Image = COLOUR, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    return read_picture(content, facts, max_pixels, "inputs[0].image")[0]


def deep(colours: int, *samples: int, extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A PNG of 3 x 2 pixels of one colour with 16 bits a channel."""
    return png(3, 2, 16, colours, (b"\0" + struct.pack(f">{len(samples)}H", *samples) * 3) * 2, *extra)


NOISE = Pillow.frombytes("RGB", (8, 8), np.random.default_rng(0).bytes(192))
DAMAGED = {
    "empty": b"",
    "text": b"this is no picture",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"/>',
    "only the first bytes of a png": b"\x89PNG\r\n\x1a\n",
    "only the first bytes of a jpeg": b"\xff\xd8\xff",
    "palette that is missing": png(3, 2, 8, 3, bytes(8)),
    "compressed text that grows without end": png(
        3, 2, 8, 0, bytes(8), (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(4 << 20)))
    ),
    "png cut in its header": encode(NOISE)[:20],
    "png cut in its pixels": encode(NOISE)[:-60],
    "jpeg cut in its header": encode(NOISE, "JPEG")[:40],
    "jpeg cut in its pixels": encode(NOISE, "JPEG")[:-30],
    "png with a wrong sum": encode(NOISE)[:60] + b"\0\0\0\0" + encode(NOISE)[64:],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    """Other formats, text and damaged or truncated files are an unsupported medium, and the place is named."""
    with pytest.raises(
        UnreadablePicture, match=r"^inputs\[0\]\.image: expected a JPEG, PNG, WebP, GIF, TIFF or BMP picture, got "
    ):
        decode(content)


@pytest.mark.parametrize(
    ("width", "height"), [(101, 100), (10_001, 1), (9000, 9000), (10_000, 10_000), (20_000, 20_000), (60_000, 60_000)]
)
@pytest.mark.parametrize("facts", [COLOUR, Image(input="image", channels=1)], ids=["resized", "any size"])
def test_picture_with_too_many_pixels_is_refused_before_decoding(width: int, height: int, facts: Image) -> None:
    """The claim of the header is enough to refuse it; the pixels, which are not even there, are not looked at."""
    with pytest.raises(PictureTooLarge, match=rf"expected at most 10000 pixels, got {width} x {height}$"):
        decode(claim(width, height), facts)


def test_decompression_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PNG of 100 kB that would unpack to 100 MB is refused without any call to unpack it."""
    bomb = png(10_000, 10_000, 8, 0, bytes(10_001 * 10_000))
    assert len(bomb) < 110_000
    calls: list[object] = []
    monkeypatch.setattr(PngImageFile, "load", calls.append)
    with pytest.raises(PictureTooLarge, match="expected at most 50000000 pixels, got 10000 x 10000"):
        decode(bomb, max_pixels=50_000_000)
    assert calls == []


HARMLESS = {
    "pixels beyond the claim": (png(3, 2, 8, 0, bytes(10 << 20)), 0),
    "broken EXIF": (encode(plain("L", 5), exif=b"Exif\0\0rubbish rubbish"), 5),
    "8 MB of text": (png(3, 2, 8, 0, bytes(8), (b"tEXt", b"Comment\0" + b"a" * (8 << 20))), 0),
    "as many pixels as may be": (encode(plain("L", 7, (100, 100))), 7),
    "one pixel": (encode(plain("L", 77, (1, 1))), 77),
    "another shape": (encode(plain("L", 77, (50, 9))), 77),
    "a line": (encode(plain("L", 77, (9999, 1))), 77),
    "a column": (encode(plain("L", 77, (1, 9999))), 77),
}


@pytest.mark.parametrize(("content", "value"), HARMLESS.values(), ids=HARMLESS)
def test_picture_of_any_size_and_with_anything_beside_its_pixels_is_decoded(content: bytes, value: int) -> None:
    """It gets the height and width of the model, without a change of a flat colour."""
    row = decode(content)
    assert row.shape == (3, 2, 3)
    assert (row == value).all()


def test_limit_counts_also_where_pillow_has_a_lower_one() -> None:
    """A picture below it is decoded as far as it goes, and nothing is warned of."""
    with pytest.raises(UnreadablePicture, match="damaged"):
        decode(claim(10_000, 9_000), max_pixels=90_000_000)


def as_ycck(jpeg: bytes) -> bytes:
    """The same four planes, said to be YCCK instead of CMYK in the Adobe marker."""
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + b"\2" + jpeg[at + 1 :]


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
    "2-bit grey": (png(3, 2, 2, 0, (b"\0" + b"\xa8") * 2), (170, 170, 170)),
    "16-bit RGB": (deep(2, 200 * 257, 100 * 257, 300), (200, 100, 1)),
    "16-bit RGB with alpha": (deep(6, 200 * 257, 100 * 257, 50 * 257, 51 * 257), (40, 20, 10)),
    "16-bit grey with alpha": (deep(4, 200 * 257, 51 * 257), (40, 40, 40)),
    "16-bit grey with a clear colour": (deep(0, 40_000, extra=((b"tRNS", b"\x9c\x40"),)), (0, 0, 0)),
    "16-bit grey": (encode(Pillow.fromarray(np.full((2, 3), 200 * 257, np.uint16))), (200, 200, 200)),
    "half-clear palette": (encode(plain("P", 3), transparency=bytes([255] * 3 + [51])), (0, 0, 0)),
    "JPEG": (encode(plain("RGB", (120, 120, 120)), "JPEG"), (120, 120, 120)),
    "grey JPEG": (encode(plain("L", 33), "JPEG"), (33, 33, 33)),
    "CMYK JPEG, inverted as Adobe does": (encode(plain("CMYK", (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
    "CMYK JPEG, half black": (encode(plain("CMYK", (0, 0, 0, 127)), "JPEG"), (128, 128, 128)),
    # Stored as 255 - ink: Y 55, Cb and Cr 128, K 255; so 55 of each ink on paper.
    "YCCK JPEG": (as_ycck(encode(plain("CMYK", (200, 127, 127, 0)), "JPEG")), (200, 200, 200)),
    "progressive JPEG": (encode(plain("RGB", (120, 120, 120)), "JPEG", progressive=True), (120, 120, 120)),
}


@pytest.mark.parametrize(("content", "colour"), COLOURS.values(), ids=COLOURS)
def test_every_kind_of_picture_becomes_its_colour(content: bytes, colour: tuple[int, int, int]) -> None:
    """Palettes, CMYK and 16 bits are converted and alpha is laid over black, to the colour that people see."""
    row = decode(content)
    assert (row.dtype, row.shape) == (np.float32, (3, 2, 3))
    np.testing.assert_allclose(row, np.float32(colour)[:, None, None] * np.ones((1, 2, 3)), atol=2)


@given(value=st.integers(0, 65535))
def test_low_byte_of_16_bits_does_not_wrap(value: int) -> None:
    """Every 16-bit grey becomes the nearest of the 256 greys, 65535 the brightest."""
    row = decode(encode(Pillow.fromarray(np.full((2, 3), value, np.uint16))), GREY)
    assert (row == round(value * 255 / 65535)).all()


def of_palette() -> Pillow.Image:
    picture = NOISE.quantize(16)
    picture.info["transparency"] = bytes(range(0, 256, 16))
    return picture


@pytest.mark.parametrize("strip_pixels", [1, 8, 24, 63])
@pytest.mark.parametrize("channels", [1, 3])
def test_picture_in_strips_is_what_it_is_at_once(
    strip_pixels: int, channels: Literal[1, 3], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large picture is converted a few rows at a time, so that other threads run in between, to the same pixels."""
    grey = Pillow.fromarray(np.random.default_rng(0).integers(0, 65536, (8, 8), dtype=np.uint16))
    rgba = Pillow.frombytes("RGBA", (8, 8), np.random.default_rng(0).bytes(256))
    one_bit = NOISE.convert("1")
    pictures = [NOISE, of_palette(), grey, rgba, NOISE.convert("L"), NOISE.convert("LA"), one_bit]
    contents = [encode(picture) for picture in pictures]
    contents += [encode(grey, transparency=int(np.asarray(grey)[3, 4])), encode(NOISE.convert("CMYK"), "JPEG")]
    facts = Image(input="image", channels=channels)
    expected = [decode(content, facts) for content in contents]
    monkeypatch.setattr(colours, "_STRIP_PIXELS", strip_pixels)
    for content, whole in zip(contents, expected, strict=True):
        np.testing.assert_array_equal(decode(content, facts), whole)


def test_values_are_those_that_the_manifest_says() -> None:
    """value * scale + offset, from pixel values of 0 to 255; a model of one channel gets the luminance by ITU-R 601-2:
    0.299 R + 0.587 G + 0.114 B."""
    facts = COLOUR.model_copy(update={"scale": 2 / 255, "offset": -1.0})
    np.testing.assert_allclose(decode(encode(plain("RGB", (0, 255, 51))), facts)[:, 0, 0], [-1, 1, -0.6], atol=1e-6)
    grey = decode(encode(plain("RGB", (100, 200, 50))), GREY)
    np.testing.assert_allclose(grey, np.full((1, 2, 3), 0.299 * 100 + 0.587 * 200 + 0.114 * 50), atol=1)


@pytest.mark.parametrize("size", [(1, 1), (640, 427), (3, 1000)])
@pytest.mark.parametrize("channels", [1, 3])
def test_picture_keeps_its_size_where_the_model_takes_any(size: tuple[int, int], channels: Literal[1, 3]) -> None:
    """Without a height and width in the manifest every pixel becomes a number, in one piece of memory."""
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    stored = Pillow.fromarray(pixels).convert("L" if channels == 1 else "RGB")
    row = decode(encode(stored), Image(input="image", channels=channels), max_pixels=640 * 427)
    assert (row.shape, row.dtype, row.flags.c_contiguous) == ((channels, height, width), np.float32, True)
    np.testing.assert_array_equal(row.transpose(1, 2, 0).squeeze(), np.asarray(stored).squeeze())


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
@pytest.mark.parametrize("facts", [GREY, Image(input="image", channels=1)], ids=["resized", "any size"])
def test_picture_is_turned_upright(orientation: int, facts: Image) -> None:
    """What a camera stored on its side is turned as its EXIF orientation says, before it is resized."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(AS_STORED[orientation])
    np.testing.assert_array_equal(decode(encode(Pillow.fromarray(stored), exif=exif), facts)[0], UPRIGHT)
    deep_grey = Pillow.fromarray(stored.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode(encode(deep_grey, exif=exif), facts)[0], UPRIGHT)


def test_jpeg_is_turned_upright() -> None:
    """The EXIF block of a JPEG counts as that of a PNG does."""
    exif, blocks = Pillow.Exif(), np.ones((8, 8), np.uint8)
    exif[0x0112] = 6
    stored = Pillow.fromarray(np.kron(np.rot90(UPRIGHT), blocks))
    row = decode(encode(stored, "JPEG", exif=exif, quality=95), Image(input="image", channels=1))
    np.testing.assert_allclose(row[0], np.kron(UPRIGHT, blocks), atol=2)


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
        except PictureError:
            return
    assert (row.shape, row.dtype) == ((3, 2, 3), np.float32)


def test_row_that_is_too_large_for_its_model_is_not_decoded() -> None:
    """Its size is in the head of the file; what follows here could not be read."""
    told: list[Plan] = []

    def check(plan: Plan) -> None:
        told.append(plan)
        raise PictureTooLarge("too large")

    with pytest.raises(PictureTooLarge):
        read_picture(claim(40, 30)[:60], Image(input="x", channels=3), 10_000, "x", check)
    assert [plan.size for plan in told] == [(40, 30)]
