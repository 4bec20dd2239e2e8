"""Checks the parts of a file before libsndfile reads it, because libsndfile accepts a file that was cut short.

All functions raise ValueError for damaged files. A check returns the least number of samples in a channel that the file
must have; 0 if libsndfile checks this itself.
"""

from typing import NamedTuple

_UNKNOWN_BYTES = 0x7FFFF000
"""Programs that write into a pipe do not know the size, and write this number or a larger one."""
_MOST_PARTS = 1 << 18
"""The most pages, frames or chunks that are checked. In an MP3, so many frames last for hours."""
_MOST_TAGS = 16
_ID3_BYTES = 10
_PAGE_BYTES = 27
"""The header of an OGG page. Its last byte is the number of segments of the page."""
_VERSION_1 = 3
"""The bits of version 1 in an MPEG frame."""
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Sample rates by the bits of the version: 1, 2, 2.5."""
_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")
"""The first bytes of the tags that may follow the frames of an MP3."""
_FREE_FRAMES = 4
"""Players skip beginning, end and header of an MP3. Together these are shorter than this many frames."""


class Frame(NamedTuple):
    """One frame of an MP3 (ISO 11172-3, section 2.4.1.3): its size, and its samples of a channel."""

    size_bytes: int
    samples: int


def skip_tags(content: bytes) -> int:
    """The position after ID3 tags, which may precede MP3 and FLAC."""
    at = 0
    for _ in range(_MOST_TAGS):
        if content[at : at + 3] != b"ID3" or len(content) < at + _ID3_BYTES:
            break
        size = 0
        for byte in content[at + 6 : at + _ID3_BYTES]:
            if byte > 0x7F:
                raise ValueError("a tag without a size")
            size = size << 7 | byte
        has_footer = bool(content[at + 5] & 0x10)
        at += _ID3_BYTES * (1 + has_footer) + size
    if at:
        at += len(content[at:]) - len(content[at:].lstrip(b"\0"))
    return at


def check_wav(content: bytes) -> int:
    """Refuse files that end before their samples do."""
    if content[:4] == b"RF64":  # it stores its sizes elsewhere
        return 0
    at = 12
    for _ in range(_MOST_PARTS):
        if at + 8 > len(content):
            break
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        left = len(content) - at - 8
        if kind == b"data":
            if left < size < _UNKNOWN_BYTES:
                raise ValueError(f"{size} bytes of samples are announced, {left} came")
            return 0
        at += 8 + size + size % 2
    raise ValueError("no samples")


def check_ogg(content: bytes) -> int:
    """Refuse files that end within a page (RFC 3533, section 6)."""
    at = 0
    for _ in range(_MOST_PARTS):
        if at >= len(content):
            break
        if content[at : at + 4] != b"OggS"[: len(content) - at]:
            raise ValueError(f"no page at byte {at}")
        head = content[at : at + _PAGE_BYTES]
        segments = content[at + _PAGE_BYTES : at + _PAGE_BYTES + head[-1]]
        if len(head) < _PAGE_BYTES or len(segments) < head[-1]:
            raise ValueError("it ends within a page")
        at += _PAGE_BYTES + len(segments) + sum(segments)
    if at != len(content):
        raise ValueError("it ends within a page" if at > len(content) else f"more than {_MOST_PARTS} pages")
    return 0


def check_mp3(content: bytes) -> int:
    """Refuse files that end within a frame, or have other bytes between frames. Returns the least number of samples."""
    at = frames = samples = 0
    while frames < _MOST_PARTS and (frame := read_frame(content, at)) is not None:
        at += frame.size_bytes
        frames += 1
        samples += frame.samples
    if at > len(content):
        raise ValueError("it ends within a frame")
    rest = content[at : at + 16].lstrip(b"\0")
    if rest and not rest.startswith(_TAGS) and frames < _MOST_PARTS:
        raise ValueError(f"no frame at byte {at}")
    return samples - samples * min(_FREE_FRAMES, frames) // frames


def read_frame(content: bytes, at: int) -> Frame | None:
    """The frame of layer III that begins at a position; None if there is none."""
    header = int.from_bytes(content[at : at + 4], "big")
    version, layer, kbits, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or layer != 1 or version not in _RATES or kbits in (0, 15) or rate == 3:
        return None
    is_first = version == _VERSION_1
    kbits_s = (_KBITS if is_first else _KBITS_2)[kbits]
    size_bytes = (144_000 if is_first else 72_000) * kbits_s // _RATES[version][rate] + (header >> 9 & 1)
    return Frame(size_bytes, 1152 if is_first else 576)
