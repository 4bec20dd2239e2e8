"""Extracts the first picture of a TIFF, with only the fields that are needed to decode it.

A TIFF may name millions of strips, hold other pictures, and use compressions that need gigabytes. So Pillow gets a file
with a new directory that has only known fields of known lengths (TIFF 6.0, section 2).
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _LINES = 256, 257, 258, 259, 262, 277, 278
_STRIPS, _ORIENTATION, _STRIP_BYTES, _COLOURS = 273, 274, 279, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT, _JPEG_TABLES = 322, 323, 324, 325, 339, 347
# By tag: the most values. 266 is the fill order, 284 planes, 292 and 293 options of fax, 317 a predictor, 332 inks,
# 338 the meaning of further samples, 529 to 532 YCbCr.
_KEPT = {
    **dict.fromkeys((_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _LINES, _TILE_WIDTH, _TILE_HEIGHT), 1),
    **dict.fromkeys((266, 284, 292, 293, 317, 332), 1),
    **dict.fromkeys((_BITS, _SAMPLE_FORMAT, 338, 529, 530, 531, 532), 16),
    **dict.fromkeys((_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _COLOURS), 1 << 16),
    _JPEG_TABLES: 1 << 16,
}
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, fax, LZW, JPEG, deflate, PackBits: they take little more memory than the pixels."""
_PHOTOMETRICS = {0, 1, 2, 3, 5, 6}
"""Grey in two directions, RGB, palette, CMYK, YCbCr."""
_MOST_TILE_PIXELS = 1 << 22
"""A tile may have this many pixels, even if the picture is smaller."""
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Unsupported(ValueError):
    """The file may be valid, but its kind is not supported. The text says what was expected and what came."""


class Tiff(NamedTuple):
    """``content`` has only the first picture, as it is stored: the reader applies ``orientation`` (1 to 8)."""

    width: int
    height: int
    orientation: int
    content: bytes


@dataclass(frozen=True, slots=True)
class _Form:
    """Byte order and sizes: those of TIFF, or of BigTIFF, whose offsets have 8 bytes."""

    order: str
    offset: str
    count: str
    first: int
    """The position of the offset of the first directory."""

    @property
    def entry(self) -> str:
        return f"{self.order}HH{self.offset}{self.offset}"


class _Entry(NamedTuple):
    kind: int
    length: int
    raw: bytes
    """The bytes in the directory."""
    value: int | None
    """The first value, if it is in the directory."""


def take_first_picture(content: bytes) -> Tiff:
    """Raises Unsupported, ValueError, struct.error."""
    form = _read_form(content)
    entries = _read_directory(content, form)

    def value_of(tag: int, default: int | None = None) -> int:
        entry = entries.get(tag)
        value = default if entry is None else entry.value
        if value is None:
            raise ValueError(f"no tag {tag}")
        return value

    width, height = value_of(_WIDTH), value_of(_HEIGHT)
    _check_kind(content, form, entries)
    if _TILES in entries and value_of(_TILE_WIDTH) * value_of(_TILE_HEIGHT) > max(
        _MOST_TILE_PIXELS, 4 * width * height
    ):
        raise ValueError("tiles larger than the picture")
    orientation = value_of(_ORIENTATION, 1)
    return Tiff(width, height, orientation if 1 <= orientation <= 8 else 1, _write(content, form, entries))


def _read_form(content: bytes) -> _Form:
    order = "<" if content[:2] == b"II" else ">"
    (version,) = struct.unpack_from(f"{order}H", content, 2)
    return _Form(order, "Q", "Q", 8) if version == 43 else _Form(order, "I", "H", 4)


def _read_directory(content: bytes, form: _Form) -> dict[int, _Entry]:
    (at,) = struct.unpack_from(form.order + form.offset, content, form.first)
    (count,) = struct.unpack_from(form.order + form.count, content, at)
    at += struct.calcsize(f"={form.count}")
    size = struct.calcsize(form.entry)
    inside = struct.calcsize(f"={form.offset}")
    entries: dict[int, _Entry] = {}
    for begin in range(at, at + size * min(count, 1 << 12), size):
        tag, kind, length, _ = struct.unpack_from(form.entry, content, begin)
        if tag not in _KEPT and tag != _ORIENTATION:
            continue
        if length > _KEPT.get(tag, 1) or kind not in _BYTES:
            raise ValueError(f"{length} values of kind {kind} for tag {tag}")
        value = None
        if kind in _NUMBERS and 0 < length * _BYTES[kind] <= inside:
            (value,) = struct.unpack_from(form.order + _NUMBERS[kind], content, begin + size - inside)
        entries[tag] = _Entry(kind, length, content[begin : begin + size], value)
    return entries


def _check_kind(content: bytes, form: _Form, entries: dict[int, _Entry]) -> None:
    """Refuse samples that Pillow would clip, and compressions that take much memory."""
    compression, photometric = (
        entries[tag].value if tag in entries else default for tag, default in ((_COMPRESSION, 1), (_PHOTOMETRIC, 0))
    )
    if compression not in _COMPRESSIONS:
        raise Unsupported(f"a TIFF without compression, or by LZW, deflate, PackBits, fax or JPEG, got {compression}")
    if photometric not in _PHOTOMETRICS:
        raise Unsupported(f"a TIFF of grey, RGB, a palette, CMYK or YCbCr, got photometric {photometric}")
    bits = _read_numbers(content, form, entries.get(_BITS)) or [1]
    formats = _read_numbers(content, form, entries.get(_SAMPLE_FORMAT)) or [1]
    if set(formats) != {1}:
        raise Unsupported("a TIFF of whole numbers from 0 on, got signed or floating-point ones: make it 8 or 16 bits")
    if not set(bits) <= {1, 2, 4, 8, 16} or (photometric == 0 and 16 in bits):
        raise Unsupported(f"a TIFF of 1, 2, 4 or 8 bits a channel, or 16 with 0 as black, got {max(bits)}")


def _read_numbers(content: bytes, form: _Form, entry: _Entry | None) -> list[int]:
    """All values of a short field."""
    if entry is None or entry.kind not in _NUMBERS:
        return []
    inside = struct.calcsize(f"={form.offset}")
    values = f"{form.order}{entry.length}{_NUMBERS[entry.kind]}"
    if struct.calcsize(values) <= inside:
        return list(struct.unpack_from(values, entry.raw, len(entry.raw) - inside))
    (at,) = struct.unpack_from(form.order + form.offset, entry.raw, len(entry.raw) - inside)
    return list(struct.unpack_from(values, content, at))


def _write(content: bytes, form: _Form, entries: dict[int, _Entry]) -> bytes:
    """The file with a new directory at its end, and no directory after that."""
    kept = [entry.raw for tag, entry in sorted(entries.items()) if tag != _ORIENTATION]
    at = len(content) + len(content) % 2
    start = content[: form.first] + struct.pack(form.order + form.offset, at)
    count = struct.pack(form.order + form.count, len(kept))
    end = struct.pack(form.order + form.offset, 0)
    return b"".join((start, content[len(start) :], bytes(len(content) % 2), count, *kept, end))
