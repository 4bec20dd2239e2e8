"""Sounds as files, by libsndfile."""

import base64
import io

import numpy as np
import soundfile

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "float wav": ("WAV", "FLOAT"),
    "adpcm wav": ("WAV", "IMA_ADPCM"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Kind -> format and subtype of libsndfile."""


def sine(seconds: float, rate: int = 16_000, hz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    """float32 [samples]."""
    times = np.arange(round(seconds * rate)) / rate
    return (peak * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def encode(samples: np.ndarray, rate: int = 16_000, kind: str = "wav") -> bytes:
    """Samples [samples] or [samples, channels] as a file."""
    form, subtype = KINDS[kind]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def decode(content: bytes) -> tuple[np.ndarray, int]:
    """The samples of a file, float32 [samples] or [samples, channels], and their rate."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    return samples, rate


def as_row(content: bytes) -> dict[str, str]:
    return {"sound": base64.b64encode(content).decode()}
