"""Checks the parts of a file before Pillow reads it, because Pillow loops over them in Python, however many there are.

All functions raise ValueError, or what ``struct`` raises, for damaged files.
"""

import re
import struct

from PIL.JpegImagePlugin import MARKER

_MOST_PARTS = 1 << 16
_MOST_SCANS = 100
"""A progressive JPEG has about ten. Decoding each goes through the whole picture, even if it has no data."""
_MARKER = re.compile(rb"\xff[^\xff\x00\xd0-\xd7]")
_SCAN, _END = 0xDA, 0xD9
_SEQUENTIAL = (0xC0, 0xC1)
"""The frame of a picture that is not progressive. If a scan of it has all components, libjpeg reads no other."""


def check_png(content: bytes) -> None:
    """Refuse a file with more chunks than a picture has."""
    at = 8
    for _ in range(_MOST_PARTS):
        if at >= len(content):
            return
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    raise ValueError(f"more than {_MOST_PARTS} chunks")


def check_jpeg(content: bytes) -> None:
    """Refuse a file with more segments, scans, or bytes between them than a picture has."""
    at = 2
    between = components = 0
    for _ in range(_MOST_PARTS):
        found = _MARKER.search(content, at)
        if found is None:
            break
        between += found.start() - at
        at = found.end()
        code = content[at - 1]
        if between > _MOST_PARTS or code == _SCAN:
            break
        if code in _SEQUENTIAL:
            components = content[at + 7]
        if MARKER.get(0xFF00 | code, (None, None, None))[2] is not None:  # those that Pillow takes as having a length
            at += int.from_bytes(content[at : at + 2], "big")
    else:
        raise ValueError(f"more than {_MOST_PARTS} segments")
    if between > _MOST_PARTS:
        raise ValueError(f"more than {_MOST_PARTS} bytes between segments")
    if not components or content[at + 2] != components:
        _check_scans(content, at)


def _check_scans(content: bytes, at: int) -> None:
    """Check the scans from the first on. Data after the end of the picture, such as a film, is ignored."""
    if content.count(b"\xff\xda", at) < _MOST_SCANS:
        return
    scans = 1
    for _ in range(_MOST_PARTS):
        found = _MARKER.search(content, at)
        if found is None or content[found.end() - 1] == _END:
            return
        at = found.end()
        scans += content[at - 1] == _SCAN
        if scans > _MOST_SCANS:
            raise ValueError(f"more than {_MOST_SCANS} scans")
        at += int.from_bytes(content[at : at + 2], "big")
    raise ValueError(f"more than {_MOST_PARTS} segments")


def take_first_frame(content: bytes) -> tuple[int, int, bytes]:
    """Width and height of a GIF, and its first frame as a file without comments and the like.

    The frame may be larger than the GIF's screen.
    """
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = colours = 13 + (6 << (flags & 7) if flags & 128 else 0)
    control = b""
    parts = 0
    while parts < _MOST_PARTS:
        kind = content[at : at + 1]
        parts += 1
        if kind == b",":
            left, top, wide, high = struct.unpack_from("<HHHH", content, at + 1)
            size = max(width, left + wide), max(height, top + high)
            return *size, content[:colours] + control + content[at:]
        if kind != b"!":
            break
        begin = at
        at += 2
        while length := content[at]:
            at += 1 + length
            parts += 1
        at += 1
        if content[begin + 1] == 0xF9 and at - begin == 8:  # has the transparent colour
            control = content[begin:at]
    raise ValueError("no frame")


def measure_webp(content: bytes) -> tuple[int, int]:
    """Width and height of a WebP. Pillow makes a canvas of this size when it opens the file."""
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L" and content[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no frame")


def read_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8: how the camera was turned; 1 if it is not given.

    EXIF 2.3, section 4.6.2.
    """
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, length, value = struct.unpack_from(f"{order}HHIH", block, entry)
            if (tag, kind, length) == (0x0112, 3, 1):
                return value if 1 <= value <= 8 else 1
    except struct.error:  # a broken block is ignored
        pass
    return 1
