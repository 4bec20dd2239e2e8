"""The workbench that finds objects: boxes, labels, points, masks, and a threshold that filters live."""

import re

import pytest
from PIL import Image as Pillow
from playwright.sync_api import Page, expect

from tests.support.pictures.encoding import encode
from tests.support.servers import Serving
from tests.web.workbenches.steps import (
    answer_of,
    give_file,
    golden_picture,
    open_bench,
    plain_picture,
    told,
    watch_requests,
)

ORIENTATION = 0x0112


@pytest.fixture
def scene() -> bytes:
    """A photograph with digits."""
    return golden_picture("digits-detector")


def test_boxes_lie_over_the_picture(page: Page, scene: bytes) -> None:
    """A chosen file gives boxes with labels, a row of a table for each, and the programs that do the same."""
    open_bench(page, "digits-detector")
    give_file(page, scene)
    expect(told(page)).to_have_text(re.compile(r"\d+ objects? with a score of 0\.53 or more: .+\."))
    count = page.locator(".mark:not([hidden])").count()
    assert count > 0
    expect(page.locator("table.found tbody tr")).to_have_count(count)
    expect(page.get_by_role("img", name=re.compile("with a score of"))).to_be_visible()
    expect(answer_of(page).locator("pre").first).to_contain_text("/detect")


def test_threshold_filters_without_asking_again(page: Page, scene: bytes) -> None:
    """Arrow keys move it; boxes come and go at once, because the answer has those with lower scores too."""
    open_bench(page, "digits-detector")
    asked = watch_requests(page, "/detect")
    give_file(page, scene)
    expect(told(page)).to_contain_text("0.53 or more")
    slider = page.get_by_role("slider", name="Least score")
    before = page.locator(".mark:not([hidden])").count()
    slider.press("PageDown")
    slider.press("ArrowLeft")
    slider.fill("0.06")
    expect(told(page)).to_contain_text("0.06 or more")
    assert page.locator(".mark:not([hidden])").count() > before
    slider.fill("1")
    expect(told(page)).to_have_text(re.compile(r"Nothing has a score of 1\.00 or more\. The best has 0\.\d\d\."))
    expect(page.locator(".mark:not([hidden])")).to_have_count(0)
    assert len(asked) == 1


def test_threshold_below_what_was_asked_asks_again(page: Page, scene: bytes) -> None:
    """The server has left these boxes out of its first answer."""
    open_bench(page, "digits-detector")
    give_file(page, scene)
    expect(told(page)).to_contain_text("0.53 or more")
    with page.expect_request(lambda request: request.url.endswith("/detect")) as asked:
        page.get_by_role("slider", name="Least score").fill("0.02")
    assert asked.value.post_data_json["threshold"] == 0.02
    expect(told(page)).to_contain_text("0.02 or more")


def test_label_lights_up_its_box_and_can_be_switched_off(page: Page, scene: bytes) -> None:
    """With the keyboard: a label is a button of the table, and a switch above it hides all its boxes."""
    open_bench(page, "digits-detector")
    give_file(page, scene)
    expect(told(page)).to_contain_text("0.53 or more")
    button = page.locator("table.found button").first
    button.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".mark.is-lit")).to_have_count(1)
    page.get_by_role("slider", name="Least score").fill("0.06")
    rows = page.locator("table.found tbody tr").count()
    page.get_by_role("group", name="Labels").get_by_role("checkbox").first.press("Space")
    assert page.locator("table.found tbody tr").count() < rows


def test_masks_and_points_are_shown(page: Page, uncommon: Serving) -> None:
    """Each box has its points by name, and its mask in the colour of the label; masks can be left out."""
    open_bench(page, "animals", base=uncommon.url)
    give_file(page, plain_picture(64, 32))
    expect(told(page)).to_have_text("2 objects with a score of 0.25 or more: cat, dog.")
    expect(page.locator(".mark-point")).to_have_count(4)
    expect(page.locator(".mark-point[title=nose]")).to_have_count(2)
    mask = page.locator("canvas.stage-layer").first
    page.wait_for_function(
        "canvas => canvas.getContext('2d').getImageData(10, 10, 1, 1).data[3] > 0", arg=mask.element_handle()
    )
    page.get_by_role("checkbox", name="Masks").uncheck()
    expect(page.locator("canvas.stage-layer")).to_have_count(0)


def test_turned_photograph_stands_upright_under_its_boxes(page: Page, uncommon: Serving) -> None:
    """A camera writes into the file how to turn it; server and browser both do, so that boxes fit."""
    turned = Pillow.Exif()
    turned[ORIENTATION] = 6
    photograph = encode(Pillow.new("RGB", (64, 32), (30, 60, 90)), "JPEG", exif=turned)
    open_bench(page, "animals", base=uncommon.url)
    give_file(page, photograph, "photograph.jpg", "image/jpeg")
    expect(told(page)).to_contain_text("2 objects")
    image = page.locator(".stage img")
    assert image.evaluate("image => image.naturalWidth / image.naturalHeight") == 0.5
    assert page.locator(".stage").evaluate("stage => stage.style.getPropertyValue('--ratio')") == "0.5"


def test_picture_without_objects(page: Page, uncommon: Serving) -> None:
    """An empty list is a sentence, and no table."""
    open_bench(page, "nobody", base=uncommon.url)
    give_file(page, plain_picture(64, 32))
    expect(told(page)).to_have_text("The model found nothing in this picture.")
    expect(page.locator("table.found")).to_have_count(0)


def test_what_is_no_picture_is_refused_in_a_sentence(page: Page, refused: set[str]) -> None:
    """The sentence is the server's, and the answer before it goes."""
    refused.add("/detect")
    open_bench(page, "digits-detector")
    give_file(page, b"no picture at all", "notes.txt", "text/plain")
    expect(page.get_by_role("alert")).to_contain_text("nputs[0]")
    expect(page.locator(".stage")).to_have_count(0)


def test_without_a_picture_nothing_is_asked(page: Page, scene: bytes) -> None:
    """The button says what is missing, and the answer to a picture that was taken away goes."""
    open_bench(page, "digits-detector")
    give_file(page, scene)
    expect(told(page)).to_contain_text("0.53 or more")
    asked = watch_requests(page, "/detect")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Find objects").click()
    expect(told(page)).to_have_text("First give a picture.")
    expect(page.locator(".stage")).to_have_count(0)
    assert not asked
    give_file(page, scene)
    expect(page.get_by_role("slider", name="Least score")).to_be_visible()
