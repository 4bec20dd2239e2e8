"""Medians, ratios and the table of a comparison."""

import json

import pytest

from loadtests.bench.load.ceiling import Ceiling, Point, batch_sizes
from loadtests.bench.load.wrk import Sample
from loadtests.bench.machine import read_cpu_model
from loadtests.bench.results.report import write_json, write_markdown
from loadtests.bench.results.result import Absence, Cell, Result, compare
from tests.loadtests.bench.results.made_up import MACHINE, make_cell

CEILING = Ceiling("tiny", (Point(1, 1, 2, 500.0), Point(8, 1, 2, 1000.0)))
DRIFT = [1000 - 25 * number for number in range(20)]


def result(*cells: Cell, ceilings: tuple[Ceiling, ...] = (CEILING,), absences: tuple[Absence, ...] = ()) -> Result:
    return Result(MACHINE, {"rounds": 3, "round_s": 1}, {"one": {"onnxruntime": "1.2"}}, ceilings, cells, absences)


def table(*cells: Cell) -> list[list[str]]:
    """The lines of the last table, which is that of the cells."""
    text = write_markdown(result(*cells))
    lines = text[text.index("| model |") :].splitlines()
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_errors_are_no_answers() -> None:
    """Wrong answers are taken off the rate and counted with the broken connections."""
    wrong = Sample(100, 1.0, 10, 5, 2, 1, 0.001, 0.002)
    assert (wrong.answers_per_s, wrong.errors) == (85, 18)


@pytest.mark.parametrize(
    ("mine", "other", "ratio"),
    [
        pytest.param([100, 100, 100], [50, 0, 40], (2.25, 2.0, 2.5), id="a dead round is left out of the range"),
        pytest.param([200, 210, 1000], [100] * 3, (2.1, 2.0, 10.0), id="a wild round moves the range alone"),
        pytest.param([2 * rate for rate in DRIFT], DRIFT, (2.0, 2.0, 2.0), id="each round has its neighbour: no drift"),
        # The interval is that of the median: of 20 rounds the sixth from either end, by the table of the sign test.
        *[
            pytest.param(range(1, n + 1), [1] * n, ((n + 1) / 2, 1 + outside, n - outside), id=f"{n} rounds")
            for n, outside in ((1, 0), (4, 0), (5, 0), (8, 0), (9, 1), (20, 5), (30, 9))
        ],
    ],
)
def test_ratio_is_of_the_middle_round(mine: list[int], other: list[int], ratio: tuple[float, float, float]) -> None:
    """The ratio and its interval come from pairs of rounds."""
    found = compare(make_cell("one", *mine), make_cell("two", *other))
    assert found is not None
    assert (found.middle, found.least, found.most) == ratio


def test_table_sets_the_first_peer_against_the_others() -> None:
    """Peers keep their order; an encoding that a peer lacks is a dash."""
    found = table(make_cell("one", 200), make_cell("two", 100), make_cell("one", 400, encoding="binary"))
    assert found[0] == ["model", "encoding", "clients", "one, rows/s (p99)", "two, rows/s (p99)", "one / two"]
    assert found[2] == ["tiny", "json", "64", "200 ±0% (2 ms)", "100 ±0% (2 ms)", "2.00 (2.00–2.00)"]
    assert found[3] == ["tiny", "binary", "64", "400 ±0% (2 ms)", "–", "–"]


def test_dead_peer_has_no_ratio() -> None:
    """Against a peer that answered nothing right there is no ratio, and the table says so without dividing by zero."""
    mine, dead = make_cell("one", 100), make_cell("two", 50, wrong_status=50)
    assert compare(mine, dead) is None
    assert table(mine, dead)[2][3:] == ["100 ±0% (2 ms)", "0 ±0% (2 ms), **50 errors**", "–"]


def test_ceiling_has_no_times() -> None:
    """ONNX Runtime in process stands among the peers, and the ratio to it is the share of the ceiling."""
    found = table(make_cell("one", 80), make_cell("onnxruntime", 100))
    assert found[2][3:] == ["80 ±0% (2 ms)", "100 ±0%", "0.80 (0.80–0.80)"]


def test_absence_is_written() -> None:
    """A peer that could not be measured is named with the first line of the reason, though nothing was measured."""
    empty = result(absences=(Absence("two", "tiny", "did not start\nlog"),), ceilings=())
    assert "**two was not measured on tiny**: did not start\n" in write_markdown(empty)
    assert json.loads(write_json(empty))["cells"] == []


def test_json_has_everything_behind_a_figure() -> None:
    """The JSON holds the machine, every round, the medians and the best point of the ceiling."""
    document = json.loads(write_json(result(make_cell("one", 10, 30, 20))))
    assert document["machine"]["commit"] == "abc123"
    assert [sample["requests"] for sample in document["cells"][0]["samples"]] == [10, 30, 20]
    assert document["cells"][0]["rows_per_s"] == 20
    assert document["ceilings"][0]["best"]["batch_rows"] == 8
    assert {row["measured"] for row in document["verdict"]} == {"not measured"}


def test_spread_is_of_the_rounds() -> None:
    """The spread goes from the slowest to the fastest round, as a share of the median."""
    assert make_cell("one", 90, 100, 120).spread == pytest.approx(0.3)
    assert make_cell("one", 0).spread == 0


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (16, [1, 2, 4, 8, 16]), (20, [1, 2, 4, 8, 16])])
def test_batch_sizes_double(most: int, sizes: list[int]) -> None:
    """The sweep doubles from one up to the most rows."""
    assert list(batch_sizes(most)) == sizes


def test_cpu_model() -> None:
    """The model's name is the first one of /proc/cpuinfo; a machine that tells none has none."""
    assert read_cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n") == "Some CPU @ 2 GHz"
    assert read_cpu_model("") == ""
