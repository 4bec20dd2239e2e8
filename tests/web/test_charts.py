"""Charts: what they draw, with any values, and what is said of them to people who do not see them."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

DRAW = """async ([kind, options]) => {
  const charts = await import("./web/js/chart.js");
  document.querySelector("main").replaceChildren();
  window.chart = charts[kind](options);
  document.querySelector("main").append(window.chart.element);
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}"""
CALL = "async ([file, name, args]) => (await import(`./web/js/${file}`))[name](...args)"


@pytest.fixture
def blank(page: Page) -> Page:
    """A page whose content may go."""
    page.goto("/live")
    return page


def draw(page: Page, kind: str, **options: Any) -> None:
    page.evaluate(DRAW, [kind, {"title": "Test", **options}])


def call(page: Page, name: str, *args: Any) -> Any:
    return page.evaluate(CALL, ["chart/scale.js", name, list(args)])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 0.3, [0, 0.1, 0.2, 0.3]),
        (-7, 12, [-5, 0, 5, 10]),
        (0, 1e-6, [0, 2e-7, 4e-7, 6e-7, 8e-7, 1e-6]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_numbers_that_people_like(blank: Page, low: float, high: float, ticks: list[float]) -> None:
    """Steps of 1, 2 or 5 times a power of ten."""
    assert call(blank, "niceTicks", low, high, 5) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("showSeconds", 0.00085, "850 µs"),
        ("showSeconds", 0.0123, "12.3 ms"),
        ("showSeconds", 75, "75 s"),
        ("showBytes", 512 * 2**20, "512 MiB"),
        ("showBytes", 1536, "1.5 KiB"),
        ("showNumber", 1234567, "1,234,567"),
        ("showNumber", 0.12345, "0.1235"),
        ("showNumber", None, "none"),
    ],
)
def test_numbers_have_their_unit(blank: Page, name: str, value: float | None, text: str) -> None:
    """With about three digits, as people say them."""
    assert call(blank, name, value) == text


def test_line_has_gaps_where_values_are_missing(blank: Page) -> None:
    """A value alone between two gaps is a dot."""
    draw(blank, "lineChart", series=[{"name": "a", "values": [1, 2, None, 3, None, 4, 5]}])
    path = blank.locator(".chart-line").get_attribute("d") or ""
    assert path.count("M") == 3
    assert blank.locator("circle.chart-dot").count() == 1


def test_chart_of_nothing_is_drawn(blank: Page) -> None:
    """Without series, without values, with one value, with equal ones, and with values that are not finite."""
    for values in ([], [None, None], [5], [5, 5, 5], [0, 0], [-1e300, 1e300]):
        draw(blank, "lineChart", series=[{"name": "a", "values": values}])
        said = "a: from" if any(value is not None for value in values) else "a: no values yet"
        expect(blank.locator(".chart-drawing")).to_have_attribute("aria-label", re.compile(said))
    draw(blank, "lineChart", series=[])
    draw(blank, "barChart", bars=[])
    draw(blank, "barChart", bars=[], standing=True)
    assert "NaN" not in blank.locator("figure").inner_html()


def test_long_series_are_thinned_to_their_pixels(blank: Page) -> None:
    """100,000 values are drawn with a few points for each pixel, and none of the extremes is lost."""
    values = [0.0] * 100_000
    values[77_777] = 1000.0
    draw(blank, "lineChart", series=[{"name": "a", "values": values}])
    path = blank.locator(".chart-line").get_attribute("d") or ""
    assert len(path) < 100_000
    top = min(float(point.split(" ")[1]) for point in path.replace("M", "L").split("L")[1:])
    assert top == pytest.approx(8, abs=0.5)
    blank.locator(".chart-drawing").focus()
    blank.keyboard.press("End")
    expect(blank.locator(".chart-readout")).to_have_text("99,999: a 0")


def test_arrows_read_the_values(blank: Page) -> None:
    """Each key moves to the next value; lines and bands are said together."""
    band = {"name": "80 %", "low": [0, 1, 2], "high": [2, 3, 4]}
    draw(blank, "lineChart", series=[{"name": "mean", "values": [1, 2, 3]}], band=band, labels=["Mo", "Tu", "We"])
    blank.locator(".chart-drawing").focus()
    for key, text in (("Home", "Mo: mean 1 · 80 %, low 0 · 80 %, high 2"), ("ArrowRight", "Tu: mean 2")):
        blank.keyboard.press(key)
        expect(blank.locator(".chart-readout")).to_contain_text(text)
    blank.keyboard.press("End")
    blank.keyboard.press("ArrowRight")
    expect(blank.locator(".chart-readout")).to_contain_text("We: mean 3")


def test_values_are_a_table_too(blank: Page) -> None:
    """A line for each position, a column for each line; a long one says that it is a part."""
    draw(blank, "lineChart", series=[{"name": "a", "values": [1, 2]}, {"name": "b", "values": [3], "x": [1]}])
    blank.get_by_text("Values as a table").click()
    assert blank.locator("tbody tr").all_inner_texts() == ["0\t1\t", "1\t2\t3"]
    draw(blank, "lineChart", series=[{"name": "a", "values": list(range(5000))}])
    blank.get_by_text("Values as a table").click()
    expect(blank.locator("caption")).to_have_text("One in 10 of 5,000 values")


def test_bars_with_parts_add_up(blank: Page) -> None:
    """The longest bar has the width, and each part its share."""
    parts = [{"name": "x", "value": 1}, {"name": "y", "value": 3}]
    draw(blank, "barChart", bars=[{"name": "one", "parts": parts}, {"name": "two", "parts": parts[:1]}])
    widths = [float(each.get_attribute("width") or 0) for each in blank.locator("rect.chart-bar").all()]
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)
    assert widths[2] == pytest.approx(widths[0])
    expect(blank.locator(".chart-drawing")).to_have_attribute("aria-label", "Test. one: 4; two: 1.")


def test_chart_follows_its_width(blank: Page) -> None:
    """It is drawn anew, so that letters keep their size."""
    draw(blank, "lineChart", series=[{"name": "a", "values": [1, 2, 3]}])
    blank.set_viewport_size({"width": 360, "height": 700})
    expect(blank.locator(".chart-drawing")).to_have_attribute("width", "328")
