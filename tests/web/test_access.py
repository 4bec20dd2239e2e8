"""A server that asks for keys, in the browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model_store import DEFAULT_ROOT
from tests.service.access.asking import KEYS, header_of, render_keys
from tests.support.servers import FAST, Serving, settings_for

KEY = KEYS["infer"]
MODEL = "language-classifier"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(render_keys())
    with Serving(settings_for(DEFAULT_ROOT, models=(MODEL,), api_keys_file=file, max_rows=8), FAST) as serving:
        yield serving


def enter(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use this key").click()


def test_key_is_asked_for_kept_in_the_tab_and_never_shown(page: Page, guarded: Serving, refused: set[str]) -> None:
    """Without a key the page says what it needs; with one it works, and its programs have a placeholder."""
    refused.update(("/models", "/metrics"))
    page.goto(guarded.url)
    expect(page.get_by_role("alert")).to_contain_text("Expected a key")
    enter(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("The key is not known")
    enter(page, KEY)
    page.goto(f"{guarded.url}/#model={MODEL}&task=tensors")
    page.get_by_role("button", name="Infer").click()
    expect(page.locator(".about-answer")).to_contain_text("YOUR_KEY")
    assert KEY not in page.content()
    assert KEY not in page.url
    assert page.evaluate("localStorage.length + document.cookie.length") == 0
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("alert")).to_contain_text("Expected a key")


def test_other_pages_send_the_key_too(page: Page, guarded: Serving, refused: set[str]) -> None:
    """The live page reads the metrics with a key that has their scope."""
    refused.update(("/models", "/metrics"))
    page.goto(f"{guarded.url}/live")
    enter(page, KEYS["expiring"])
    expect(page.get_by_role("table").or_(page.get_by_role("region")).first).to_be_visible()
    assert header_of("expiring")["Authorization"] not in page.content()
