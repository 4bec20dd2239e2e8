"""The pages in a real browser: Debian's Chromium, driven by Playwright, against a server with the reference models."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from model_store import DEFAULT_ROOT
from tests.support.servers import FAST, Serving, settings_for
from tests.web.workbenches.uncommon_models import write_store

playwright = pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs Playwright")

CHROMIUM = Path("/usr/bin/chromium")
ARGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
OWN = re.compile(r"http://127\.0\.0\.1:\d+/|data:|blob:")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def server() -> Iterator[Serving]:
    """All reference models."""
    with Serving(settings_for(DEFAULT_ROOT, max_rows=64), FAST) as serving:
        yield serving


@pytest.fixture(scope="session")
def uncommon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Models that the reference store does not have."""
    with Serving(settings_for(write_store(tmp_path_factory.mktemp("uncommon"))), FAST) as serving:
        yield serving


@pytest.fixture(scope="session")
def browser() -> Iterator["playwright.Browser"]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        playwright.expect.set_options(timeout=20_000)  # the machines of CI are slow
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGS))
        yield opened
        opened.close()


@pytest.fixture
def refused() -> set[str]:
    """A test adds the paths of requests that it has the server refuse: the browser logs these as errors."""
    return set()


@pytest.fixture
def page(browser: "playwright.Browser", server: Serving, refused: set[str]) -> Iterator["playwright.Page"]:
    """A page whose addresses begin at the server. Afterwards: no error on the console, no request to another origin."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    opened = context.new_page()
    faults = watch(opened, refused)
    yield opened
    context.close()
    assert not faults, "\n".join(faults)


def watch(page: "playwright.Page", refused: set[str]) -> list[str]:
    """What goes wrong on a page from now on: errors, warnings, and requests to another origin."""
    faults: list[str] = []

    def note(message: "playwright.ConsoleMessage") -> None:
        url = message.location["url"]
        is_refusal = message.text.startswith("Failed to load resource") and urlsplit(url).path in refused
        if message.type in ("error", "warning") and not is_refusal:
            faults.append(f"console: {message.text} at {url}")

    page.on("console", note)
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("request", lambda request: OWN.match(request.url) or faults.append(f"request to {request.url}"))
    return faults
