"""Pictures as files: by Pillow, and by hand what it does not write."""

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image as Pillow


def encode(picture: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def as_row(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode()}


def png(width: int, height: int, depth: int, colours: int, lines: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand (PNG specification, section 11): for what Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def claim(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims this size. It has too little content to be decoded."""
    return png(width, height, 8, 0, bytes(8))
