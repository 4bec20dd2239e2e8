"""Pictures and sounds: files as bytes, made of what a program has, and given as what it wants."""

import base64
import io
import struct
import wave
import zlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[Any]
Source = str | PathLike[str]
_PNG = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels -> the colour type of PNG."""
_LEVELS = 1 << 15


@dataclass(frozen=True)
class _File:
    data: bytes

    @classmethod
    def open(cls, path: Source) -> Self:
        """The file of this path. Raises OSError."""
        return cls(Path(path).read_bytes())

    def save(self, path: Source) -> Path:
        """Write the file. Returns its path. Raises OSError."""
        target = Path(path)
        target.write_bytes(self.data)
        return target

    def encode(self) -> str:
        """The file in base64."""
        return base64.b64encode(self.data).decode()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.data)} bytes)"


class Picture(_File):
    """A JPEG, PNG, WebP, GIF, TIFF or BMP file.

    ``Picture.open("photo.jpg")``, ``Picture(content)``, ``Picture.of(array)`` and ``Picture.of(pil_image)`` make one.
    """

    @classmethod
    def of(cls, pixels: "Array | Image") -> "Picture":
        """A PNG of an image of Pillow, or of pixels: uint8 [height, width] or [height, width, 1 to 4 channels].

        Raises ValueError for other arrays. Floats from 0 to 1 are ``(255 * pixels).astype("uint8")``.
        """
        if not isinstance(pixels, np.ndarray):
            file = io.BytesIO()
            pixels.save(file, "PNG")
            return cls(file.getvalue())
        shape = (*pixels.shape, 1) if pixels.ndim == 2 else pixels.shape
        if pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] not in _COLOUR_TYPES or 0 in shape:
            raise ValueError(
                "pixels: expected uint8 [height, width] or [height, width, 1 to 4 channels], "
                f"got {pixels.dtype} {list(pixels.shape)}"
            )
        return cls(_encode_png(pixels.reshape(shape)))

    def to_pil(self) -> "Image":
        """The decoded picture. Needs Pillow: ``pip install 'sluice-client[pictures]'``."""
        from PIL import Image

        return Image.open(io.BytesIO(self.data))

    def to_array(self) -> Array:
        """The pixels: uint8 [height, width], or [height, width, channels]. Needs Pillow."""
        return np.asarray(self.to_pil())


class Sound(_File):
    """A WAV, FLAC, OGG or MP3 file.

    ``Sound.open("speech.wav")``, ``Sound(content)`` and ``Sound.of(samples, rate)`` make one.
    """

    @classmethod
    def of(cls, samples: Array, rate: int) -> "Sound":
        """A WAV of 16 bits, of samples [samples] or [samples, channels] from -1 to 1, ``rate`` per second.

        Louder samples are clipped. Raises ValueError for other shapes, NaN, infinity, and a rate below 1.
        """
        if samples.ndim not in (1, 2) or samples.size == 0:
            raise ValueError(f"samples: expected [samples] or [samples, channels], got {list(samples.shape)}")
        if not (isinstance(rate, int | np.integer) and rate >= 1):
            raise ValueError(f"rate: expected a whole number of samples per second, got {rate!r}")
        if not np.isfinite(samples).all():
            raise ValueError("samples: expected finite numbers, got NaN or infinity")
        levels = np.rint(np.asarray(samples, np.float64) * _LEVELS).clip(-_LEVELS, _LEVELS - 1).astype("<i2")
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
            written.setsampwidth(2)
            written.setframerate(int(rate))
            written.writeframes(levels.tobytes())
        return cls(file.getvalue())

    def to_samples(self) -> tuple[Array, int]:
        """Samples [samples], or [samples, channels], float32 from -1 to 1, and how many a second has.

        Raises ValueError for files other than WAV of 16 bits, as the server answers.
        """
        try:
            with wave.open(io.BytesIO(self.data)) as file:
                channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
                content = file.readframes(file.getnframes())
        except (wave.Error, EOFError) as error:
            raise ValueError(f"expected a WAV, got another file ({error})") from None
        if width != 2:
            raise ValueError(f"expected a WAV of 16 bits, got {8 * width}")
        samples = np.frombuffer(content, "<i2").astype(np.float32) / _LEVELS
        return samples if channels == 1 else samples.reshape(-1, channels), rate


def is_sound(content: bytes) -> bool:
    """Whether a file begins as a WAV, FLAC, OGG or MP3 does. All others are taken for pictures."""
    if content[:4] in (b"RIFF", b"RF64"):
        return content[8:12] == b"WAVE"
    is_mp3 = content[:1] == b"\xff" and content[1:2] >= b"\xe0"
    return content[:4] in (b"fLaC", b"OggS") or content[:3] == b"ID3" or is_mp3


def _encode_png(pixels: Array) -> bytes:
    """Pixels [height, width, channels]. Written here, so that Pillow is not needed. PNG, second edition, section 5."""
    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">2I5B", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
