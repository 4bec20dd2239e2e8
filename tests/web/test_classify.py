"""The workbench of classifiers: drawing, files, examples, explanations, errors, and programs that do the same."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.web.checks import check_page

DIGITS = "/#model=digits-classifier"
TEXTS = "/#model=language-classifier&task=classify"

_GIVE = """([kind, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], 'digit.png', {type: 'image/png'}));
  const options = {bubbles: true, cancelable: true};
  if (kind === 'paste') document.dispatchEvent(new ClipboardEvent('paste', {...options, clipboardData: data}));
  else document.querySelector('.picture-input').dispatchEvent(new DragEvent('drop', {...options, dataTransfer: data}));
}"""


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A picture of a one, 64 x 64."""
    picture = Image.new("L", (64, 64))
    picture.paste(255, (26, 2, 36, 62))
    picture.save(tmp_path / "one.png")
    return tmp_path / "one.png"


def count_examples(page: Page, path: str) -> int:
    """How many there are, when they have come."""
    page.goto(path)
    expect(page.locator(".example").first).to_be_visible()
    return page.locator(".example").count()


def test_refusal_is_shown_as_a_sentence(page: Page, refused: set[str], tmp_path: Path) -> None:
    """A file that is no picture gives the sentence of the server, which screen readers say, and its request id."""
    refused.add("/classify")
    (tmp_path / "notes.png").write_text("no picture")
    page.goto(DIGITS)
    page.locator("input[type=file]").set_input_files(tmp_path / "notes.png")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Inputs[0].image")
    expect(alert).to_contain_text("Request ")


def test_server_that_is_away_is_told_as_a_sentence(page: Page, refused: set[str]) -> None:
    """Without an answer the page says so, instead of nothing; the last answer is gone, also for screen readers."""
    refused.add("/classify")
    page.goto(DIGITS)
    page.locator(".example").first.click()
    said = page.get_by_role("region", name="Answer", exact=True).get_by_role("status").first
    expect(said).to_contain_text("0, ")
    page.route("**/classify", lambda route: route.abort())
    page.locator(".example").first.click()
    expect(page.get_by_role("alert")).to_contain_text("The server did not answer")
    expect(said).to_have_text("")


def test_drawing_is_classified(page: Page) -> None:
    """A stroke from top to bottom is a one; clearing and drawing on work."""
    page.goto(DIGITS)
    box = page.locator("canvas").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] - 8, steps=12)
    page.mouse.up()
    expect(page.locator(".answer-value")).to_contain_text("1")
    expect(page.locator(".bars li")).to_have_count(5)
    expect(page.locator(".time")).to_contain_text("Its batch had 1 row.")
    check_page(page)


def test_file_is_classified(page: Page, one: Path) -> None:
    """A file that is chosen is shown and classified."""
    page.goto(DIGITS)
    page.locator("input[type=file]").set_input_files(one)
    expect(page.locator(".answer-value")).to_contain_text("1")


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_picture_is_pasted_and_dropped(page: Page, one: Path, kind: str) -> None:
    """A picture from the clipboard or from a folder is classified at once."""
    page.goto(DIGITS)
    expect(page.locator("canvas")).to_be_visible()
    page.evaluate(_GIVE, [kind, base64.b64encode(one.read_bytes()).decode()])
    expect(page.locator(".answer-value")).to_contain_text("1")


@pytest.mark.parametrize("path", [DIGITS, TEXTS])
def test_every_example_is_answered(page: Page, path: str) -> None:
    """Each example of a classifier shows labels with probabilities."""
    for number in range(count_examples(page, path)):
        with page.expect_response("**/classify") as sent:
            page.locator(".example").nth(number).click()
        assert sent.value.ok
        label = sent.value.json()["predictions"][0]["label"]
        expect(page.locator(".answer-value").first).to_contain_text(label)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion"])
def test_explanation_is_a_heat_map(page: Page, method: str) -> None:
    """Each method gives a picture with a caption that says what its colours mean."""
    count_examples(page, DIGITS)
    page.locator(".example").last.click()
    expect(page.locator(".answer-value")).to_be_visible()
    page.get_by_label("Explanation").select_option(method)
    heat = page.locator(".explanation img")
    expect(heat).to_be_visible()
    assert heat.evaluate("(image) => image.decode().then(() => image.naturalWidth)") >= 8
    expect(page.locator(".explanation figcaption")).to_contain_text("orange parts speak for it")


def test_texts_are_classified_line_by_line(page: Page) -> None:
    """Each line is a row; an empty text is refused before it is sent."""
    page.goto(TEXTS)
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert")).to_have_text("Write a text first.")
    page.get_by_label("Text", exact=True).fill("Denmark, Norway, and Sweden\n\nvendredi 13 mars 2026")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".answer-value")).to_have_count(2)
    expect(page.locator(".answer-value").last).to_contain_text("fr")


def test_programs_do_the_same(page: Page) -> None:
    """What curl, Python and JavaScript answer is what the page shows; Copy gives the whole program."""
    count_examples(page, DIGITS)
    with page.expect_response("**/classify") as sent:
        page.locator(".example").nth(1).click()
    expected = sent.value.json()
    expect(page.locator(".programs")).to_be_visible()
    codes = {}
    for name in ("curl", "Python", "JavaScript"):
        page.get_by_role("tab", name=name).click()
        codes[name] = page.locator(".programs button[data-code]").get_attribute("data-code")
    assert all(codes.values())
    curl = subprocess.run(["bash", "-c", codes["curl"]], capture_output=True, check=True, timeout=60)
    assert json.loads(curl.stdout) == expected
    python = codes["Python"].replace("print(json.load(answer))", "print(json.dumps(json.load(answer)))")
    run = subprocess.run([sys.executable, "-c", python], capture_output=True, check=True, timeout=60)
    assert json.loads(run.stdout) == expected
    script = codes["JavaScript"].replace("console.log(await answer.json())", "return await answer.json()")
    assert page.evaluate(f"async () => {{ {script} }}") == expected


def test_tabs_of_programs_work_by_keyboard(page: Page) -> None:
    """The arrow keys move between the languages, and Tab leads on into the panel."""
    count_examples(page, DIGITS)
    page.locator(".example").first.click()
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.locator(".programs pre")).to_contain_text("urlopen")
    page.keyboard.press("End")
    expect(page.locator(".programs pre")).to_contain_text("await fetch")
