"""Medians, ratios and the table of a comparison."""

import json
from typing import Any

import pytest

from loadtests.bench.load.ceiling import Ceiling, Point, batch_sizes
from loadtests.bench.load.wrk import Sample
from loadtests.bench.machine import Machine, read_cpu_model
from loadtests.bench.results.report import write_json, write_markdown
from loadtests.bench.results.result import Absence, Cell, Result, compare

MACHINE = Machine("A CPU", 2, "Linux 6", "3.11.7", "abc123", "2026-01-01T00:00:00+00:00")
CEILING = Ceiling("tiny", (Point(1, 1, 2, 500.0), Point(8, 1, 2, 1000.0)))


def sample(answers: int, **changes: Any) -> Sample:
    values = {"wrong_status": 0, "wrong_length": 0, "socket_errors": 0, "timeouts": 0, "p50_s": 0.001, "p99_s": 0.002}
    return Sample(requests=answers, duration_s=1.0, **{**values, **changes})


def cell(peer: str, *answers: int, encoding: str = "json", **changes: Any) -> Cell:
    return Cell("tiny", encoding, 16, peer, tuple(sample(count, **changes) for count in answers))


def result(*cells: Cell, ceilings: tuple[Ceiling, ...] = (CEILING,), absences: tuple[Absence, ...] = ()) -> Result:
    return Result(MACHINE, {"rounds": 3, "round_s": 1}, {"one": {"onnxruntime": "1.2"}}, ceilings, cells, absences)


def table(text: str) -> list[list[str]]:
    """The lines of the last table, which is that of the cells."""
    lines = text[text.index("| model |") :].splitlines()
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_errors_are_no_answers() -> None:
    """Wrong answers are taken off the rate and counted with the broken connections."""
    wrong = sample(100, wrong_status=10, wrong_length=5, socket_errors=2, timeouts=1)
    assert wrong.answers_per_s == 85
    assert wrong.errors == 18


def test_dead_peer_has_no_ratio() -> None:
    """Against a peer that answered nothing right there is no ratio, and the table says so without dividing by zero."""
    mine, dead = cell("one", 100), cell("two", 50, wrong_status=50)
    assert compare(mine, dead) is None
    (row,) = table(write_markdown(result(mine, dead)))[2:]
    assert row[3:] == ["100 ±0% (2 ms)", "0 ±0% (2 ms), **50 errors**", "–"]


def test_round_without_an_answer_is_left_out_of_the_range() -> None:
    """One dead round of the other peer does not make the range of ratios infinite."""
    ratio = compare(cell("one", 100, 100, 100), cell("two", 50, 0, 40))
    assert ratio is not None
    assert (ratio.middle, ratio.least, ratio.most) == (2.25, 2.0, 2.5)


def test_ratio_is_of_the_middle_round() -> None:
    """One wild round moves the range but not the ratio."""
    ratio = compare(cell("one", 200, 210, 1000), cell("two", 100, 100, 100))
    assert ratio is not None
    assert (ratio.middle, ratio.least, ratio.most) == (2.1, 2.0, 10.0)


def test_machine_that_slows_down_does_not_move_a_ratio() -> None:
    """Each round is set against its neighbour: a drift that halves both rates is in neither end of the interval."""
    drift = [1000 - 25 * number for number in range(20)]
    ratio = compare(cell("one", *(2 * rate for rate in drift)), cell("two", *drift))
    assert ratio is not None
    assert (ratio.middle, ratio.least, ratio.most) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(("rounds", "outside"), [(1, 0), (4, 0), (5, 0), (8, 0), (9, 1), (20, 5), (30, 9)])
def test_interval_of_a_ratio_is_that_of_its_median(rounds: int, outside: int) -> None:
    """Of 20 rounds the sixth from either end: by the table of the sign test for 15 of 16 intervals."""
    ratio = compare(cell("one", *range(1, rounds + 1)), cell("two", *[1] * rounds))
    assert ratio is not None
    assert (ratio.least, ratio.most) == (1 + outside, rounds - outside)


def test_table_sets_the_first_peer_against_the_others() -> None:
    """Peers keep their order; an encoding that a peer lacks is a dash."""
    found = table(write_markdown(result(cell("one", 200), cell("two", 100), cell("one", 400, encoding="binary"))))
    assert found[0] == [
        *("model", "encoding", "clients"),
        *("one, rows/s (p99)", "two, rows/s (p99)", "one / two"),
    ]
    assert found[2] == ["tiny", "json", "16", "200 ±0% (2 ms)", "100 ±0% (2 ms)", "2.00 (2.00–2.00)"]
    assert found[3] == ["tiny", "binary", "16", "400 ±0% (2 ms)", "–", "–"]


def test_ceiling_has_no_times() -> None:
    """ONNX Runtime in process stands among the peers, and the ratio to it is the share of the ceiling."""
    (row,) = table(write_markdown(result(cell("one", 80), cell("onnxruntime", 100))))[2:]
    assert row[3:] == ["80 ±0% (2 ms)", "100 ±0%", "0.80 (0.80–0.80)"]


def test_absence_is_written() -> None:
    """A peer that could not be measured is named with the first line of the reason."""
    text = write_markdown(result(cell("one", 1), absences=(Absence("two", "tiny", "did not start\nlog"),)))
    assert "**two was not measured on tiny**: did not start\n" in text


def test_nothing_measured_is_still_a_report() -> None:
    """Without a single cell there is a report with the reasons, in both forms."""
    empty = result(absences=(Absence("one", "tiny", "no"),), ceilings=())
    assert "not measured" in write_markdown(empty)
    assert json.loads(write_json(empty))["cells"] == []


def test_json_has_everything_behind_a_figure() -> None:
    """The JSON holds the machine, every round, the medians and the best point of the ceiling."""
    document = json.loads(write_json(result(cell("one", 10, 30, 20))))
    assert document["machine"]["commit"] == "abc123"
    assert [sample["requests"] for sample in document["cells"][0]["samples"]] == [10, 30, 20]
    assert document["cells"][0]["rows_per_s"] == 20
    assert document["ceilings"][0]["best"]["batch_rows"] == 8
    assert {row["measured"] for row in document["verdict"]} == {"not measured"}


def test_spread_is_of_the_rounds() -> None:
    """The spread goes from the slowest to the fastest round, as a share of the median."""
    assert cell("one", 90, 100, 120).spread == pytest.approx(0.3)
    assert cell("one", 0).spread == 0


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (16, [1, 2, 4, 8, 16]), (20, [1, 2, 4, 8, 16])])
def test_batch_sizes_double(most: int, sizes: list[int]) -> None:
    """The sweep doubles from one up to the most rows."""
    assert list(batch_sizes(most)) == sizes


def test_cpu_model() -> None:
    """The model's name is the first one of /proc/cpuinfo; a machine that tells none has none."""
    assert read_cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n") == "Some CPU @ 2 GHz"
    assert read_cpu_model("") == ""
