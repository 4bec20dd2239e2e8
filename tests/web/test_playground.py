"""The list of models, and the way to a workbench."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from model_store import DEFAULT_ROOT, Store
from model_store.rollout import Rollout, Shadow, write_rollout
from tests.support.servers import FAST, Serving, settings_for
from tests.web.checks import check_page, check_width
from tests.web.conftest import watch

PREFIX = "/some/prefix"
LONG = "m" * 100  # the longest name that a store takes


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Below a prefix: two versions of a classifier with an alias, and two models that cannot be loaded."""
    root = tmp_path_factory.mktemp("store")
    shutil.copytree(DEFAULT_ROOT / "digits-classifier" / "1", root / "digits-classifier" / "1")
    shutil.copytree(DEFAULT_ROOT / "digits-classifier" / "1", root / "digits-classifier" / "2")
    Store(root).set_alias("digits-classifier", "stable", 1)
    write_rollout(root / "digits-classifier", Rollout(shadow=Shadow(version=2)))
    for name in ("broken", LONG):
        (root / name / "1").mkdir(parents=True)
        (root / name / "1" / "model.onnx").write_bytes(b"no onnx")
    with Serving(settings_for(root, max_rows=8, base_path=PREFIX), FAST) as serving:
        yield serving


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
    check_page(page)


def test_list_is_searched_and_filtered(page: Page) -> None:
    """The cards that fit a word and a task stay; a model counts for each task that it does."""
    page.goto("/")
    page.get_by_role("searchbox").fill("sunspots")
    expect(page.locator("article:visible")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("1 of 17 models are shown.")
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Show models of one task").select_option("classify")
    expect(page.locator("article:visible")).to_have_count(2)


def test_model_is_reached_and_left_by_keyboard(page: Page) -> None:
    """Enter on a card opens its workbench and moves the focus to its heading; back leads to the list."""
    page.goto("/")
    link = page.get_by_role("link", name="diabetes-regressor")
    link.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_title("diabetes-regressor – Sluice")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    check_page(page)
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    expect(page).to_have_title("diabetes-regressor – Sluice")
    page.go_back()
    expect(page.locator("article")).to_have_count(17)
    expect(page).to_have_title("Sluice playground")


def test_tabs_lead_to_the_other_tasks_of_a_model(page: Page) -> None:
    """A model that does several tasks has a workbench for each, and an address for each workbench."""
    page.goto("/#model=language-classifier&task=tensors")
    tasks = page.get_by_role("navigation", name="What to do with this model")
    expect(tasks.get_by_role("link")).to_have_text(["Compare", "Classify", "Tensors"])
    tasks.get_by_role("link", name="Classify").click()
    expect(page).to_have_url(re.compile("task=classify"))
    expect(page.get_by_role("button", name="Classify")).to_be_visible()


def test_address_of_an_unknown_model_says_so(page: Page) -> None:
    """All models are shown, below a sentence that names the one that the server does not have."""
    page.goto("/#model=no-such-model")
    expect(page.get_by_role("alert")).to_have_text("This server has no model called no-such-model.")
    expect(page.locator("article")).to_have_count(17)


def test_traffic_is_shown_on_the_cards(page: Page) -> None:
    """A card has the requests a second and the 99th percentile of its model."""
    page.request.post("/regress", data={"model": "diabetes-regressor", "inputs": [[0.0] * 10]})
    page.goto("/")
    traffic = page.locator("article[data-model=diabetes-regressor] .traffic")
    expect(traffic).to_contain_text(re.compile(r"p99 [\d.]+ m?s · [\d,]+ requests? in all"))
    expect(traffic).to_contain_text("requests/s")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/#model=digits-classifier", "/#model=digits-classifier&task=tensors"])
def test_pages_fit_a_telephone(page: Page, path: str, scheme: str) -> None:
    """From 360 pixels up nothing scrolls to the side, in the light and in the dark."""
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for width in (360, 768, 1280):
        check_width(page, width)


def test_all_works_below_a_prefix(browser: Browser, other: Serving) -> None:
    """With SLUICE_BASE_PATH every file and request is below the prefix, also when its slash is left out."""
    context = browser.new_context()
    page = context.new_page()
    faults = watch(page, set())
    page.on("request", lambda each: each.url.startswith(other.url + PREFIX) or faults.append(each.url))
    page.goto(other.url + PREFIX)
    page.get_by_role("link", name="digits-classifier").click()
    page.locator(".example").first.click()
    expect(page.locator(".answer-value")).to_contain_text("0")
    expect(page.locator(".programs pre")).to_contain_text(f"{PREFIX}/classify")
    context.close()
    assert faults == []


def test_version_is_chosen_and_sent(browser: Browser, other: Serving) -> None:
    """Where several versions serve, the request names the chosen one; the card tells the aliases."""
    context = browser.new_context()
    page = context.new_page()
    faults = watch(page, set())
    page.goto(other.url + PREFIX + "/#model=digits-classifier")
    expect(page.locator(".model-head")).to_contain_text("Version 1 serves, 1 other, stable is 1, shadow is 2 (100 %)")
    page.get_by_label("Version").select_option("2")
    with page.expect_response("**/classify") as sent:
        page.locator(".example").first.click()
    assert sent.value.json()["version"] == "2"
    expect(page.locator(".programs pre")).to_contain_text('"version":"2"')
    context.close()
    assert faults == []


def test_model_that_cannot_serve_says_why(browser: Browser, other: Serving) -> None:
    """Its card and its page have the reason, and there is nothing to try."""
    context = browser.new_context()
    page = context.new_page()
    faults = watch(page, set())
    page.goto(other.url + PREFIX + "/")
    card = page.locator("article[data-model=broken]")
    expect(card).to_contain_text("Not ready")
    expect(card).to_contain_text("ONNX")
    card.get_by_role("link").click()
    expect(page.locator(".workbench")).to_contain_text("cannot be tried")
    context.close()
    assert faults == []


def test_model_that_was_never_loaded_can_be_loaded_and_tried(browser: Browser) -> None:
    """A request would load it. So neither page says that it does not serve, and its own page offers to load it."""
    settings = settings_for(DEFAULT_ROOT, models=("digits-classifier",), max_rows=8, lazy=True)
    context = browser.new_context()
    page = context.new_page()
    faults = watch(page, set())
    with Serving(settings, FAST) as server:
        page.goto(server.url + "/live")
        expect(page.locator("tr", has_text="digits-classifier")).to_contain_text("Loaded when asked for")
        page.goto(server.url + "/")
        card = page.locator("article[data-model=digits-classifier]")
        expect(card).to_contain_text("Loaded when asked for")
        card.get_by_role("link").click()
        page.get_by_role("button", name="Load it").click()
        expect(page.locator(".model-head")).to_contain_text("Version 1 serves")
        page.locator(".example").first.click()
        expect(page.locator(".programs pre")).to_contain_text("classify")
        context.close()
    assert faults == []


@pytest.mark.parametrize("path", ["/", f"/#model={LONG}", f"/live#model={LONG}"])
def test_longest_name_of_a_model_fits(browser: Browser, other: Serving, path: str) -> None:
    """A name without a place to break it does not make a telephone scroll to the side."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(other.url + PREFIX + path)
    expect(page.get_by_text(LONG).first).to_be_visible()
    check_width(page, 360)
    context.close()
