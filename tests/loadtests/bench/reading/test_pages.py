"""The figure of pages: what is asked, which answers count, and what the report says."""

import io
import itertools

import pytest
from PIL import Image

from loadtests.bench.reading.pages import LINES, draw_page
from loadtests.bench.reading.rapidocr import SOURCE, read_texts
from loadtests.bench.results.report import write_markdown
from loadtests.bench.results.result import READING as ONLY
from loadtests.bench.results.result import Result
from loadtests.bench.results.task_figures import Rate, Speedup, TaskFigures
from loadtests.bench.results.task_verdict import READING
from loadtests.bench.results.verdict import judge
from loadtests.http_client import Answer
from loadtests.wire import WrongAnswer
from tests.loadtests.bench.results.made_up import MACHINE


def test_page_has_all_lines_within_its_edges() -> None:
    """The picture is white at its edges, and there is black between them for each line."""
    page = Image.open(io.BytesIO(draw_page())).convert("L")
    rows = [min(page.crop((0, y, page.width, y + 1)).tobytes()) < 128 for y in range(page.height)]
    assert sum(one and not before for before, one in itertools.pairwise(rows)) >= len(LINES)
    assert not rows[0]
    assert not rows[-1]


@pytest.mark.parametrize("body", [b'{"texts": ["a", "b"]}', b'{"predictions": [{"texts": ["a", "b"], "boxes": []}]}'])
def test_lines_of_both_servers_are_read(body: bytes) -> None:
    """The package answers the lines alone, the pipeline within a prediction."""
    assert read_texts(Answer(200, {}, body)) == ["a", "b"]


@pytest.mark.parametrize("body", [b"{}", b"[]", b"x", b'{"predictions": []}'])
def test_answer_without_lines_is_wrong(body: bytes) -> None:
    """It is not counted as a page without text."""
    with pytest.raises(WrongAnswer, match="texts of a page"):
        read_texts(Answer(200, {}, body))


def test_server_of_the_package_is_python() -> None:
    """Its source compiles."""
    compile(SOURCE, "bench_server.py", "exec")


@pytest.mark.parametrize(
    ("together", "holds", "text"), [(None, None, "not measured"), (3.2, True, "1.60×"), (2.8, False, "1.40×")]
)
def test_many_clients_read_half_as_much_again(together: float | None, holds: bool | None, text: str) -> None:
    """The rate of the pipeline is at least 1.5 times that of the package."""
    speedup = Speedup("pages", (Rate(2.0, 0),), (Rate(together or 0.0, 0),))
    tasks = TaskFigures(speedups={READING: speedup} if together else None)
    result = Result(MACHINE, {}, {}, (), (), (), tasks=tasks, only=ONLY)
    [row] = judge(result)
    assert row.holds is holds
    assert text in row.measured
    assert text in write_markdown(result)
