"""The workbench that makes rows: a gallery, the way between two seeds, and a diffusion while it runs."""

import re

from playwright.sync_api import Page, expect

from tests.support.servers import Serving, turn_until
from tests.web.workbenches.steps import answer_of, open_bench, told


def generate(page: Page) -> None:
    page.get_by_role("button", name="Generate").click()


def pictures(page: Page) -> list[str]:
    """The addresses of the pictures in the gallery, which hold the pictures."""
    return [str(image.get_attribute("src")) for image in page.locator(".gallery img").all()]


def test_same_seed_gives_the_same_gallery(page: Page) -> None:
    """A row for each label; another seed gives others, and the first seed the same again."""
    open_bench(page, "digits-gan")
    generate(page)
    expect(told(page)).to_have_text("10 rows from seed 1.")
    first = pictures(page)
    assert len(set(first)) == 10
    page.get_by_role("button", name="Another seed").click()
    expect(told(page)).not_to_have_text("10 rows from seed 1.")
    assert not set(first) & set(pictures(page))
    page.get_by_role("spinbutton", name="Seed").fill("1")
    page.get_by_role("spinbutton", name="Seed").press("Enter")
    expect(told(page)).to_have_text("10 rows from seed 1.")
    assert pictures(page) == first


def test_one_label_for_all_rows(page: Page) -> None:
    """Each picture has its label below it, and can be saved."""
    open_bench(page, "digits-gan")
    page.get_by_role("combobox", name="Label").select_option("7")
    page.get_by_role("slider", name="Rows").fill("3")
    generate(page)
    expect(page.locator(".gallery figcaption > span")).to_have_text(["7", "7", "7"])
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save").first.press("Enter")
    assert saved.value.suggested_filename == "generated-1-1.png"


def test_way_between_two_seeds(page: Page) -> None:
    """A slider goes through the frames, which have one label."""
    open_bench(page, "digits-vae", "generate")
    page.get_by_role("radio", name="The way between two seeds").check()
    page.get_by_role("slider", name="Frames").fill("5")
    generate(page)
    expect(told(page)).to_have_text("5 rows on the way from seed 1 to seed 2.")
    frame = page.get_by_role("slider", name="Frame", exact=True)
    first = page.locator(".way-frame img").get_attribute("src")
    frame.press("End")
    expect(answer_of(page)).to_contain_text("Frame 5 of 5")
    assert page.locator(".way-frame img").get_attribute("src") != first
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_diffusion_is_shown_as_it_runs(page: Page) -> None:
    """Pictures come before the last step has, and afterwards a slider shows any step again."""
    open_bench(page, "digits-diffusion")
    page.get_by_role("slider", name="Steps", exact=True).fill("200")
    generate(page)
    page.wait_for_selector(".diffusion progress ~ p:has-text('of 200')")
    assert page.locator(".gallery img").count() > 0
    expect(told(page)).to_have_text(re.compile(r"4 rows from seed 1 in [\d.]+ m?s\."))
    last = pictures(page)
    slider = page.get_by_role("slider", name="Step", exact=True)
    expect(slider).to_have_attribute("aria-valuetext", "Step 200 of 200")
    slider.press("Home")
    assert pictures(page) != last
    slider.press("End")
    assert pictures(page) == last
    expect(answer_of(page).locator("pre").first).to_contain_text("curl -sN")


def test_running_diffusion_is_cancelled(page: Page, server: Serving) -> None:
    """It ends on the server too; the steps that have come stay, and the next request works."""
    open_bench(page, "digits-diffusion")
    page.get_by_role("slider", name="Steps", exact=True).fill("200")
    page.get_by_role("slider", name="Rows").fill("64")
    generate(page)
    page.wait_for_selector(".diffusion img")
    page.get_by_role("button", name="Cancel").click()
    expect(told(page)).to_have_text(re.compile(r"Cancelled (after \d+ of 200 steps|before the first step)\."))
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.get_by_role("button", name="Generate")).to_be_focused()
    runs = server.worker.tasks._open
    turn_until(server.worker.handler.loop, lambda: not runs)
    page.get_by_role("slider", name="Rows").fill("1")
    page.get_by_role("slider", name="Steps", exact=True).fill("3")
    generate(page)
    expect(told(page)).to_contain_text("1 row from seed 1")


def test_failure_in_the_middle_of_a_stream(page: Page, uncommon: Serving) -> None:
    """The sentence of the server is shown above the steps that have come."""
    open_bench(page, "breaking", base=uncommon.url)
    page.get_by_role("slider", name="Steps", exact=True).fill("50")
    generate(page)
    expect(page.get_by_role("alert")).to_contain_text("The model failed on this request")
    expect(page.locator(".gallery code")).to_have_count(4)
    expect(page.get_by_role("slider", name="Step", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_rows_without_labels_and_pictures(page: Page, uncommon: Serving) -> None:
    """Numbers are shown as numbers, and no label is asked for; without a seed each time brings others."""
    open_bench(page, "unnamed", base=uncommon.url)
    expect(page.get_by_role("combobox", name="Label")).to_have_count(0)
    page.get_by_role("spinbutton", name="Seed").fill("")
    generate(page)
    expect(page.locator(".gallery code")).to_have_count(12)
    expect(page.locator(".gallery code").first).to_have_text(re.compile(r"\[-?[\d.]+,-?[\d.]+\]"))
    before = told(page).inner_text()
    generate(page)
    expect(told(page)).not_to_have_text(before)
