"""Each format, with every kind of pixel that it stores, becomes the colours that people see."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.PngImagePlugin import PngInfo
from sklearn.datasets import load_sample_image

from model_store.errors import UnreadablePicture
from model_store.pictures.formats import NAMES, is_picture
from model_store.pictures.reading import read_picture
from model_store.tasks import Image
from tests.support.pictures.encoding import encode

FACTS = Image(input="x", channels=3, layout="NHWC")
PHOTOGRAPH = Pillow.fromarray(load_sample_image("flower.jpg")).resize((61, 42))
GREY, LINES, PALETTE = PHOTOGRAPH.convert("L"), PHOTOGRAPH.convert("1"), PHOTOGRAPH.quantize(50)
DEEP = Pillow.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
CMYK = PHOTOGRAPH.convert("CMYK")
HALF = Pillow.merge("RGBA", (*PHOTOGRAPH.split(), Pillow.linear_gradient("L").resize(PHOTOGRAPH.size)))
HALF_GREY = Pillow.merge("LA", (GREY, HALF.getchannel("A")))


def read(content: bytes, facts: Image = FACTS) -> np.ndarray:
    return read_picture(content, facts, 10_000, "it", dtype=np.uint8)[0].astype(int)


def show(picture: Pillow.Image) -> np.ndarray:
    """The colours of a picture over black."""
    if picture is DEEP:
        picture = GREY
    if picture.mode in ("LA", "RGBA"):
        picture = picture.convert("RGBA")
        picture = Pillow.alpha_composite(Pillow.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return np.asarray(picture.convert("RGB")).astype(int)


EXACT: dict[str, tuple[Pillow.Image, str, dict[str, Any]]] = {
    "PNG": (PHOTOGRAPH, "PNG", {}),
    "PNG, 16-bit grey": (DEEP, "PNG", {}),
    "WebP": (PHOTOGRAPH, "WEBP", {"lossless": True}),
    "WebP, alpha": (HALF, "WEBP", {"lossless": True, "exact": True}),
    "GIF": (PALETTE, "GIF", {}),
    "GIF, grey": (GREY, "GIF", {}),
    "GIF, of several frames": (PALETTE, "GIF", {"save_all": True, "append_images": [PALETTE.rotate(180)], "loop": 0}),
    "GIF, with a comment": (PALETTE, "GIF", {"comment": b"a" * 1000}),
    "WebP, of several frames": (
        PHOTOGRAPH,
        "WEBP",
        {"lossless": True, "save_all": True, "append_images": [PHOTOGRAPH.rotate(180)]},
    ),
    "BMP": (PHOTOGRAPH, "BMP", {}),
    "BMP, grey": (GREY, "BMP", {}),
    "BMP, palette": (PALETTE, "BMP", {}),
    "BMP, black and white": (LINES, "BMP", {}),
    "TIFF": (PHOTOGRAPH, "TIFF", {}),
    "TIFF, BigTIFF": (PHOTOGRAPH, "TIFF", {"big_tiff": True}),
    "TIFF, of several pictures": (PHOTOGRAPH, "TIFF", {"save_all": True, "append_images": [GREY]}),
    "TIFF, LZW": (PHOTOGRAPH, "TIFF", {"compression": "tiff_lzw"}),
    "TIFF, LZW with differences": (PHOTOGRAPH, "TIFF", {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
    "TIFF, deflate": (PHOTOGRAPH, "TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, old deflate": (PHOTOGRAPH, "TIFF", {"compression": "tiff_deflate"}),
    "TIFF, PackBits": (PHOTOGRAPH, "TIFF", {"compression": "packbits"}),
    "TIFF, small strips": (PHOTOGRAPH, "TIFF", {"compression": "tiff_lzw", "strip_size": 600}),
    "TIFF, alpha": (HALF, "TIFF", {}),
    "TIFF, grey": (GREY, "TIFF", {}),
    "TIFF, grey, LZW": (GREY, "TIFF", {"compression": "tiff_lzw"}),
    "TIFF, grey with alpha": (HALF_GREY, "TIFF", {}),
    "TIFF, 16-bit grey": (DEEP, "TIFF", {}),
    "TIFF, 16-bit grey, LZW": (DEEP, "TIFF", {"compression": "tiff_lzw"}),
    "TIFF, palette": (PALETTE, "TIFF", {}),
    "TIFF, palette, deflate": (PALETTE, "TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, black and white": (LINES, "TIFF", {}),
    "TIFF, fax 3": (LINES, "TIFF", {"compression": "group3"}),
    "TIFF, fax 4": (LINES, "TIFF", {"compression": "group4"}),
    "TIFF, old fax": (LINES, "TIFF", {"compression": "tiff_ccitt"}),
    "TIFF, CMYK": (CMYK, "TIFF", {}),
    "TIFF, CMYK, LZW": (CMYK, "TIFF", {"compression": "tiff_lzw"}),
}


@pytest.mark.parametrize(("picture", "kind", "options"), EXACT.values(), ids=EXACT)
def test_pixels_are_those_that_were_stored(picture: Pillow.Image, kind: str, options: dict[str, Any]) -> None:
    """Every format and kind of pixel that loses nothing gives the colours back, the first picture of several."""
    content = encode(picture, kind, **options)
    assert is_picture(content)
    assert np.abs(read(content) - show(picture)).max() <= (picture.mode in ("LA", "RGBA"))


@pytest.mark.parametrize(
    ("picture", "kind", "options"),
    [
        (PHOTOGRAPH, "JPEG", {"quality": 95}),
        (PHOTOGRAPH, "JPEG", {"quality": 95, "progressive": True}),
        (GREY, "JPEG", {"quality": 95}),
        (CMYK, "JPEG", {"quality": 95}),
        (PHOTOGRAPH, "WEBP", {"quality": 95}),
        (PHOTOGRAPH, "TIFF", {"compression": "jpeg", "quality": 95}),
        (GREY, "TIFF", {"compression": "jpeg", "quality": 95}),
        (PHOTOGRAPH.convert("YCbCr"), "TIFF", {}),
    ],
)
def test_pixels_are_about_those_that_were_stored(picture: Pillow.Image, kind: str, options: dict[str, Any]) -> None:
    """What loses a little gives the colours but for that."""
    assert np.abs(read(encode(picture, kind, **options)) - show(picture)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_picture_is_made_upright_in_every_format(kind: str, options: dict[str, Any], orientation: int) -> None:
    """All eight orientations of EXIF are undone, once, and the placement has the upright size."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    content = encode(PHOTOGRAPH, kind, exif=exif, **options)
    upright = ImageOps.exif_transpose(Pillow.open(io.BytesIO(content)))
    row, placement = read_picture(content, FACTS, 10_000, "it")
    assert np.abs(row - np.asarray(upright)).max() <= 0
    assert placement[:2] == upright.size


def test_orientation_in_a_text_of_a_png_counts() -> None:
    """ImageMagick stores EXIF as digits. Digits that are none, and other types than a short number, are ignored."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    for digits, turned in ((exif.tobytes().hex(), True), ("no digits", False), ("", False), ("49492a00", False)):
        text = PngInfo()
        text.add_text("Raw profile type exif", f"\nexif\n{len(digits) // 2:8}\n{digits}\n")
        placement = read_picture(encode(PHOTOGRAPH, "PNG", pnginfo=text), FACTS, 10_000, "it")[1]
        assert placement[:2] == (PHOTOGRAPH.size[::-1] if turned else PHOTOGRAPH.size)


def test_orientation_behind_the_pixels_of_a_png_counts() -> None:
    """Its chunk may come last, when the size is planned already."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    content = encode(PHOTOGRAPH, "PNG", exif=exif)
    begin = content.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(content[begin : begin + 4], "big")
    moved = content[:begin] + content[end:-12] + content[begin:end] + content[-12:]
    facts = FACTS.model_copy(update={"width": 30, "height": 20})
    (expected, where), (row, placement) = (read_picture(each, facts, 10_000, "it") for each in (content, moved))
    np.testing.assert_array_equal(row, expected)
    assert placement == where == (42, 61, 30 / 42, 20 / 61, 0, 0)


def test_model_of_one_channel_gets_luminance_from_each_format() -> None:
    """ITU-R 601-2, as Pillow converts."""
    facts = Image(input="x", channels=1, layout="NHWC")
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(read(encode(PHOTOGRAPH, kind), facts)[:, :, 0], np.asarray(GREY))


def edit_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another number in a field of one SHORT or LONG."""
    at = int.from_bytes(tiff[4:8], "little")
    for entry in range(at + 2, at + 2 + 12 * int.from_bytes(tiff[at : at + 2], "little"), 12):
        if int.from_bytes(tiff[entry : entry + 2], "little") == tag:
            return tiff[: entry + 8] + value.to_bytes(4, "little") + tiff[entry + 12 :]
    raise AssertionError(tag)


TIFF = encode(PHOTOGRAPH, "TIFF")
REFUSED = {
    "floating-point TIFF": (
        encode(GREY.convert("F"), "TIFF"),
        "a TIFF of whole numbers from 0 on, got signed or float",
    ),
    "signed 32-bit TIFF": (encode(GREY.convert("I"), "TIFF"), "a TIFF of whole numbers from 0 on"),
    "32-bit TIFF": (edit_tag(encode(DEEP, "TIFF"), 258, 32), "a TIFF of 1, 2, 4 or 8 bits a channel, or 16 .*, got 32"),
    "12-bit TIFF": (edit_tag(encode(DEEP, "TIFF"), 258, 12), "a TIFF of 1, 2, 4 or 8 bits a channel, or 16 .*, got 12"),
    "16 bits with 0 as white": (edit_tag(encode(DEEP, "TIFF"), 262, 0), "a TIFF of .* or 16 with 0 as black, got 16"),
    "LAB": (edit_tag(TIFF, 262, 8), "a TIFF of grey, RGB, a palette, CMYK or YCbCr, got photometric 8"),
    "LZMA": (edit_tag(TIFF, 259, 34925), "a TIFF without compression, or by LZW, .* or JPEG, got 34925"),
    "old JPEG": (edit_tag(TIFF, 259, 6), "a TIFF without compression, or by LZW, .* or JPEG, got 6"),
    "compressed BMP": (
        encode(PALETTE, "BMP")[:30] + b"\1" + encode(PALETTE, "BMP")[31:],
        "a BMP without compression, got a compressed one",
    ),
    "AVIF": (encode(PHOTOGRAPH, "AVIF"), f"a {NAMES} picture, got AVIF or HEIF: convert it"),
    "HEIF": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", f"a {NAMES} picture, got AVIF or HEIF: convert it"),
    "JPEG XL": (b"\xff\x0a\xfa\x1f\x41", f"a {NAMES} picture, got JPEG XL: convert it"),
    "JPEG 2000": (encode(PHOTOGRAPH, "JPEG2000"), f"a {NAMES} picture, got JPEG 2000: convert it"),
    "ICO": (encode(PHOTOGRAPH, "ICO"), "a JPEG, PNG, WebP, GIF, TIFF or BMP picture, got something else"),
    "PPM": (encode(PHOTOGRAPH, "PPM"), "a JPEG, PNG, WebP, GIF, TIFF or BMP picture, got something else"),
    "nothing": (b"", "a JPEG, PNG, WebP, GIF, TIFF or BMP picture, got nothing"),
}


@pytest.mark.parametrize(("content", "complaint"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_refused_with_the_reason(content: bytes, complaint: str) -> None:
    """The text says what is expected and what came."""
    with pytest.raises(UnreadablePicture, match=f"^it: expected {complaint}"):
        read(content)


def test_big_endian_tiff_is_read() -> None:
    """Both byte orders, here by hand: 2 x 2 pixels of 16-bit RGB."""
    levels = np.arange(12, dtype=np.uint16).reshape(2, 2, 3) * 20 * 257
    for order in "<>":
        fields = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 128)]
        fields += [(277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 24)]
        kind = {"<": "little", ">": "big"}[order]
        directory = len(fields).to_bytes(2, kind)
        for tag, datatype, count, value in fields:
            size = 2 if datatype == 3 and count == 1 else 4
            number = value.to_bytes(size, kind).ljust(4, b"\0")
            directory += tag.to_bytes(2, kind) + datatype.to_bytes(2, kind) + count.to_bytes(4, kind) + number
        head = (b"II*\0" if order == "<" else b"MM\0*") + (8).to_bytes(4, kind) + directory + bytes(4)
        content = head.ljust(122, b"\0") + (16).to_bytes(2, kind) * 3 + levels.astype(f"{order}u2").tobytes()
        np.testing.assert_array_equal(read(content), np.arange(12).reshape(2, 2, 3) * 20)


def test_jpeg_is_decoded_at_a_part_of_its_size_where_that_is_enough() -> None:
    """The row is about the same, the placement is that of the whole picture, and nothing is enlarged."""
    photograph = Pillow.fromarray(load_sample_image("china.jpg"))
    content = encode(photograph, "JPEG", quality=95)
    for more in ({"width": 80, "height": 53}, {"width": 64, "height": 64, "resize": "crop"}, {"longest": 150}):
        whole = Image(input="x", channels=3, **more)
        reduced = whole.model_copy(update={"reduced_decoding": True})
        (expected, where), (found, place) = (read_picture(content, facts, 10**6, "it") for facts in (whole, reduced))
        assert (found.shape, place) == (expected.shape, where)
        assert 0 < np.abs(found - expected).mean() < 8
    same = Image(input="x", channels=3, width=321, height=200, reduced_decoding=True)  # half would be 320 wide
    expected = read_picture(content, same.model_copy(update={"reduced_decoding": False}), 10**6, "it")[0]
    np.testing.assert_array_equal(read_picture(content, same, 10**6, "it")[0], expected)
