"""Sounds: dropped, recorded as WAV, and their windows on a time line."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from tests.support.sounds.encoding import encode
from tests.web.checks import check_page, check_width


def tones(seconds: float, rate: int = 8000) -> np.ndarray:
    """A second of it is loud, the next is soft, and so on."""
    at = np.arange(round(seconds * rate)) / rate
    return (np.where(at.astype(int) % 2 == 0, 0.8, 0.1) * np.sin(2 * np.pi * 50 * at)).astype(np.float32)


def choose(page: Page, name: str, content: bytes) -> None:
    page.locator(".sound-input input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": content})


@pytest.mark.parametrize("kind", ["wav", "flac", "vorbis", "mp3"])
def test_sound_is_written_window_by_window(page: Page, writers: str, kind: str) -> None:
    """Each window has its text on the time line; the browser draws the sound, whichever file it is."""
    page.goto(f"{writers}/#model=listener")
    choose(page, f"seven.{kind}", encode(tones(7.0), 8000, kind))
    expect(page.locator(".written")).to_have_attribute("aria-busy", "false")
    parts = page.locator(".sound-parts button")
    expect(parts).to_have_count(3)
    expect(parts.first).to_have_accessible_name(re.compile(r"Play 0\.0–3\.0 s, [a-z]{6}, "))
    assert (page.locator(".wave").get_attribute("d") or "").count("M") > 50
    assert page.locator(".written").inner_text().split() == parts.locator(".text").all_inner_texts()


def test_symbols_of_a_sound_are_on_its_time_line(page: Page, writers: str) -> None:
    """A model that reads says when each was."""
    page.goto(f"{writers}/#model=speller")
    choose(page, "three.wav", encode(tones(3.0), 8000))
    expect(page.locator(".sound-parts button").first).to_have_accessible_name(re.compile(r"Play 0\.0–\d\.\d s, b"))


def test_file_that_is_no_sound_is_refused_in_a_sentence(page: Page, writers: str, refused: set[str]) -> None:
    """The browser cannot play it, and the server says what it is not."""
    refused.add("/predict_sequence")
    page.goto(f"{writers}/#model=listener")
    choose(page, "text.wav", b"hello")
    expect(page.get_by_role("alert")).to_contain_text("expected a WAV, FLAC, OGG or MP3 sound, got something else")
    expect(page.locator(".sound-view")).to_contain_text("This browser cannot play it")
    expect(page.locator(".written")).to_have_attribute("aria-busy", "false")


MICROPHONE = """() => {
  const context = new AudioContext();
  const tone = new OscillatorNode(context, { frequency: 440 });
  const sink = context.createMediaStreamDestination();
  tone.connect(sink);
  tone.start();
  globalThis.microphone = sink.stream.getTracks()[0];
  navigator.mediaDevices.getUserMedia = async () => sink.stream;
}"""


def test_recording_is_sent_as_wav(page: Page, writers: str) -> None:
    """What the microphone hears, in one channel of 16 bits, which the server reads and writes of."""
    page.goto(f"{writers}/#model=listener")
    page.get_by_role("button", name="Record").wait_for()
    page.evaluate(MICROPHONE)
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("timer")).to_contain_text(re.compile(r"^[1-9]\.\d of 20 s"))
    with page.expect_request("**/predict_sequence") as sent:
        page.get_by_role("button", name="Stop recording").click()
    sound = soundfile.SoundFile(io.BytesIO(base64.b64decode(sent.value.post_data_json["inputs"][0]["sound"])))
    assert (sound.format, sound.subtype, sound.channels) == ("WAV", "PCM_16", 1)
    samples = sound.read()
    assert len(samples) > sound.samplerate
    heard = np.abs(np.fft.rfft(samples))
    assert np.argmax(heard) * sound.samplerate / len(samples) == pytest.approx(440, abs=2)
    expect(page.locator(".written")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".sound-view")).to_contain_text("recording.wav")
    check_page(page)
    check_width(page, 360)


def test_microphone_is_off_when_the_page_is_left(page: Page, writers: str) -> None:
    """Nothing of the recording is sent."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{writers}/#model=listener")
    page.get_by_role("button", name="Record").wait_for()
    page.evaluate(MICROPHONE)
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("timer")).to_contain_text("of 20 s")
    page.get_by_role("link", name="All models").click()
    page.wait_for_function("() => globalThis.microphone.readyState === 'ended'")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    assert not [url for url in asked if url.endswith("/predict_sequence")]


def test_microphone_that_is_refused_is_said(page: Page, writers: str) -> None:
    """With what one can do."""
    page.goto(f"{writers}/#model=listener")
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("microphone.*drop a file", re.IGNORECASE))
