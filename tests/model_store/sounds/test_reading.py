import io

import numpy as np
import pytest
import soundfile
import soxr

from model_store.errors import SoundTooLong, UnreadableSound
from model_store.sounds.reading import read_sound
from model_store.sounds.writing import encode_wav
from model_store.tasks import Sound
from tests.support.sounds.encoding import KINDS, encode, sine

MOST = 1 << 24
FACTS = Sound(input="samples", rate=16_000)


def read(content: bytes, facts: Sound = FACTS, most: int = MOST) -> np.ndarray:
    return read_sound(content, facts, most, "body")


def difference_db(found: np.ndarray, wanted: np.ndarray) -> float:
    """The power of the difference relative to what is wanted."""
    return float(10 * np.log10(np.mean(np.square(found - wanted)) / np.mean(np.square(wanted))))


@pytest.mark.parametrize("kind", ["wav", "float wav", "flac"])
def test_lossless_file_gives_its_samples(kind: str) -> None:
    """To the last bit of 16, or of float32."""
    samples = sine(0.3)
    given = read(encode(samples, kind=kind))
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, samples, atol=0.0 if kind == "float wav" else 2**-15)


@pytest.mark.parametrize(("kind", "limit_db"), [("vorbis", -20), ("opus", -20), ("mp3", -20), ("adpcm wav", -20)])
def test_lossy_file_gives_about_its_samples(kind: str, limit_db: float) -> None:
    """A sine keeps its length, place and height. ADPCM is written in whole blocks."""
    samples = sine(1.0)
    given = read(encode(samples, kind=kind))
    if kind != "adpcm wav":
        assert len(given) == len(samples)
    middle = slice(2000, -2000)
    assert difference_db(given[: len(samples)][middle], samples[middle]) < limit_db


def test_channels_are_averaged() -> None:
    """Left and right of opposite signs are silence; one of two channels counts half."""
    left = sine(0.1)
    np.testing.assert_array_equal(read(encode(np.stack([left, -left], 1), kind="float wav")), 0 * left)
    given = read(encode(np.stack([left, 0 * left], 1), kind="float wav"))
    np.testing.assert_allclose(given, left / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_rate_becomes_that_of_the_model(rate: int) -> None:
    """A sine at another rate is the same sine: the difference is below -60 dB, apart from both ends."""
    given = read(encode(sine(1.0, rate), rate, "float wav"))
    wanted = sine(1.0)
    assert abs(len(given) - len(wanted)) <= 1
    middle = slice(500, 15_000)
    assert difference_db(given[middle], wanted[middle]) < -60


def test_blocks_are_resampled_as_the_whole() -> None:
    """A file of several blocks gives the same bits as soxr's HQ over all samples at once."""
    noise = np.random.default_rng(0).standard_normal(700_000).astype(np.float32)
    given = read(encode(noise, 44_100, "float wav"))
    np.testing.assert_array_equal(given, soxr.resample(noise, 44_100, 16_000, "HQ"))


def test_quieter_sound_is_raised_to_the_level() -> None:
    """Its RMS is then -30 dB of full scale; a louder one and silence stay."""
    facts = FACTS.model_copy(update={"level_dbfs": -30.0})
    quiet, loud = read(encode(sine(1.0, peak=0.001), kind="float wav"), facts), sine(1.0, peak=0.9)
    assert 20 * np.log10(np.sqrt(np.mean(np.square(quiet)))) == pytest.approx(-30, abs=1e-3)
    np.testing.assert_array_equal(read(encode(loud, kind="float wav"), facts), loud)
    np.testing.assert_array_equal(read(encode(0 * loud, kind="float wav"), facts), 0 * loud)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.999, 0.5, 0.1, 0.001])
def test_cut_file_is_refused(kind: str, share: float) -> None:
    """Whatever is missing at its end: no answer is about a part of a sound."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    content = encode(noise, kind=kind)
    with pytest.raises(UnreadableSound, match=r"^body: expected a WAV, FLAC, OGG or MP3 sound, got "):
        read(content[: int(share * len(content))])


@pytest.mark.parametrize("kind", ["flac", "vorbis", "opus", "mp3"])
def test_damaged_file_is_refused(kind: str) -> None:
    """Bytes in its middle that are others."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    content = bytearray(encode(noise, kind=kind))
    at = len(content) // 2
    content[at : at + 1000] = b"\xaa" * 1000
    with pytest.raises(UnreadableSound, match=r"got a damaged one \(.+\)$"):
        read(bytes(content))


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "got nothing"),
        (b"hello", "got something else"),
        (b'{"inputs": []}', "got something else"),
        (b"RIFF\x04\0\0\0WAVE", r"got a damaged one \(no samples\)"),
        (b"fLaC", "got a damaged one"),
        (b"OggS", r"got a damaged one \(it ends within a page\)"),
        (b"ID3", "got something else"),
        (b"ID3\x04\0\0\xff\0\0\0", r"got a damaged one \(a tag without a size\)"),
        (b"\xff\xfb\x90\x00", r"got a damaged one \(it ends within a frame\)"),
        (b"II*\0" + bytes(100), "got something else"),
    ],
)
def test_other_file_is_refused(content: bytes, got: str) -> None:
    """The message says what came."""
    with pytest.raises(UnreadableSound, match=got):
        read(content)


def test_other_kind_of_wav_is_refused() -> None:
    """GSM in a WAV takes a decoder that nobody needs."""
    buffer = io.BytesIO()
    soundfile.write(buffer, sine(0.5, 8000), 8000, format="WAV", subtype="GSM610")
    with pytest.raises(UnreadableSound, match="body: expected a WAV of a usual kind, got GSM"):
        read(buffer.getvalue())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_sample_that_is_not_finite_is_refused(value: float) -> None:
    """Nor one that is infinite as float32."""
    samples = sine(0.1).astype(np.float64)
    samples[7] = value
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([samples, samples], 1), 8000, format="WAV", subtype="DOUBLE")
    with pytest.raises(UnreadableSound, match="body: expected finite samples"):
        read(buffer.getvalue())


def test_integers_in_place_of_samples_are_refused() -> None:
    """Numbers far beyond full scale would give a wrong answer, or none; a little beyond it is a loud sound."""
    with pytest.raises(UnreadableSound, match=r"body: expected samples from -1 to 1, got one of size 32000: divide"):
        read_sound(encode(np.array([0, 32000], np.float32), kind="float wav"), FACTS, 1000, "body")
    assert read_sound(encode(np.array([0, 4], np.float32), kind="float wav"), FACTS, 1000, "body").max() == 4


def test_faintest_sound_stays_finite() -> None:
    """What is nearly silence cannot be raised to a level."""
    facts = FACTS.model_copy(update={"level_dbfs": -30.0})
    samples = np.array([0, 1e-44], np.float32)
    assert np.isfinite(read_sound(encode(samples, kind="float wav"), facts, 1000, "body")).all()


def test_long_sound_is_refused_before_it_is_decoded() -> None:
    """A short file may be hours long: the header says so, and nothing is decoded."""
    content = bytearray(encode(np.zeros(1600, np.float32), kind="flac"))
    content[21] |= 0x0F  # the samples of a stream: 36 bits of STREAMINFO
    content[22:26] = b"\xff\xff\xff\xff"
    with pytest.raises(SoundTooLong, match=r"body: expected a sound of at most 600 s, got more than a million$"):
        read(bytes(content))
    with pytest.raises(SoundTooLong, match=r"at most 0\.5 s, got 1\.0 s"):
        read(encode(sine(1.0)), FACTS.model_copy(update={"longest_s": 0.5}))


def test_sound_that_does_not_say_its_length_ends_where_it_is_too_long() -> None:
    """A FLAC of a stream has no length: it is decoded up to the limit."""
    content = bytearray(encode(sine(1.0), kind="flac"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert len(read(bytes(content))) == 16_000
    with pytest.raises(SoundTooLong, match=r"at most 0\.5 s"):
        read(bytes(content), FACTS.model_copy(update={"longest_s": 0.5}))


def test_samples_are_limited_over_all_channels_and_after_resampling() -> None:
    """Two channels count twice, and eight times the rate counts eight times."""
    stereo = encode(np.zeros((1000, 2), np.float32))
    with pytest.raises(SoundTooLong, match=r"body: expected at most 1999 samples .*, got 2000"):
        read(stereo, most=1999)
    assert len(read(stereo, most=2000)) == 1000
    with pytest.raises(SoundTooLong, match=r"expected at most 7999 samples .*, got 8000"):
        read(encode(np.zeros(500, np.float32), 1000), most=7999)


def test_rate_far_from_that_of_the_model_is_refused() -> None:
    """Resampling by a factor of thousands takes memory and says nothing."""
    with pytest.raises(UnreadableSound, match=r"expected a rate near the 16000 Hz of the model, .*, got 1 Hz"):
        read(encode(np.zeros(5, np.float32), 1))


def test_reading_ends_when_nobody_waits() -> None:
    """What is called between blocks may raise."""
    blocks = []

    def check(samples: int) -> None:
        blocks.append(samples)
        if len(blocks) == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        read_sound(encode(np.zeros(1_000_000, np.float32)), FACTS, MOST, "body", check)
    assert len(blocks) == 2


def test_tags_before_and_after_a_file_are_no_damage() -> None:
    """ID3 before MP3 and FLAC, and ID3v1 behind an MP3."""
    tag = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    mp3, flac = encode(sine(0.5), kind="mp3"), encode(sine(0.5), kind="flac")
    np.testing.assert_array_equal(read(tag + mp3 + b"TAG" + bytes(125)), read(mp3))
    np.testing.assert_array_equal(read(tag + tag + flac), read(flac))


def test_wav_of_a_pipe_ends_with_the_file() -> None:
    """Programs that write into a pipe announce the largest size."""
    content = bytearray(encode(sine(0.5)))
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    assert len(read(bytes(content))) == 8000


def test_mp3_of_varying_rate_without_its_header_is_refused() -> None:
    """Decoders guess how long it is, and would give a part."""
    samples = np.concatenate([sine(5.0), 0.3 * np.random.default_rng(0).standard_normal(160_000).astype(np.float32)])
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    content = buffer.getvalue()
    assert len(read(content)) == len(samples)
    with pytest.raises(UnreadableSound, match="samples are announced"):
        read(content[288:])


def test_written_wav_is_read_as_it_was() -> None:
    """Within half a step of 16 bits, and clipped at full scale."""
    samples = np.concatenate([sine(0.1), np.array([1.5, -1.5], np.float32)])
    given = read(encode_wav(samples, 16_000))
    np.testing.assert_allclose(given, samples.clip(-1, 1 - 2**-15), atol=2**-16 + 1e-9)
