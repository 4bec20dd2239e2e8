"""The workbench that compares: texts, pictures or numbers, and a table of all pairs."""

import re

from playwright.sync_api import FilePayload, Page, expect

from tests.support.servers import Serving
from tests.web.workbenches.steps import digit, draw_line, give_file, open_bench, told, watch_requests

_DATES = ("Friday, March 13, 2026", "vendredi 13 mars 2026", "trois heures et demie")


def test_texts_are_compared_with_each_other(page: Page) -> None:
    """Each pair has a number, the same both ways, and the verdict of the model."""
    open_bench(page, "language-classifier")
    page.get_by_role("textbox", name="Texts, one a line").fill("\n".join(_DATES))
    page.get_by_role("button", name="Compare").click()
    expect(told(page)).to_have_text(
        re.compile(r"Most alike: vendredi .+ and trois .+, cosine 0\.\d+\. Vectors of 64 n")
    )
    rows = page.locator(".heat-map tbody tr")
    expect(rows).to_have_count(3)
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows.all()]
    assert all(cells[i][j] == cells[j][i] for i in range(3) for j in range(3))
    assert "same" in cells[1][2]
    assert "same" not in cells[0][1]


def test_pictures_are_added_one_by_one(page: Page) -> None:
    """Files are added at once, a drawing with a button; each new one is compared, and can be taken away again."""
    open_bench(page, "digits-matcher")
    give_file(page, digit(0), "first.png")
    expect(page.get_by_text("1 row to compare.")).to_be_visible()
    give_file(page, digit(1), "second.png")
    expect(page.locator(".heat-map tbody tr")).to_have_count(2)
    expect(told(page)).to_contain_text("first.png and second.png")
    draw_line(page)
    page.get_by_role("button", name="Add the drawing").click()
    expect(page.locator(".heat-map tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Remove second.png").press("Enter")
    expect(page.locator(".heat-map tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Remove first.png").press("Enter")
    expect(page.locator(".heat-map")).to_have_count(0)


def test_several_files_are_added_at_once(page: Page) -> None:
    """Six files are six rows, and all pairs of them."""
    open_bench(page, "digits-matcher")
    files = [FilePayload(name=f"{i}.png", mimeType="image/png", buffer=digit(i)) for i in range(6)]
    page.locator("input[type=file]").set_input_files(files)
    expect(page.locator(".heat-map tbody td")).to_have_count(36)
    expect(page.get_by_text("6 rows to compare.")).to_be_visible()


def test_distances_of_numbers(page: Page, uncommon: Serving) -> None:
    """A model of its own metric and of plain numbers."""
    open_bench(page, "plane", base=uncommon.url)
    page.get_by_role("textbox", name="Rows, one a line").fill("[0, 0]\n[0, 1]\n\n[3, 4]")
    page.get_by_role("button", name="Compare").click()
    expect(told(page)).to_have_text("Most alike: Row 1 and Row 2, distance 1. Vectors of 2 numbers.")
    expect(page.locator(".heat-map tbody tr").first.locator("td")).to_have_text(["0.00", re.compile("1.00"), "5.00"])


def test_rows_that_are_no_json_are_not_sent(page: Page, uncommon: Serving) -> None:
    """The sentence names the line."""
    open_bench(page, "plane", base=uncommon.url)
    asked = watch_requests(page, "/embed")
    page.get_by_role("textbox", name="Rows, one a line").fill("[0, 0]\n[0, 1")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_contain_text("Row 2: expected JSON, such as [1, 2.5], got [0, 1")
    assert not asked


def test_refusal_of_the_server_is_a_sentence(page: Page, uncommon: Serving, refused: set[str]) -> None:
    """It names the row and the shape that it should have."""
    refused.add("/embed")
    open_bench(page, "plane", base=uncommon.url)
    page.get_by_role("textbox", name="Rows, one a line").fill("[0, 0]\n[0, 1, 2]")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("alert")).to_contain_text(
        re.compile(r"nputs\[1\]: expected a row of shape \[2\], got \[3\]\.")
    )
