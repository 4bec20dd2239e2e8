"""The page of what the server does now: its figures, and what it says when the server is away."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from service.api.openapi.examples import EXAMPLES
from tests.support.answers import assert_error
from tests.support.servers import FAST, Serving, settings_for
from tests.web.checks import check_page, check_width
from tests.web.conftest import watch

BODY = EXAMPLES["classify"]["digit"][1]
MODEL = "digits-classifier"


def tile(page: Page, name: str) -> Any:
    return page.locator(".tile", has=page.get_by_text(name, exact=True)).locator("strong")


def line(page: Page, model: str) -> Any:
    return page.locator(".models-live tr", has=page.get_by_role("button", name=model, exact=True))


def test_traffic_is_shown(page: Page, server: Serving) -> None:
    """Requests, latency, batches and memory of all models, and of the one that is chosen."""
    page.goto("/live")
    expect(line(page, MODEL)).to_contain_text("Ready")
    with server.client() as client:
        for _ in range(20):
            assert client.post("/classify", json=BODY).status_code == 200
        assert_error(client.post("/classify", json={**BODY, "top_k": 0}), 400, "top_k")
    expect(tile(page, "Requests")).not_to_have_text("0")
    expect(tile(page, "Failed")).not_to_have_text("0")
    expect(tile(page, "p99")).to_contain_text("s")
    expect(tile(page, "Batch")).to_have_text("1")
    expect(tile(page, "Memory")).to_contain_text("iB")
    expect(line(page, MODEL)).to_contain_text("KiB", use_inner_text=True)
    page.get_by_role("button", name=MODEL, exact=True).click()
    expect(page.get_by_role("heading", name=MODEL)).to_be_visible()
    assert page.url.endswith(f"#model={MODEL}")
    expect(page.get_by_role("img", name="Latency. p50: from")).to_be_visible()


def test_figures_of_charts_can_be_read_as_a_table(page: Page) -> None:
    """By people who do not see them: a table on demand, and the arrow keys."""
    page.goto("/live")
    chart = page.get_by_role("img", name="Memory. workers: from")
    chart.wait_for()
    chart.focus()
    page.keyboard.press("End")
    panel = page.locator(".panel", has=chart)
    expect(panel.locator(".chart-readout")).to_contain_text("workers")
    panel.locator("summary").click()
    expect(panel.locator("tbody tr").first).to_contain_text("iB")


def test_page_says_that_the_server_is_away(browser: Browser, tmp_path: Path) -> None:
    """It says since when, goes on asking, and shows no figures that are old."""
    with Serving(settings_for(tmp_path, lazy=True), FAST) as server:
        context = browser.new_context(base_url=server.url)
        page = context.new_page()
        faults = watch(page, {"/metrics", "/models"})
        page.goto("/live")
        expect(page.get_by_text("Connected.")).to_be_visible()
        server.stop()
        expect(page.get_by_role("alert")).to_contain_text("has been away since", timeout=30_000)
        expect(tile(page, "Memory")).to_have_text("–")
        context.close()
        assert not faults


def test_page_goes_on_when_the_server_is_back(page: Page, refused: set[str]) -> None:
    """The alert goes, and the lines have a gap."""
    refused.add("/metrics")
    page.goto("/live")
    expect(page.get_by_text("Connected.")).to_be_visible()
    page.route("**/metrics", lambda route: route.fulfill(status=502, body="bad gateway"))
    expect(page.get_by_role("alert")).to_contain_text("502")
    page.unroute("**/metrics")
    expect(page.get_by_role("alert")).not_to_contain_text("away")
    memory = page.locator(".panel", has_text="Memory").locator(".chart-line").first
    expect(memory).to_have_attribute("d", re.compile("M.*M"))
    expect(page.get_by_text("Connected.")).to_be_visible()


def test_page_can_be_paused(page: Page) -> None:
    """Nothing is asked for until it goes on, and the figures stay where they are."""
    page.goto("/live")
    expect(page.get_by_text("Read every 2 s.")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Connected. Paused.")).to_be_visible()
    with page.expect_request("**/metrics"):
        page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Read every 2 s.")).to_be_visible()


def test_answer_of_something_else_is_an_error(page: Page) -> None:
    """A proxy that answers with a page of its own is not taken for an idle server."""
    page.route("**/metrics", lambda route: route.fulfill(body="<h1>Log in</h1>", content_type="text/html"))
    page.goto("/live")
    expect(page.get_by_role("alert")).to_contain_text("expected the metrics of this server, got something else")


HISTORY = """async (readings) => {
  const { History } = await import("./web/js/live/history.js");
  const { readFigures } = await import("./web/js/live/figures.js");
  const history = new History(900);
  readings.forEach(([at, text]) => history.add(at, text));
  const figures = readFigures(history, history.last(60), "m");
  return { ...figures, mixed: history.isMixed, resets: history.intervals.map(({ reset }) => reset) };
}"""


def exposition(requests: int, fast: int, slow: int, workers: int = 2) -> str:
    """Metrics of a server that answered so many requests: ``fast`` in 1 ms, ``slow`` in 10 ms."""
    of = 'model="m",route="/classify"'
    return "\n".join(
        [
            f"sluice_workers {workers}.0",
            f'sluice_requests_total{{{of},status="200"}} {requests}.0',
            f'sluice_request_seconds_bucket{{le="0.001",{of}}} {fast}.0',
            f'sluice_request_seconds_bucket{{le="0.01",{of}}} {fast + slow}.0',
            f'sluice_request_seconds_bucket{{le="+Inf",{of}}} {fast + slow}.0',
            f"sluice_request_seconds_count{{{of}}} {fast + slow}.0",
            f"sluice_request_seconds_sum{{{of}}} 1.5",
        ]
    )


@pytest.fixture
def history(page: Page) -> Any:
    """Reads a list of (seconds, metrics)."""
    page.goto("/docs")
    return lambda *readings: page.evaluate(HISTORY, [list(reading) for reading in readings])


def test_rates_are_increases_over_time(history: Any) -> None:
    """What was counted before the page opened does not count."""
    found = history((0, exposition(1000, 900, 100)), (2, exposition(1010, 909, 101)), (4, exposition(1020, 918, 102)))
    assert found["answered"] == 5
    assert found["p50"] == pytest.approx(0.001 * 10 / 18)
    assert found["p99"] == pytest.approx(0.001 + 0.009 * 0.9)


def test_counter_that_fell_was_reset(history: Any) -> None:
    """A server that began anew has answered what it counts now, and no rate is negative."""
    found = history((0, exposition(1000, 900, 100)), (2, exposition(6, 6, 0)), (4, exposition(8, 8, 0)))
    assert found["answered"] == 2
    assert found["resets"] == [False, True, False]
    assert found["p99"] <= 0.001


def test_counter_that_appears_began_at_zero(history: Any) -> None:
    """The server makes a series when it first counts."""
    found = history((0, "sluice_workers 1"), (2, exposition(4, 4, 0)))
    assert found["answered"] == 2


def test_figures_that_go_back_and_forth_are_those_of_several_servers(history: Any) -> None:
    """As behind a balancer: the page says so."""
    readings = [(at * 2, exposition(1000 if at % 2 else 10, 10, 0)) for at in range(12)]
    assert history(*readings)["mixed"]
    assert not history(*readings[:3])["mixed"]


def test_model_that_serves_in_some_workers_only_says_so(page: Page, server: Serving) -> None:
    """The gauge counts workers in which a version serves, beside the number of all workers."""
    metrics = httpx.get(f"{server.url}/metrics").text.replace("sluice_workers 1.0", "sluice_workers 2.0")
    page.route("**/metrics", lambda route: route.fulfill(body=metrics, content_type="text/plain"))
    page.goto("/live")
    expect(line(page, MODEL)).to_contain_text("In 1 of 2 workers")
    expect(page.locator(".tile").last).to_contain_text("of 2 workers")


def test_page_fits_a_telephone(page: Page) -> None:
    """At 360 pixels nothing is wider than the page."""
    page.goto("/live")
    expect(line(page, MODEL)).to_contain_text("Ready")
    check_width(page, 360)
    check_page(page)
