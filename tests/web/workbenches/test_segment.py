"""The workbench that marks areas: colours over the picture, and a legend."""

import re

from playwright.sync_api import Page, expect

from tests.support.servers import Serving
from tests.web.workbenches.steps import give_file, golden_picture, open_bench, plain_picture, told

_COUNT_PAINTED = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
  return count / (canvas.width * canvas.height);
}"""


def painted(page: Page) -> float:
    """The share of the picture that has the colour of a label."""
    share: float = page.locator("canvas.stage-layer").evaluate(_COUNT_PAINTED)
    return share


def test_areas_have_colours_and_a_legend(page: Page) -> None:
    """The share of the colours on the picture is the one that the legend and the sentence tell."""
    open_bench(page, "digits-segmenter")
    give_file(page, golden_picture("digits-segmenter"))
    expect(told(page)).to_have_text(re.compile(r"Areas, of all pixels: digit [\d.]+ %\."))
    found = re.search(r"[\d.]+", page.get_by_role("group", name="Labels").locator("li").inner_text())
    assert found is not None
    assert abs(100 * painted(page) - float(found[0])) < 0.6


def test_a_label_is_switched_off_with_the_keyboard(page: Page) -> None:
    """Its colour goes and comes back."""
    open_bench(page, "digits-segmenter")
    give_file(page, golden_picture("digits-segmenter"))
    switch = page.get_by_role("checkbox", name="digit")
    switch.press("Space")
    assert painted(page) == 0
    switch.press("Space")
    assert painted(page) > 0


def test_label_of_a_pixel_and_strength_of_colours(page: Page) -> None:
    """The pointer tells the label under it, one that stands for nothing too; a slider makes the colours weaker."""
    open_bench(page, "digits-segmenter")
    give_file(page, golden_picture("digits-segmenter"))
    page.locator(".stage").hover(position={"x": 3, "y": 3})
    expect(page.get_by_text(re.compile(r"Pixel \d+, \d+: (nothing|digit)"))).to_be_visible()
    page.get_by_role("slider", name="Strength of the colours").fill("0.2")
    expect(page.locator("canvas.stage-layer")).to_have_css("opacity", "0.2")


def test_more_labels_than_a_palette_has(page: Page, uncommon: Serving) -> None:
    """They come as numbers, and each area has its label."""
    open_bench(page, "hundreds", base=uncommon.url)
    give_file(page, plain_picture(32, 32))
    expect(told(page)).to_have_text("Areas, of all pixels: label 0 50 %, label 299 50 %.")
    page.locator(".stage").hover(position={"x": 9, "y": 9})
    expect(page.locator(".pixel-told")).to_have_text("Pixel 0, 0: label 299")
    assert painted(page) == 1
