"""The screenshots of docs/how-to/playground.md, taken from a server with the reference models: ``make screenshots``.

It needs Playwright and Debian's Chromium, as the tests of the pages do. Names of files take only these.
"""

import io
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from model_store import DEFAULT_ROOT
from tests.support.servers import FAST, Serving, settings_for

DOCS = Path(__file__).parents[3] / "docs"
FOLDER = DOCS / "images"
CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1100, "height": 760}
SIZE_WITH_ANSWER = {"width": 1100, "height": 1130}
SIZE_OF_LIVE = {"width": 1100, "height": 1740}
"""Down to the first rows of the table of models."""
WAIT_MS = 20_000
BUSY_MS = 20_000


class Screenshot(NamedTuple):
    file: str
    path: str
    is_tried: bool = False
    """Whether a model answers before the screenshot: to ``picture``, or to the first example of the page."""
    picture: str = ""
    """A file of docs/."""


SCREENSHOTS = (
    Screenshot("playground.png", "/"),
    Screenshot("classify.png", "/#model=digits-classifier", is_tried=True),
    Screenshot("detect.png", "/#model=digits-detector", is_tried=True, picture="digits.png"),
    Screenshot("forecast.png", "/#model=sunspots-forecaster", is_tried=True),
    Screenshot("docs.png", "/docs"),
)
LIVE = "live.png"
ROWS = {"model": "language-classifier", "inputs": ["Friday, March 13, 2026", "piątek, 13 marca 2026"]}


def take(page: Page, shot: Screenshot) -> None:
    page.set_viewport_size(SIZE_WITH_ANSWER if shot.is_tried else SIZE)
    page.goto("about:blank")  # a change of the fragment alone would load nothing
    page.goto(shot.path)
    page.wait_for_load_state("networkidle")
    if shot.picture:
        page.locator("input[type=file]").first.set_input_files(DOCS / shot.picture)
    elif shot.is_tried:
        page.get_by_role("button", name="Example").or_(page.locator(".examples button")).first.click()
    if shot.is_tried:
        page.get_by_role("tab", name="curl").wait_for()  # it stands below an answer
        page.wait_for_load_state("networkidle")
    page.evaluate("scrollTo(0, 0)")
    save(page, shot.file)


def save(page: Page, file: str) -> None:
    """What the page shows, in 256 colours, which is a third of the bytes."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(FOLDER / file, optimize=True)


@contextmanager
def ask_all_the_time(url: str) -> Iterator[None]:
    """A few callers, so that the live page has something to show."""
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url) as client:
            while not done.is_set():
                client.post("/classify", json=ROWS).raise_for_status()

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        done.set()
        for caller in callers:
            caller.join()


def main(files: Sequence[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with Serving(settings_for(DEFAULT_ROOT, max_rows=64), FAST) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(base_url=server.url, color_scheme="light")
        page.set_default_timeout(WAIT_MS)
        for shot in SCREENSHOTS:
            if not files or shot.file in files:
                take(page, shot)
        if not files or LIVE in files:
            with ask_all_the_time(server.url):
                page.set_viewport_size(SIZE_OF_LIVE)
                page.goto("/live")
                page.wait_for_timeout(BUSY_MS)
                save(page, LIVE)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
