"""The list of models, and the way to a workbench."""

import re

from playwright.sync_api import Page, expect


def test_cards_of_all_models_are_shown(page: Page) -> None:
    """Each reference model has a card with its task, quality and rows."""
    page.goto("/")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    expect(page.locator("article")).to_have_count(17)
    card = page.locator("article[data-model=digits-classifier]")
    expect(card).to_contain_text("Classify")
    expect(card).to_contain_text(re.compile(r"accuracy\s*99\.8 %\s*bar 99 %"))
    expect(card).to_contain_text("Rows are independent")
    expect(card).to_contain_text("Version 1 serves")
