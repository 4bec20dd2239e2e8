"""The workbenches of regressors, and of tensors."""

import pytest
from playwright.sync_api import Page, expect

from tests.web.checks import check_page

REGRESSOR = "/#model=diabetes-regressor"
TENSORS = [
    *("digits-classifier", "diabetes-regressor", "sunspots-forecaster", "date-translator", "elnino-forecaster"),
    *("digits-gan", "language-classifier"),
]


def test_missing_value_is_told_before_it_is_sent(page: Page) -> None:
    """A column without a value is named, and gets the focus."""
    page.goto(REGRESSOR)
    page.get_by_role("button", name="Estimate").click()
    expect(page.get_by_role("alert")).to_have_text("Age needs a value.")
    expect(page.get_by_label("Age", exact=True)).to_be_focused()


def test_every_example_of_a_regressor_is_estimated(page: Page) -> None:
    """Each example fills the form and shows its number."""
    page.goto(REGRESSOR)
    expect(page.locator(".example").first).to_be_visible()
    for number in range(page.locator(".example").count()):
        with page.expect_response("**/regress") as sent:
            page.locator(".example").nth(number).click()
        value = sent.value.json()["predictions"][0]["value"]
        expect(page.locator(".answer-value")).to_have_text(f"{value:.3g}")
    expect(page.get_by_label("Age", exact=True)).not_to_have_value("")
    check_page(page)


def test_form_is_sent_by_enter(page: Page) -> None:
    """A changed value and Enter give another number."""
    page.goto(REGRESSOR)
    page.locator(".example").first.click()
    expect(page.locator(".answer-value")).to_have_text("208")
    page.get_by_label("Body mass index").fill("20")
    page.keyboard.press("Enter")
    expect(page.locator(".answer-value")).not_to_have_text("208")


@pytest.mark.parametrize("model", TENSORS)
def test_every_example_of_tensors_is_answered(page: Page, model: str) -> None:
    """Each stored sample fills the form of the signature and shows all outputs."""
    page.goto(f"/#model={model}&task=tensors")
    expect(page.locator(".example").first).to_be_visible()
    for number in range(page.locator(".example").count()):
        with page.expect_response("**/infer") as sent:
            page.locator(".example").nth(number).click()
        assert sent.value.ok
        expect(page.locator(".tensor-output")).to_have_count(len(sent.value.json()["outputs"]))
    check_page(page)


@pytest.mark.parametrize("model", ["digits-detector", "digits-captioner"])
def test_large_tensors_are_filled_by_the_page(page: Page, model: str) -> None:
    """Nobody types 76,800 numbers: they are random or zeros."""
    page.goto(f"/#model={model}&task=tensors")
    with page.expect_response("**/infer") as sent:
        page.get_by_role("button", name="Infer").click()
    assert sent.value.ok
    expect(page.locator(".tensor-output").first).to_be_visible()


def test_wrong_tensors_are_refused_in_a_sentence(page: Page, refused: set[str]) -> None:
    """The page tells what it cannot read itself, and the server what does not fit the model."""
    refused.add("/v2/models/diabetes-regressor/infer")
    page.goto("/#model=diabetes-regressor&task=tensors")
    page.get_by_label("Values").fill("1, 2, three")
    page.get_by_role("button", name="Infer").click()
    expect(page.get_by_role("alert")).to_contain_text("The values of measurements cannot be read")
    page.get_by_label("Values").fill("1 2 3")
    page.get_by_role("button", name="Infer").click()
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("10")
