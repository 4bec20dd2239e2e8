"""Files that claim or cost much more than they have are refused before Pillow spends memory or time on them."""

import struct
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from model_store.errors import PictureError, PictureTooLarge, UnreadablePicture
from model_store.pictures.reading import read_picture
from model_store.tasks import Image
from tests.support.pictures.encoding import encode

FACTS = Image(input="x", channels=3, height=4, width=5)
NOISE = Pillow.frombytes("RGB", (24, 20), np.random.default_rng(0).bytes(1440))


def read(content: bytes, max_pixels: int = 10_000, facts: Image = FACTS) -> np.ndarray:
    return read_picture(content, facts, max_pixels, "it")[0]


def tiff(*fields: tuple[int, int, int, int], pixels: int = 100) -> bytes:
    """A little-endian TIFF with these fields: tag, kind, count, value or place."""
    directory = b"".join(struct.pack("<HHII", *field) for field in sorted(fields))
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory
    return head.ljust(512, b"\0") + bytes(pixels)


def grey(width: int, height: int, *more: tuple[int, int, int, int]) -> bytes:
    fields = {256: (256, 4, 1, width), 257: (257, 4, 1, height), 258: (258, 3, 1, 8), 259: (259, 3, 1, 1)}
    fields |= {262: (262, 3, 1, 1), 273: (273, 4, 1, 512), 278: (278, 4, 1, height), 279: (279, 4, 1, width * height)}
    return tiff(*(fields | {field[0]: field for field in more}).values(), pixels=min(width * height, 10_000))


def gif(width: int, height: int, frame: tuple[int, int, int, int] = (0, 0, 1, 1)) -> bytes:
    return b"GIF89a" + struct.pack("<HH3x", width, height) + b"," + struct.pack("<HHHHB", *frame, 0) + b"\2\2\x4c\1\0;"


def webp(kind: bytes, size: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind + struct.pack("<I", 80) + size.ljust(80, b"\0")


def resized_jpeg(width: int, height: int) -> bytes:
    content = encode(NOISE, "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


SIZED = {
    "JPEG": resized_jpeg(40_000, 30_000),
    "GIF, by its screen": gif(40_000, 30_000),
    "GIF, by its frame": gif(1, 1, (0, 0, 40_000, 30_000)),
    "GIF, by where its frame lies": gif(1, 1, (39_999, 29_999, 1, 1)),
    "WebP, extended": webp(b"VP8X", bytes(4) + (39_999).to_bytes(3, "little") + (29_999).to_bytes(3, "little")),
    "TIFF": grey(40_000, 30_000),
    "BMP": b"BM" + struct.pack("<IIIIIIHHIIIIII", 0, 0, 54, 40, 40_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("content", SIZED.values(), ids=SIZED)
def test_claim_of_the_head_is_enough(content: bytes) -> None:
    """A file of a few bytes that claims 40000 x 30000 pixels takes a few bytes of memory, and is named too large."""
    tracemalloc.start()
    try:
        with pytest.raises(PictureTooLarge, match=r"^it: expected at most 10000 pixels, got 40000 x 30000$"):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L"])
def test_simple_webp_has_its_size_in_its_frame(kind: bytes) -> None:
    """Neither makes a canvas of 16383 x 16383."""
    lossless = b"\x2f" + (0x3FFE | 0x3FFE << 14).to_bytes(4, "little")
    lossy = bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 0x3FFF, 0x3FFF)
    with pytest.raises(PictureTooLarge):
        read(webp(kind, lossless if kind == b"VP8L" else lossy))


JPEG = encode(NOISE, "JPEG", progressive=True)
SCAN = JPEG.index(b"\xff\xda")
LAST_SCAN = JPEG.rindex(b"\xff\xda")
PLAIN_JPEG = encode(NOISE, "JPEG")
ONLY_SCAN = PLAIN_JPEG.index(b"\xff\xda")
COSTLY = {
    "PNG of empty chunks": (encode(NOISE, "PNG")[:33] + b"\0\0\0\0aaAa\0\0\0\0" * 70_000, "more than 65536 chunks"),
    "JPEG of empty segments": (b"\xff\xd8" + b"\xff\xe5\0\2" * 70_000 + JPEG[2:], "more than 65536 segments"),
    "JPEG of filling": (b"\xff\xd8" + b"\xff" * 70_000 + JPEG[2:], "more than 65536 bytes between segments"),
    "JPEG of starts": (b"\xff\xd8" * 70_000 + JPEG[2:], "more than 65536 segments"),
    "JPEG of scans": (JPEG[:LAST_SCAN] + JPEG[LAST_SCAN:-2] * 200 + b"\xff\xd9", "more than 100 scans"),
    "JPEG of whole scans": (PLAIN_JPEG[:ONLY_SCAN] + PLAIN_JPEG[ONLY_SCAN:-2] * 9000 + b"\xff\xd9", "broken data"),
    "GIF of empty comments": (b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\0" * 70_000 + gif(1, 1)[13:], "no frame"),
    "GIF of tiny blocks": (b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1a" * 70_000 + b"\0" + gif(1, 1)[13:], "no frame"),
    "TIFF of a million strips": (grey(10, 10, (273, 4, 1 << 20, 512)), "1048576 values of kind 4 for tag 273"),
    "TIFF of many samples": (grey(10, 10, (258, 3, 1 << 20, 512)), "1048576 values of kind 3 for tag 258"),
    "TIFF of large tiles": (
        grey(10, 10, (322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 512), (325, 4, 1, 100)),
        "tiles larger than the picture",
    ),
}


@pytest.mark.parametrize(("content", "reason"), COSTLY.values(), ids=COSTLY)
def test_more_parts_than_a_picture_has_are_refused(content: bytes, reason: str) -> None:
    """Pillow would walk through them one by one, or decode the whole picture for each."""
    with pytest.raises(UnreadablePicture, match=f"got a damaged one .{reason}"):
        read(content)


def test_film_behind_a_jpeg_does_not_count() -> None:
    """What telephones append may look like any number of scans."""
    expected = read(JPEG)
    np.testing.assert_array_equal(read(JPEG + b"\xff\xda\0\0" * 1000), expected)


def test_tiff_reads_nothing_of_other_pictures_and_notes() -> None:
    """A second picture with a million values, and EXIF, are not looked at."""
    first = grey(10, 10, (34665, 4, 1, 300), (306, 2, 1 << 30, 0))
    at = 8 + 2 + 12 * 10
    content = first[:at] + struct.pack("<I", 400) + first[at + 4 :]
    assert (read(content) == 0).all()


def test_result_has_the_limit_too() -> None:
    """A line that is made 1000 times as large, where a model takes any size, is refused before it is made."""
    facts = Image(input="x", channels=3, shortest=1000)
    with pytest.raises(PictureTooLarge, match="expected at most 10000 pixels after resizing, got 200000 x 1000"):
        read(encode(Pillow.new("L", (200, 1)), "PNG"), facts=facts)


def test_model_may_take_more_pixels_than_pictures_may_have() -> None:
    """The limit is one of pictures that come; the size of the model is its own affair."""
    assert (
        read(encode(NOISE, "PNG"), max_pixels=480, facts=Image(input="x", channels=3, height=30, width=30)).size == 2700
    )


LARGE = Pillow.frombytes("RGB", (40, 30), np.random.default_rng(0).bytes(3600))
DEEP = Pillow.frombytes("I;16", (24, 20), np.random.default_rng(0).bytes(960))
SEEDS = [
    *(encode(NOISE, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")),
    *(encode(NOISE, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
    *(encode(NOISE.convert("1"), kind) for kind in ("TIFF", "BMP", "PNG")),
    *(encode(NOISE.convert("1"), "TIFF", compression=name) for name in ("group3", "group4")),
    *(encode(NOISE.quantize(20), kind) for kind in ("PNG", "GIF", "TIFF", "BMP")),
    encode(NOISE.quantize(20), "GIF", save_all=True, append_images=[NOISE.quantize(10)], transparency=3),
    *(encode(NOISE.convert("CMYK"), kind) for kind in ("JPEG", "TIFF")),
    *(encode(NOISE.convert("RGBA"), kind) for kind in ("PNG", "WEBP", "TIFF", "BMP")),
    *(encode(NOISE.convert("LA"), kind) for kind in ("PNG", "TIFF")),
    *(encode(DEEP, kind) for kind in ("PNG", "TIFF")),
    encode(NOISE, "WEBP", lossless=True),
    encode(NOISE, "WEBP", save_all=True, append_images=[NOISE.rotate(90)]),
    encode(NOISE, "TIFF", big_tiff=True),
    JPEG,
]


@settings(max_examples=600)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=4),
    near=st.booleans(),
    cut=st.none() | st.floats(0, 1),
)
def test_damage_gives_a_row_or_an_error_of_ours(
    seed: bytes, changes: list[tuple[float, bytes]], near: bool, cut: float | None
) -> None:
    """Wherever bytes are changed, in the head or anywhere, or cut off, nothing but our errors is raised."""
    content = bytearray(seed)
    for share, replacement in changes:
        at = int(share * (min(120, len(seed)) if near else len(seed)))
        content[at : at + len(replacement)] = replacement
    if cut is not None:
        del content[int(cut * len(content)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of oddities that it can read past
        try:
            row = read(bytes(content))
        except PictureError:
            return
    assert (row.shape, row.dtype) == ((3, 4, 5), np.float32)


@settings(max_examples=300)
@given(
    first=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0+", b"BM"]),
    rest=st.binary(max_size=300),
)
def test_anything_behind_the_first_bytes_is_refused_or_harmless(first: bytes, rest: bytes) -> None:
    """Bytes that only begin like a picture never raise anything but our errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(first + rest)
        except PictureError:
            return
