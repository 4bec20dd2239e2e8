"""Inputs and answers that no reference model has: the cards and the answers are those of the test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from model_store.sounds.writing import encode_wav
from tests.web.checks import check_page


def card(task: str, **facts: Any) -> dict[str, Any]:
    versions = [{"version": "1", "state": "READY"}]
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    known = {"name": "made", "ready": True, "serving": "1", "aliases": {}, "versions": versions}
    return {**known, "task": task, "tasks": [task], "details": {}, "inputs": [tensor], "outputs": [], **facts}


class Stand:
    """Answers as a server with one model would, and keeps the bodies that were sent."""

    def __init__(self, page: Page, model: dict[str, Any], answer: dict[str, Any]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._answer = answer
        page.route("**/models", lambda route: route.fulfill(json={"models": [model]}))
        page.route("**/v2/models/made/example", lambda route: route.fulfill(json={"examples": []}))
        page.route(f"**/{model['task']}", self._reply)
        page.goto("/#model=made")

    def _reply(self, route: Route) -> None:
        self.bodies.append(json.loads(route.request.post_data or ""))
        route.fulfill(json={"model": "made", "version": "1", **self._answer})


def test_table_has_choices_and_values_that_may_be_missing(page: Page) -> None:
    """A column of known values is a list; an empty field of one that may be missing is null."""
    columns = [
        {"name": "colour", "input": "x", "missing": False, "values": ["red", "blue"]},
        {"name": "grade", "input": "x", "missing": True, "values": [1, 2]},
        {"name": "size_cm", "input": "x", "missing": True, "values": []},
        {"name": "weight", "input": "x", "missing": False, "values": []},
    ]
    answer = {"unit": "kg", "predictions": [{"values": {"least": 1.5, "most": 2.5}}]}
    stand = Stand(page, card("regress", details={"table": {"columns": columns}}), answer)
    page.get_by_label("Colour").select_option("blue")
    page.get_by_label("Weight").fill("1.25")
    page.get_by_role("button", name="Estimate").click()
    expect(page.locator(".answer tr")).to_have_text(["least1.5 kg", "most2.5 kg"])
    assert stand.bodies[0]["inputs"] == [{"colour": "blue", "grade": None, "size_cm": None, "weight": 1.25}]
    check_page(page)


def test_sound_is_sent_as_base64(page: Page, tmp_path: Path) -> None:
    """A sound that is chosen can be heard, and its file is the row."""
    (tmp_path / "tone.wav").write_bytes(encode_wav(np.zeros(800, np.float32), 8000))
    top = [{"label": "silence", "index": 0, "probability": 0.75}]
    answer = {"predictions": [{**top[0], "top": top}]}
    details = {"sound": {"graph": "main", "input": "x", "rate": 8000}}
    stand = Stand(page, card("classify", labels=["silence", "speech"], details=details), answer)
    page.locator("input[type=file]").set_input_files(tmp_path / "tone.wav")
    expect(page.locator(".answer-value")).to_have_text("silence75 %")
    expect(page.locator("audio")).to_be_visible()
    assert stand.bodies[0]["inputs"][0]["sound"].startswith("UklGR")
    check_page(page)


def test_sounds_are_compared(page: Page) -> None:
    """Sounds that are chosen together become rows in their order, each with a player, and can be taken away again."""
    rows = [{"embedding": [1, 0], "comparisons": [{"similarity": 1}, {"similarity": 0.5}]}] * 2
    stand = Stand(page, card("embed", details={"sound": {"input": "x", "rate": 8000}}), {"predictions": rows})
    content = encode_wav(np.zeros(800, np.float32), 8000)
    files = [FilePayload(name=f"{name}.wav", mimeType="audio/wav", buffer=content) for name in ("one", "two")]
    page.locator("input[type=file]").set_input_files(files)
    expect(page.get_by_text("2 rows to compare.")).to_be_visible()
    expect(page.locator(".heat-map audio[aria-label='one.wav']")).to_have_count(2)
    assert len(stand.bodies[-1]["inputs"]) == 2
    page.get_by_role("button", name="Remove one.wav").click()
    expect(page.get_by_text("1 row to compare.")).to_be_visible()
    check_page(page)


_DROP = """place => {
  const transfer = new DataTransfer();
  transfer.items.add(new File(["hello"], "dropped.wav"));
  place.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def test_dropped_file_is_taken_once(page: Page) -> None:
    """The place to drop a sound lies within the input, which takes files too."""
    rows = [{"embedding": [1, 0], "comparisons": [{"similarity": 1}, {"similarity": 0.5}]}] * 2
    Stand(page, card("embed", details={"sound": {"input": "x", "rate": 8000}}), {"predictions": rows})
    page.locator(".drop").evaluate(_DROP)
    expect(page.get_by_text("1 row to compare.")).to_be_visible()
    page.locator(".sound-input").evaluate(_DROP)
    expect(page.get_by_text("2 rows to compare.")).to_be_visible()


def test_numbers_are_typed_as_json(page: Page) -> None:
    """What is no JSON is told at once; several labels of a row, its score and its explanation are shown."""
    top = [{"label": "a", "index": 0, "probability": 0.9}, {"label": "b", "index": 1, "probability": 0.6}]
    why = {"method": "occlusion", "values": [0.5, -0.25]}
    answer = {"predictions": [{**top[0], "top": top, "labels": top, "score": 1.5, "explanation": why}]}
    stand = Stand(page, card("classify", labels=["a", "b"]), answer)
    page.get_by_label("Row").fill("1; 2")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert")).to_contain_text("The row is not JSON")
    page.get_by_label("Row").fill("[1, 2]")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".prediction")).to_contain_text("Labels of this row: a, b")
    expect(page.locator(".prediction")).to_contain_text("Score: 1.5")
    expect(page.locator(".bar-fill.against")).to_have_count(1)
    assert stand.bodies[0]["inputs"] == [[1, 2]]


@pytest.mark.parametrize(("spans", "text"), [([], "Nothing was found"), ([{"text": "Rome", "label": "place"}], "Rome")])
def test_parts_of_texts_are_listed(page: Page, spans: list[dict[str, str]], text: str) -> None:
    """A model of tags answers the parts of a text with their labels."""
    details = {"tokens": {"graph": "main", "ids": "x"}, "tags": {"output": "y"}}
    Stand(page, card("classify", details=details), {"predictions": [{"spans": spans}]})
    page.get_by_label("Text", exact=True).fill("Rome is old")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".prediction")).to_contain_text(text)


def test_markup_in_what_a_server_says_stays_text(page: Page) -> None:
    """A description, a label or an error with tags is shown as it is, and never becomes an element."""
    evil = "<img src=x onerror=alert(1)>"
    top = [{"label": evil, "index": 0, "probability": 1.0}]
    model = card("classify", labels=[evil], description=evil)
    Stand(page, model, {"predictions": [{**top[0], "top": top}]})
    page.get_by_label("Row").fill("[1, 2]")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".answer-value")).to_contain_text(evil)
    expect(page.locator(".description")).to_have_text(evil)
    assert page.locator("main img").count() == 0
