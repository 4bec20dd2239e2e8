"""Reads sound files as samples of one channel at the rate of a model. Limits are checked before anything is decoded.

A file is recognised by its first bytes (``formats.py``), and its parts are checked (``containers.py``). libsndfile
decodes it in blocks, whose channels are averaged and resampled by soxr (HQ). So memory holds little more than the
result.
"""

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from model_store.errors import SoundTooLong, StoreError, UnreadableSound
from model_store.sounds.formats import NAMES, find_format
from model_store.tasks import Sound

if TYPE_CHECKING:
    import soundfile

_BLOCK_VALUES = 1 << 18
"""Values that are decoded at a time, over all channels. It takes a few milliseconds; then the caller may have gone."""
_MOST_FACTOR = 1000
"""The rate of a file may be at most this many times higher or lower than that of the model."""
_MOST_CHANNELS = 64
_MOST_PEAK = 100.0
"""The largest sample. Full scale is -1 to 1. Sounds may be louder, but not by this much."""
_MOST_FACTOR_OF_LEVEL = 1e30
"""The largest factor, because it must be finite. Sounds that would need more are as good as silence."""
_UNKNOWN = 1 << 62
"""The length that libsndfile gives if a file does not have one."""

CheckBlock = Callable[[int], None]
"""Called with the number of samples of a block, over all channels. Raises if decoding must stop."""


def require_library(where: str) -> None:
    """Raises StoreError if sounds cannot be decoded; ``where`` needs it."""
    try:
        import soundfile  # noqa: F401
        import soxr  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
        raise StoreError(
            f"{where}: sounds need the libraries soundfile and soxr: install sluice-serving[sound]"
        ) from error


def read_sound(
    content: bytes, facts: Sound, max_samples: int, where: str, check: CheckBlock = lambda samples: None
) -> np.ndarray:
    """The samples of a file, float32 [samples], from -1 to 1, at the rate of the model and at its level.

    ``max_samples`` limits what is decoded, over all channels. ``where`` names the sound in messages. ``check`` is
    called for each block. Raises UnreadableSound, SoundTooLong, and what ``check`` raises.
    """
    import soundfile

    if not content:
        raise UnreadableSound(f"{where}: expected a {NAMES} sound, got nothing")
    try:
        found = find_format(content)
        if found is None:
            raise UnreadableSound(f"{where}: expected a {NAMES} sound, got something else")
        form, content = found
        least = form.check(content)
        with _open(content) as file:
            if file.subtype not in form.subtypes:
                raise UnreadableSound(f"{where}: expected a {form.name} of a usual kind, got {file.subtype_info}")
            samples = _decode(file, least, facts, max_samples, where, check)
    except ValueError as error:
        raise UnreadableSound(f"{where}: expected a {NAMES} sound, got a damaged one ({error})") from None
    except soundfile.SoundFileError as error:
        raise UnreadableSound(f"{where}: expected a {NAMES} sound, got a damaged one ({_reword(error)})") from None
    fault = find_fault(samples)
    if fault is not None:
        raise UnreadableSound(f"{where}: {fault}")
    return raise_level(samples, facts)


def find_fault(samples: np.ndarray) -> str | None:
    """What is wrong with samples; None if nothing is. They must be finite and near -1 to 1, not integers."""
    peak = float(np.abs(samples).max(initial=0))
    if not np.isfinite(peak):
        return "expected finite samples, got NaN or infinite ones"
    if peak > _MOST_PEAK:
        return f"expected samples from -1 to 1, got one of size {peak:g}: divide integers of 16 bits by 32768"
    return None


def raise_level(samples: np.ndarray, facts: Sound) -> np.ndarray:
    """Samples raised to the level that the model wants. Silence stays silent."""
    if facts.level_dbfs is None or not len(samples):
        return samples
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    wanted = 10 ** (facts.level_dbfs / 20)
    if not 0 < level < wanted:
        return samples
    factor = np.float32(min(wanted / level, _MOST_FACTOR_OF_LEVEL))
    louder: np.ndarray = samples * factor
    return louder


def _decode(
    file: "soundfile.SoundFile",
    least: int,
    facts: Sound,
    max_samples: int,
    where: str,
    check: CheckBlock,
) -> np.ndarray:
    """Raises SoundTooLong: before the first block if the file has its length, else when it turns out too long."""
    rate, channels = file.samplerate, file.channels
    if not facts.rate / _MOST_FACTOR <= rate <= facts.rate * _MOST_FACTOR or channels > _MOST_CHANNELS:
        got = f"{rate} Hz and {channels} channels"
        raise UnreadableSound(
            f"{where}: expected a rate near the {facts.rate} Hz of the model, and at most {_MOST_CHANNELS} channels, "
            f"got {got}"
        )

    def check_length(count: int) -> None:
        if count > facts.longest_s * rate:
            raise SoundTooLong(
                f"{where}: expected a sound of at most {facts.longest_s:g} s, got {_show_seconds(count / rate)}"
            )
        most = max(count * channels, count * facts.rate // rate)
        if most > max_samples:
            raise SoundTooLong(
                f"{where}: expected at most {max_samples} samples of all channels, at the rate of the file and at that "
                f"of the model, got {most}"
            )

    if file.frames < _UNKNOWN:
        least = max(least, file.frames)
    check_length(least)
    resampler = _Resampler(rate, facts.rate)
    blocks, count = [], 0
    for block in _read_blocks(file):
        count += len(block)
        check_length(count)
        check(block.size)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            mono = block.mean(axis=1) if channels > 1 else block[:, 0].copy()
        blocks.append(resampler.add(mono))
    if count < least:
        raise ValueError(f"{least} samples are announced, {count} came")
    blocks.append(resampler.end())
    return np.concatenate(blocks)


def _open(content: bytes) -> "soundfile.SoundFile":
    import soundfile

    class Stream(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
        def seekable(self) -> bool:
            """False: else soundfile seeks after each block, which fails at the end of a FLAC without a length."""
            return False

    return Stream(io.BytesIO(content))


def _read_blocks(file: "soundfile.SoundFile") -> Iterator[np.ndarray]:
    """Blocks, float32 [samples, channels], never empty. Each block is overwritten by the next one."""
    buffer = np.empty((max(1, _BLOCK_VALUES // file.channels), file.channels), np.float32)
    while len(block := file.read(out=buffer)):
        yield block


class _Resampler:
    """Resamples block by block, with the same result as for all samples at once."""

    def __init__(self, given: int, wanted: int) -> None:
        self._stream: Any = None
        if given != wanted:
            import soxr

            self._stream = soxr.ResampleStream(given, wanted, 1, dtype="float32", quality="HQ")

    def add(self, samples: np.ndarray) -> np.ndarray:
        return samples if self._stream is None else self._resample(samples, False)

    def end(self) -> np.ndarray:
        nothing = np.empty(0, np.float32)
        return nothing if self._stream is None else self._resample(nothing, True)

    def _resample(self, samples: np.ndarray, last: bool) -> np.ndarray:
        made: np.ndarray = self._stream.resample_chunk(samples, last=last)
        return made


def _show_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 1e6 else "more than a million"


def _reword(error: Exception) -> str:
    """The cause that libsndfile gives, without the name of a Python object."""
    return str(error).rpartition("Error ")[2].rpartition(": ")[2].strip().rstrip(".")
