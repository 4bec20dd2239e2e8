"""The workbench of forecasters: any CSV in, a chart out, and sentences for what does not work."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.checks import check_page, check_width

READ = """async (text) => {
  const { readTable } = await import("./web/js/tasks/sequence/csv.js");
  try {
    const { columns, labels } = readTable(text);
    return { labels, columns: Object.fromEntries(columns.map(({ name, values }) => [name, values])) };
  } catch (error) {
    return { fault: error.message };
  }
}"""
CONTINUE = """async ([labels, count]) => (
  (await import("./web/js/tasks/sequence/labels.js")).continueLabels(labels, count)
)"""
TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "lines": ("1\n2.5\n-3e2\n", {"values": [1, 2.5, -300]}),
    "one line": ("8.6, 21.5, 64.3", {"values": [8.6, 21.5, 64.3]}),
    "JSON": ("[1, 2, 3]", {"values": [1, 2, 3]}),
    "header": ("price\r\n1\r\n2\r\n", {"price": [1, 2]}),
    "semicolons and decimal commas": ("date;wert\n2020-01;1,5\n2020-02;2.000,25", {"wert": [1.5, 2000.25]}),
    "tabs and an empty cell": ("a\tb\n1\t2\n3\t", {"a": [1, 3], "b": [2, None]}),
    "quotes": ('"x, y",z\n"1,234",2\n3,4\n', {"x, y": [1234, 3], "z": [2, 4]}),
    "a mark of byte order": ("\ufeffa\n1\n2", {"a": [1, 2]}),
    "no number": ("price\n1\nn/a\n3", {"price": [1, None, 3]}),
}
FAULTS = {
    "nothing": ("  \n", "Paste or drop a series"),
    "separators": (";;", "only separators"),
    "a number that is too large": ("[1e999]", "an array of numbers"),
    "words": ("hello\nworld", "No column has numbers. The first line is “hello”."),
    "broken JSON": ("[1, 2", "begins like a JSON array and is none"),
    "JSON of words": ('["a"]', "an array of numbers"),
    "a word in a line": ("1, 2, x", "Value 3 is “x”"),
}
LABELS: dict[str, tuple[list[str], list[str]]] = {
    "years": (["1996", "1997"], ["1998", "1999"]),
    "months": (["2020-11", "2020-12"], ["2021-01", "2021-02"]),
    "ends of months": (["2020-01-31", "2020-02-29"], ["2020-03-31", "2020-04-30"]),
    "days": (["2020-12-30", "2020-12-31"], ["2021-01-01", "2021-01-02"]),
    "hours": (["2020-01-01 22:00", "2020-01-01 23:00"], ["2020-01-02 00:00", "2020-01-02 01:00"]),
    "no rule": (["a", "b"], ["+1", "+2"]),
    "uneven": (["1996", "1997", "1999"], ["+1", "+2"]),
}
SUNSPOTS = "year,sunspots\n1996,8.6\n1997,21.5\n1998,64.3\n1999,93.3\n2000,119.6\n2001,111\n"


@pytest.fixture
def blank(page: Page) -> Page:
    page.goto("/docs")
    return page


@pytest.fixture
def bench(page: Page) -> Page:
    """The workbench of the forecaster of sunspots."""
    page.goto("/#model=sunspots-forecaster")
    page.get_by_label("Series", exact=True).wait_for()
    return page


def drop(page: Page, name: str, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    page.locator(".series-input input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": data})


def forecast(page: Page) -> None:
    page.get_by_role("button", name="Forecast", exact=True).click()


@pytest.mark.parametrize(("text", "columns"), TABLES.values(), ids=TABLES)
def test_series_is_read(blank: Page, text: str, columns: dict[str, Any]) -> None:
    """From what people have: lists, JSON, and CSV of any country."""
    assert blank.evaluate(READ, text)["columns"] == columns


def test_first_column_may_name_the_lines(blank: Page) -> None:
    """Dates, or numbers that rise evenly, such as years."""
    assert blank.evaluate(READ, SUNSPOTS)["labels"][:2] == ["1996", "1997"]
    assert blank.evaluate(READ, "day,a,b\nMo,1,2\nTu,3,4")["labels"] == ["Mo", "Tu"]


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_what_is_no_series_is_said(blank: Page, text: str, fault: str) -> None:
    """In a sentence that says what was found."""
    assert fault in blank.evaluate(READ, text)["fault"]


@pytest.mark.parametrize(("labels", "more"), LABELS.values(), ids=LABELS)
def test_labels_go_on_into_the_forecast(blank: Page, labels: list[str], more: list[str]) -> None:
    """By the same step."""
    assert blank.evaluate(CONTINUE, [labels, 2]) == more


def test_examples_of_a_forecaster_answer(page: Page) -> None:
    """Each is a click, and gives a chart with a band."""
    for model, band in (("sunspots-forecaster", "80 % interval"), ("elnino-forecaster", "80 % interval")):
        page.goto(f"/#model={model}")
        examples = page.locator(".examples button")
        examples.first.wait_for()
        for example in examples.all():
            example.click()
            expect(page.locator(".chart-legend")).to_contain_text("forecast")
            expect(page.locator(".answer")).to_contain_text("The forecast as CSV")
            expect(page.get_by_role("alert")).to_have_count(0)
        expect(page.locator(".chart-legend")).to_contain_text(band)


def test_pasted_series_becomes_a_chart_with_a_band(bench: Page) -> None:
    """Its columns and dates are found, the forecast continues them, and the answer's time is split."""
    bench.get_by_label("Series", exact=True).fill(SUNSPOTS)
    expect(bench.get_by_text("6 values, 1996 to 2001.")).to_be_visible()
    bench.get_by_label("Steps ahead").fill("3")
    forecast(bench)
    expect(bench.locator(".chart-legend")).to_contain_text("80 % interval")
    expect(bench.locator(".chart-title")).to_have_text("sunspots, in sunspots")
    bench.get_by_text("Values as a table").click()
    expect(bench.locator(".chart-table tbody tr").last).to_contain_text("2004")
    expect(bench.locator(".time-parts")).to_contain_text("computing")
    bench.get_by_text("The forecast as CSV").click()
    expect(bench.locator(".raw code").first).to_contain_text(re.compile(r"step,mean,quantile 0.1,quantile 0.9\n2002,"))


def test_forecast_is_streamed_if_asked_for(bench: Page) -> None:
    """The same values as in one answer."""
    bench.get_by_label("Series", exact=True).fill(SUNSPOTS)
    forecast(bench)
    code = bench.locator(".raw code").first
    code.wait_for(state="attached")
    whole = code.text_content()
    bench.get_by_label("Show each step as it comes").check()
    forecast(bench)
    expect(bench.get_by_text("The first of 13 events")).to_be_visible()
    assert bench.locator(".raw code").first.text_content() == whole


def test_column_can_be_chosen(bench: Page) -> None:
    """If a table has several."""
    drop(bench, "two.csv", "day,low,high\n2020-01-01,1,10\n2020-01-02,2,20\n2020-01-03,3,30\n")
    bench.get_by_label("Column").select_option("high")
    forecast(bench)
    with bench.expect_request("**/predict_sequence") as sent:
        forecast(bench)
    assert sent.value.post_data_json["inputs"] == [[10, 20, 30]]
    expect(bench.locator(".chart-title")).to_have_text("high, in sunspots")


def test_gap_is_filled_only_if_asked_for(bench: Page) -> None:
    """The page says which line has none, and what it would do."""
    drop(bench, "gap.csv", "year,spots\n1996,1\n1997,n/a\n1998,\n1999,4\n")
    expect(bench.locator(".series-input .note")).to_contain_text("Line 3 has “n/a” in the column “spots”")
    forecast(bench)
    expect(bench.get_by_role("alert")).to_contain_text("There is no series yet")
    bench.get_by_role("button", name="Fill 2 gaps with straight lines").click()
    with bench.expect_request("**/predict_sequence") as sent:
        forecast(bench)
    assert sent.value.post_data_json["inputs"] == [[1, 2, 3, 4]]


def test_file_with_100000_lines_is_read(bench: Page) -> None:
    """The model takes the last of them, and the page says so."""
    lines = "\n".join(f"{i},{math.sin(i / 20):.4f}" for i in range(100_000))
    drop(bench, "long.csv", f"t,value\n{lines}\n")
    expect(bench.locator(".series-input")).to_contain_text(
        "The model takes the last 1,000 of 100,000 values, 99000 to 99999."
    )
    forecast(bench)
    expect(bench.locator(".chart-legend")).to_contain_text("forecast")
    bench.get_by_label("Show all of the history").check()
    expect(bench.get_by_text("The forecast as CSV")).to_be_visible()


def test_file_that_is_no_text_is_refused(bench: Page) -> None:
    """Such as a spreadsheet."""
    drop(bench, "table.xlsx", b"PK\x03\x04\x00\x00\x00")
    expect(bench.locator(".series-input .error")).to_contain_text("table.xlsx is no text. Save it as CSV first.")


def test_empty_file_says_so(bench: Page) -> None:
    """A file without a value is not passed over in silence."""
    drop(bench, "nothing.csv", " \n")
    expect(bench.locator(".series-input .error")).to_contain_text("nothing.csv is empty.")


def test_short_series_says_how_many_values_are_needed(page: Page) -> None:
    """Before anything is sent."""
    page.goto("/#model=elnino-forecaster")
    page.get_by_label("Series", exact=True).fill("1\n2\n3")
    expect(page.locator(".series-input .error")).to_have_text(
        "This model needs at least 12 values, and the series has 3."
    )


def test_further_input_is_asked_for(page: Page) -> None:
    """A value that the server refuses is said in its sentence."""
    page.goto("/#model=elnino-forecaster")
    page.get_by_label("Series", exact=True).fill("\n".join(map(str, range(12))))
    forecast(page)
    expect(page.get_by_role("alert")).to_contain_text("Fill in “month”")


def test_refusal_of_the_server_is_a_sentence(page: Page, refused: set[str]) -> None:
    """With the id of the request."""
    refused.add("/predict_sequence")
    page.goto("/#model=elnino-forecaster")
    page.get_by_label("Series", exact=True).fill("\n".join(map(str, range(12))))
    page.get_by_label("month", exact=True).fill("12")
    forecast(page)
    expect(page.get_by_role("alert")).to_contain_text("Input 'month': expected integers from 0 to 11, got 12")
    expect(page.get_by_role("alert")).to_contain_text("Request ")


BREAK = """() => {
  const events = [1, 2].map((step) => `data: {"row": 0, "step": ${step}, "value": ${step * 50}}\\n\\n`).join("");
  const real = window.fetch;
  window.fetch = (url, options) => {
    if (!String(url).endsWith("predict_sequence")) return real(url, options);
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(events));
        window.broken = () => controller.error(new TypeError("network error"));
        window.ended = () => controller.close();
        options.signal.addEventListener("abort", () => controller.error(options.signal.reason));
      },
    });
    return Promise.resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
  };
}"""


@pytest.mark.parametrize(
    ("how", "sentence"),
    [("broken", "The connection broke off in the middle"), ("ended", "The stream ended before its last event")],
)
def test_stream_that_fails_in_the_middle_is_said(bench: Page, how: str, sentence: str) -> None:
    """What came so far stays on the chart."""
    bench.get_by_label("Series", exact=True).fill(SUNSPOTS)
    bench.get_by_label("Show each step as it comes").check()
    bench.evaluate(BREAK)
    forecast(bench)
    expect(bench.locator(".chart-legend")).to_contain_text("forecast")
    bench.evaluate(f"window.{how}()")
    expect(bench.get_by_role("alert")).to_contain_text(sentence)
    expect(bench.locator(".chart-legend")).to_contain_text("forecast")


def test_files_are_dropped(bench: Page, tmp_path: Path) -> None:
    """Onto the whole field."""
    bench.evaluate(
        """(text) => {
          const data = new DataTransfer();
          data.items.add(new File([text], "dropped.csv"));
          const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
          document.querySelector(".series-input textarea").dispatchEvent(drop);
        }""",
        SUNSPOTS,
    )
    expect(bench.get_by_text("6 values, 1996 to 2001.")).to_be_visible()


def test_page_fits_a_telephone(bench: Page) -> None:
    """At 360 pixels nothing is wider than the page, with a forecast on it too."""
    bench.get_by_label("Series", exact=True).fill(SUNSPOTS)
    forecast(bench)
    expect(bench.locator(".chart-legend")).to_contain_text("forecast")
    check_width(bench, 360)
    check_page(bench)


def test_forecast_can_be_stopped(bench: Page) -> None:
    """The button is there while a stream runs, and what came so far stays."""
    bench.get_by_label("Series", exact=True).fill(SUNSPOTS)
    bench.get_by_label("Show each step as it comes").check()
    stop = bench.get_by_role("button", name="Stop")
    expect(stop).to_be_hidden()
    bench.evaluate(BREAK)
    forecast(bench)
    expect(bench.locator(".chart-legend")).to_contain_text("forecast")
    stop.click()
    expect(bench.get_by_text("Stopped.")).to_be_visible()
    expect(stop).to_be_hidden()
    expect(bench.locator(".chart-legend")).to_contain_text("forecast")
