"""The verdict in words, and the page with it first."""

import math
from pathlib import Path

import pytest

from loadtests.figures import Failure, Figures, Generator, Route
from loadtests.objective import Objective
from loadtests.report.page import write_page
from loadtests.report.step import Step, list_notes, tell_verdict, write_ms
from loadtests.run import Plan
from loadtests.server_times import ServerTimes

IDLE = Generator(0.5)
TIMES = ServerTimes(5, 0.010, 0.002, 0.001, 0.006, 0.001, 3.5)


def make_step(
    users: int = 4,
    p99_s: float = 0.1,
    requests: int = 100,
    generator: Generator = IDLE,
    times: ServerTimes | None = TIMES,
    model: str = "m",
) -> Step:
    facts = (requests, 0, 50.0 * users, 0.02, 0.01, 0.05, p99_s)
    plan = Plan("http://x", model, ("task",), users, 1.0, 3, 1, Path(f"report-{users}.html"))
    failures = (Failure("/classify", "<b>status 500</b>", 3),)
    figures = Figures((Route("/classify", *facts),), Route("Aggregated", *facts), failures, generator)
    return Step(plan, figures, Objective().judge(figures.measured), times)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([make_step(p99_s=0.5)], "the objective does not hold: p99 500 ms, at most 250 ms"),
        ([make_step(requests=0, p99_s=math.nan)], "the objective does not hold: no request was made"),
        ([make_step()], "the objective holds: 200 requests/s, p99 100 ms, at most 250 ms"),
        (
            [make_step(1), make_step(4), make_step(16, p99_s=0.5)],
            "the objective holds in 2 of 3 runs; best with 4 callers: 200 requests/s; not with 16 callers: "
            "p99 500 ms, at most 250 ms",
        ),
        (
            [make_step(1, 1.0)] * 2,
            "the objective holds in none of 2 runs; not with 1 caller: p99 1000 ms, at most 250 ms",
        ),
    ],
)
def test_verdict_is_one_sentence(steps: list[Step], said: str) -> None:
    """It says what breaks the objective, and of a sweep which run was best."""
    assert tell_verdict(steps) == said


def test_notes_say_what_one_must_know() -> None:
    """A busy generator, requests that were not sent, and the time to the first event."""
    busy, not_sent, first = list_notes([make_step(generator=Generator(0.97, 5, 0.012, 0.034))])
    assert "used 0.97 of a core" in busy
    assert not_sent.startswith("5 requests were due while no caller was free")
    assert first == "the first event of a stream came after p50 12 ms, p99 34 ms"
    assert list_notes([make_step()]) == []


def test_page_begins_with_the_verdict_and_escapes_what_it_is_told() -> None:
    """The heading is the verdict; names and failures are text, not HTML; the page loads nothing."""
    page = write_page([make_step(p99_s=0.5, model="<i>m</i>")])
    body = page[page.index("<body>") :]
    assert body.startswith('<body>\n<h1 class="verdict bad">The objective does not hold: p99 500 ms')
    assert "<b>status" not in page
    assert "<i>m</i>" not in page
    assert "src=" not in page


def test_page_has_the_times_of_client_and_server() -> None:
    """The client's mean is the sum of the parts; a server without statistics is reported."""
    page = write_page([make_step()])
    cells = "".join(f"<td>{cell}</td>" for cell in ("20", "10", "2.0", "1.0", "6.0", "1.0"))
    assert cells in page
    assert "A run had 3.5 rows" in page
    assert "The server has no statistics of this model." in write_page([make_step(times=None)])


def test_page_of_a_sweep_has_a_line_for_each_run() -> None:
    """Each line has a link to its charts."""
    page = write_page([make_step(1), make_step(4)])
    assert page.count("<tr>") == 3
    assert 'href="report-4_locust.html"' in page


@pytest.mark.parametrize(("time_s", "text"), [(math.nan, "–"), (0.00025, "0.25"), (0.0052, "5.2"), (0.25, "250")])
def test_milliseconds_have_two_or_three_digits(time_s: float, text: str) -> None:
    """Short enough for a table of 80 columns."""
    assert write_ms(time_s) == text
