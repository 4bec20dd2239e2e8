"""The workbench that reconstructs: before and after, the differences, and the verdict on anomalies."""

import io
import re

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from tests.support.servers import Serving
from tests.web.workbenches.steps import answer_of, digit, draw_line, give_file, open_bench, plain_picture, told
from tests.web.workbenches.uncommon_models import RATE


def test_slider_between_before_and_after(page: Page) -> None:
    """Arrow keys move the line between the two pictures; the differences are a third one."""
    open_bench(page, "digits-denoiser")
    give_file(page, digit(3))
    expect(told(page)).to_have_text(re.compile(r"Before and after differ by [\d.]+\."))
    slider = page.get_by_role("slider", name=re.compile("before"))
    slider.press("ArrowRight")
    expect(slider).to_have_value("51")
    assert page.locator(".before-after").evaluate("stage => stage.style.getPropertyValue('--at')") == "51%"
    for name in ("Before", "After", "Difference"):
        expect(page.get_by_role("img", name=re.compile(name))).to_be_visible()
    page.get_by_role("checkbox", name="Show where they differ").uncheck()
    expect(page.get_by_role("img", name=re.compile("Difference"))).to_have_count(0)


@pytest.mark.parametrize(
    ("picture", "verdict"), [(digit(3), "As usual"), (plain_picture(8, 8, (255, 255, 255)), "Anomaly")]
)
def test_verdict_on_a_row(page: Page, picture: bytes, verdict: str) -> None:
    """With the score beside the threshold, in words and as a scale."""
    open_bench(page, "digits-vae")
    give_file(page, picture)
    expect(page.locator(".verdict strong")).to_have_text(verdict)
    expect(page.locator(".verdict")).to_contain_text(re.compile(r"Score [\d.,]+, limit 25\.9"))
    expect(told(page)).to_contain_text("anomaly" if verdict == "Anomaly" else "usual")


def test_drawing_is_reconstructed(page: Page) -> None:
    """A line by mouse is a picture too."""
    open_bench(page, "digits-vae")
    draw_line(page)
    expect(told(page)).to_contain_text("differ by")


def test_graph_is_chosen(page: Page) -> None:
    """A model with two graphs asks which one; the other is asked at once."""
    open_bench(page, "digits-style")
    give_file(page, digit(3))
    expect(told(page)).to_contain_text("differ by")
    with page.expect_request(lambda request: request.url.endswith("/reconstruct")) as asked:
        page.get_by_role("combobox", name="Graph").select_option("thin")
    assert asked.value.post_data_json["graph"] == "thin"


def test_photograph_keeps_its_size(page: Page) -> None:
    """A model of any size answers with as many pixels."""
    open_bench(page, "photo-restorer")
    give_file(page, plain_picture(120, 80))
    expect(told(page)).to_contain_text("differ by")
    after = page.get_by_role("img", name="After")
    assert after.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [120, 80]
    expect(page.get_by_role("link", name="Save the picture after")).to_have_attribute("download", "reconstruction.png")


def test_sound_is_played_before_and_after(page: Page, uncommon: Serving) -> None:
    """Both have a player that can play, and a button goes from one to the other."""
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.5 * np.sin(np.arange(RATE) / 5), RATE, format="WAV")
    open_bench(page, "quieter", base=uncommon.url)
    give_file(page, buffer.getvalue(), "tone.wav", "audio/wav")
    expect(told(page)).to_have_text(re.compile(r"Before and after differ by 0\.17\d\."))
    for name in ("Before", "After"):
        player = page.locator(f"audio[aria-label={name}]")
        page.wait_for_function("audio => Math.abs(audio.duration - 1) < 0.01", arg=player.element_handle())
    expect(answer_of(page).locator(".wave")).to_have_count(2)
    page.get_by_role("button", name="Switch between before and after").click()
    page.wait_for_function("() => !document.querySelector('audio[aria-label=Before]').paused")


def test_rows_of_numbers(page: Page, uncommon: Serving) -> None:
    """Curves and a table; over its threshold a row is an anomaly."""
    open_bench(page, "rows", base=uncommon.url)
    field = page.get_by_role("textbox", name="The row")
    field.fill("[1, 2, 3, 50, 4, 9, 2, 7, 90]")
    page.get_by_role("button", name="Reconstruct").click()
    expect(page.locator(".verdict strong")).to_have_text("Anomaly")
    expect(answer_of(page).get_by_role("row", name="3 50 25")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Before and after: from 0.5 to 90"))).to_be_visible()
    field.fill("[1, 2")
    page.get_by_role("button", name="Reconstruct").click()
    expect(page.get_by_role("alert")).to_contain_text("expected JSON")
    expect(page.locator(".verdict")).to_have_count(0)
