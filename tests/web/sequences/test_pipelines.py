"""The workbench of pipelines: a picture through the steps, the answer over it, and the time of each step."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from model_store import DEFAULT_ROOT
from tests.web.checks import check_page, check_width

PICTURE = DEFAULT_ROOT.parents[1] / "docs/digits.png"
FIELDS = """async ([steps, cards]) => (
  (await import("./web/js/tasks/pipeline/fields.js")).readFields({ steps }, cards)
)"""


def test_picture_goes_through_the_steps(page: Page) -> None:
    """Each ends with its rows; the boxes lie over the picture, and a line says all of each."""
    page.goto("/#model=digits-reader")
    page.locator(".picture-input input[type=file]").set_input_files(PICTURE)
    expect(page.locator(".steps li.done")).to_have_count(3)
    boxes = page.locator(".boxed rect").count()
    assert boxes > 5
    expect(page.locator("[data-step=read]")).to_contain_text(f"{boxes} rows")
    expect(page.locator(".outputs tbody tr")).to_have_count(boxes)
    assert page.locator(".outputs thead th").all_inner_texts() == ["#", "boxes", "found", "read", "sure"]
    times = page.get_by_role("img", name=re.compile(r"Time of each step\. find: .*; cut: .*; read: "))
    expect(times).to_be_visible()
    expect(page.locator(".code code").first).to_contain_text("/pipeline")
    check_page(page)
    check_width(page, 360)


def test_examples_of_a_pipeline_answer(page: Page) -> None:
    """Each is a click."""
    page.goto("/#model=digits-reader")
    examples = page.locator(".examples button")
    examples.first.wait_for()
    for example in examples.all():
        example.click()
        expect(page.locator(".boxed rect")).to_have_count(1)
        expect(page.get_by_role("alert")).to_have_count(0)


def test_file_that_is_no_picture_is_refused_in_a_sentence(page: Page, refused: set[str]) -> None:
    """The steps say that they did not end."""
    refused.add("/pipeline")
    page.goto("/#model=digits-reader")
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"hello"}
    page.locator(".picture-input input[type=file]").set_input_files(bad)
    expect(page.get_by_role("alert")).to_contain_text("Step find: ")
    expect(page.locator("[data-step=cut]")).to_contain_text("did not end")


CARDS = [
    {"name": "faces", "details": {"image": {}}},
    {"name": "ears", "details": {"sound": {}}},
    {"name": "words", "details": {"tokens": {}}},
]
PIPELINES: dict[str, tuple[dict[str, Any], list[tuple[str, str, bool]]]] = {
    "a picture": ({"find": {"model": "faces", "input": "request"}}, [("", "picture", False)]),
    "a sound": ({"hear": {"model": "ears", "input": "request"}}, [("", "sound", False)]),
    "fields": (
        {
            "find": {"model": "faces", "input": "request.photo"},
            "cut": {"do": "crop", "picture": "request.photo", "boxes": "find.detections"},
            "known": {"model": "faces", "each": "request.known"},
            "read": {"model": "words", "input": "request.title"},
        },
        [("photo", "picture", False), ("known", "picture", True), ("title", "text", False)],
    ),
    "columns": ({"guess": {"model": "x", "input": {"age": "request.age"}}}, [("age", "json", False)]),
}


@pytest.mark.parametrize(("steps", "fields"), PIPELINES.values(), ids=PIPELINES)
def test_fields_follow_from_the_wires(page: Page, steps: dict[str, Any], fields: list[tuple[str, str, bool]]) -> None:
    """What the models of the steps take says what a field of the row is."""
    page.goto("/docs")
    found = page.evaluate(FIELDS, [steps, CARDS])
    assert [(each["name"], each["kind"], each["isList"]) for each in found] == fields
