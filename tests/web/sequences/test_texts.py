"""The workbench of models that write or read texts: as they grow, by beams, drawn, and from pictures."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.web.checks import check_page, check_width


def write(page: Page) -> None:
    page.get_by_role("button", name="Write", exact=True).click()


def test_examples_of_texts_answer(page: Page) -> None:
    """Each is a click: a translation, and captions of pictures."""
    for model in ("date-translator", "digits-captioner"):
        page.goto(f"/#model={model}")
        examples = page.locator(".examples button")
        examples.first.wait_for()
        for example in examples.all():
            example.click()
            expect(page.locator(".written")).to_have_attribute("aria-busy", "false")
            expect(page.locator(".written")).not_to_have_text("(nothing)")
            expect(page.get_by_role("alert")).to_have_count(0)


def test_text_grows_as_it_is_written(page: Page) -> None:
    """Event by event, and at the end a screen reader hears all of it."""
    page.goto("/#model=date-translator")
    page.get_by_label("Text", exact=True).fill("Saturday, December 31, 2022")
    page.evaluate(
        """() => {
          window.grown = [];
          const see = () => window.grown.push(document.querySelector(".written")?.textContent ?? "");
          const all = { childList: true, characterData: true, subtree: true };
          new MutationObserver(see).observe(document.querySelector(".texts"), all);
        }"""
    )
    with page.expect_request("**/predict_sequence") as sent:
        write(page)
    assert sent.value.post_data_json["stream"] is True
    expect(page.locator(".written")).to_have_text("Samstag, 31. Dezember 2022")
    expect(page.get_by_role("status").filter(has_text="Written: Samstag, 31. Dezember 2022")).to_have_count(1)
    assert all("Samstag, 31. Dezember 2022".startswith(text) for text in page.evaluate("window.grown"))
    expect(page.get_by_text(re.compile("The first of 27 events came after"))).to_be_visible()


def test_beams_answer_at_once(page: Page) -> None:
    """A search may change what it has written, so it is not streamed, and its time is split."""
    page.goto("/#model=date-translator")
    page.get_by_label("Text", exact=True).fill("May 1, 2024")
    page.get_by_label("How").select_option("beams")
    with page.expect_request("**/predict_sequence") as sent:
        write(page)
    assert sent.value.post_data_json["beams"] == 3
    assert "stream" not in sent.value.post_data_json
    expect(page.locator(".time-parts")).to_contain_text("computing")


def test_text_that_the_model_cannot_read_is_refused_in_a_sentence(page: Page, refused: set[str]) -> None:
    """The one of the server; and an empty text is not sent."""
    refused.add("/predict_sequence")
    page.goto("/#model=date-translator")
    page.get_by_label("Text", exact=True).wait_for()
    write(page)
    expect(page.get_by_role("alert")).to_have_text("Write a text first, or choose an example.")
    page.get_by_label("Text", exact=True).fill("日")
    write(page)
    expect(page.get_by_role("alert")).to_contain_text("expected characters that model 'date-translator' knows")


def test_draws_are_several_texts(page: Page, writers: str) -> None:
    """One for each seed, as many as are asked for; the last may be repeated by its seed."""
    page.goto(f"{writers}/#model=counter")
    page.get_by_label(re.compile("Prompt")).fill("ab")
    page.get_by_label("How").select_option("draws")
    page.get_by_label("Temperature").fill("2")
    page.get_by_label("Draws").fill("4")
    page.get_by_label("Seed").fill("7")
    write(page)
    expect(page.locator(".written[aria-busy=false]")).to_have_count(4)
    assert page.locator(".written-card h3").all_inner_texts() == ["Seed 7", "Seed 8", "Seed 9", "Seed 10"]
    assert len(set(page.locator(".written").all_inner_texts())) > 1


def test_text_ends_before_a_stop(page: Page, writers: str) -> None:
    """And after so many tokens."""
    page.goto(f"{writers}/#model=counter")
    page.get_by_label(re.compile("Prompt")).fill("ab")
    page.get_by_label("Stop before").fill("f")
    write(page)
    expect(page.locator(".written")).to_have_text("cde")
    page.get_by_label("Stop before").fill("")
    page.get_by_label("At most so many tokens").fill("2")
    page.get_by_label(re.compile("Prompt")).press("Control+Enter")
    expect(page.locator(".written")).to_have_text("cd")
    expect(page.locator(".written-card")).to_contain_text("cut at the longest length")
    check_page(page)
    check_width(page, 360)


@pytest.fixture
def line() -> bytes:
    """A picture that reads abba."""
    levels = np.array([[0, 100, 100, 0, 200, 0, 0, 200, 200, 0, 100, 0]], np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.repeat(levels, 4, axis=0)).save(file, "png")
    return file.getvalue()


def test_picture_is_read_and_its_symbols_have_places(page: Page, writers: str, line: bytes) -> None:
    """A box for each symbol, below the part of the picture that it was read from."""
    page.goto(f"{writers}/#model=line-reader")
    picture = {"name": "line.png", "mimeType": "image/png", "buffer": line}
    page.locator(".picture-input input[type=file]").set_input_files(picture)
    expect(page.locator(".written")).to_have_text("abba")
    assert page.locator(".pieces li").all_inner_texts() == ["a", "b", "b", "a"]
    begins = [
        float(style.removesuffix("%"))
        for style in page.locator(".pieces li").evaluate_all("all => all.map((each) => each.style.left)")
    ]
    assert begins == pytest.approx([100 / 12, 400 / 12, 700 / 12, 1000 / 12], abs=0.1)
