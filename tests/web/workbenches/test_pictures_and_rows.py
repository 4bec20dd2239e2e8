"""What holds in all workbenches for pictures, vectors and made rows: examples, names, narrow windows, dark colours."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.web.checks import check_page, check_width
from tests.web.workbenches.steps import answer_of, open_bench, told

BENCHES = (
    ("digits-detector", "detect"),
    ("digits-segmenter", "segment"),
    ("digits-matcher", "embed"),
    ("language-classifier", "embed"),
    ("digits-denoiser", "reconstruct"),
    ("digits-style", "reconstruct"),
    ("digits-vae", "reconstruct"),
    ("photo-restorer", "reconstruct"),
    ("digits-gan", "generate"),
    ("digits-vae", "generate"),
    ("digits-diffusion", "generate"),
)


@pytest.mark.parametrize(("model", "task"), BENCHES, ids=lambda value: value)
def test_every_example_is_answered(page: Page, model: str, task: str) -> None:
    """Each button fills the form and gives an answer without an error; afterwards the page has no fault."""
    open_bench(page, model, task)
    expect(page.get_by_role("group", name="Examples")).to_contain_text("Try an example")
    for button in page.get_by_role("group", name="Examples").get_by_role("button").all():
        with page.expect_response(lambda response: response.url.endswith(f"/{task}")) as asked:
            button.click()
        assert asked.value.ok
        expect(answer_of(page)).to_have_attribute("aria-busy", "false")
        expect(answer_of(page).get_by_role("heading", name="The same from a program")).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)
    check_page(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        check_width(page, 360)


def test_labels_of_an_example_stay_as_they_are(page: Page) -> None:
    """Three labels of an example are a choice of the list, in their order, and another choice is possible after it."""
    open_bench(page, "digits-gan")
    page.get_by_role("button", name="Three digits").click()
    expect(page.locator(".gallery figcaption > span")).to_have_text(["3", "1", "4"])
    expect(page.get_by_role("combobox", name="Label").locator("option:checked")).to_have_text("3, 1, 4")
    page.get_by_role("combobox", name="Label").select_option("5")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".gallery figcaption > span")).to_have_text(["5", "5", "5"])


def test_leaving_gives_up_a_running_request(page: Page) -> None:
    """Another model begins with an empty answer, and the diffusion that ran before does not write into it."""
    open_bench(page, "digits-diffusion")
    page.get_by_role("slider", name="Steps", exact=True).fill("200")
    page.get_by_role("slider", name="Rows").fill("64")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector(".diffusion img")
    open_bench(page, "digits-gan")
    expect(told(page)).to_have_text(re.compile("The same seed gives the same rows"))
    expect(page.locator(".diffusion")).to_have_count(0)
