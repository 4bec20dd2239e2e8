"""Writes samples as WAV files."""

import struct

import numpy as np

MEDIA_TYPE = "audio/wav"
_PCM = 1
_LEVELS = 1 << 15


def encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """Samples [samples] from -1 to 1 as a WAV of one channel and 16 bits. Louder samples are clipped."""
    levels = np.rint(samples.astype(np.float32) * np.float32(_LEVELS)).clip(-_LEVELS, _LEVELS - 1).astype("<i2")
    data = levels.tobytes()
    facts = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, rate, 2 * rate, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 4 + len(facts) + 8 + len(data), b"WAVE")
    return b"".join((head, facts, struct.pack("<4sI", b"data", len(data)), data))
