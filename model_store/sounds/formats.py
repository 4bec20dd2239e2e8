"""Recognises sound files by their first bytes."""

from collections.abc import Callable
from typing import NamedTuple

from model_store.sounds import containers

MEDIA_TYPES = ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg")
NAMES = "WAV, FLAC, OGG or MP3"

_START_BYTES = 16


class Format(NamedTuple):
    """``check`` checks the parts of a file (``containers.py``). It raises ValueError.

    ``subtypes`` are the allowed ones of libsndfile: others need decoders that are of no use here.
    """

    name: str
    check: Callable[[bytes], int]
    subtypes: frozenset[str]


_WAV = Format(
    "WAV",
    containers.check_wav,
    frozenset({"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"}),
)
_FLAC = Format("FLAC", lambda content: 0, frozenset({"PCM_S8", "PCM_16", "PCM_24"}))
_OGG = Format("OGG", containers.check_ogg, frozenset({"VORBIS", "OPUS"}))
_MP3 = Format("MP3", containers.check_mp3, frozenset({"MPEG_LAYER_III"}))


def is_sound(content: bytes | memoryview) -> bool:
    """Whether the first bytes are those of a supported sound."""
    start = bytes(content[:_START_BYTES])
    return start[:3] == b"ID3" or _find(start) is not None


def find_format(content: bytes) -> tuple[Format, bytes] | None:
    """The format of a file, and the file without the tags before it; None for other files. Raises ValueError."""
    content = content[containers.skip_tags(content) :]
    found = _find(content[:_START_BYTES])
    return None if found is None else (found, content)


def _find(start: bytes) -> Format | None:
    if start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE":
        return _WAV
    if start[:4] == b"fLaC":
        return _FLAC
    if start[:4] == b"OggS":
        return _OGG
    return _MP3 if containers.read_frame(start, 0) is not None else None
