"""What holds and what does not: the promises against cells and figures that are made up."""

import pytest

from loadtests.bench.load.wrk import Sample
from loadtests.bench.machine import Machine
from loadtests.bench.results.figures import Figures, Latency, Overload, OverloadRound, Poisoning
from loadtests.bench.results.result import Cell, Result
from loadtests.bench.results.verdict import Row, judge

MACHINE = Machine("A CPU", 2, "Linux 6", "3.11.7", "abc123", "2026-01-01T00:00:00+00:00")


def cell(peer: str, *rates: int, model: str = "tiny", encoding: str = "binary", clients: int = 64) -> Cell:
    samples = tuple(Sample(rate, 1.0, 0, 0, 0, 0, 0.001, 0.002) for rate in rates)
    return Cell(model, encoding, clients, peer, samples)


def find(text: str, *cells: Cell, figures: Figures | None = None) -> Row:
    result = Result(MACHINE, {}, {}, (), cells, (), figures or Figures())
    (row,) = (row for row in judge(result) if text in row.figure)
    return row


def overload_round(within: float, refusal_p99_s: float | None) -> OverloadRound:
    return OverloadRound(100.0, 500.0, within, 0, {}, refusal_p99_s, refusal_p99_s, 0, 0, 0.1)


def test_nothing_measured_neither_holds_nor_fails() -> None:
    """Without a measurement a promise is open, and says so."""
    rows = judge(Result(MACHINE, {}, {}, (), (), ()))
    assert len(rows) == 27
    assert {(row.measured, row.holds, row.reaches_aim) for row in rows} == {("not measured", None, None)}


@pytest.mark.parametrize(("rate", "holds", "aim"), [(4100, False, False), (4200, True, False), (6000, True, True)])
def test_binary_is_set_against_the_only_encoding_of_bentoml(rate: int, holds: bool, aim: bool) -> None:
    """BentoML has JSON only; the promise holds from its least value on."""
    row = find("tiny, binary, 64 clients: against BentoML", cell("sluice", rate), cell("bentoml", 100, encoding="json"))
    assert (row.holds, row.reaches_aim) == (holds, aim)


def test_worst_cell_decides() -> None:
    """Against the best of the Python peers one bad cell fails the promise, and it is the one that is shown."""
    cells = [
        *(cell("sluice", 1000), cell("litserve", 100), cell("ray", 50)),
        *(cell("sluice", 150, clients=1), cell("litserve", 90, clients=1), cell("mlserver", 100, clients=1)),
    ]
    row = find("against the best of", *cells)
    assert (row.holds, row.reaches_aim) == (False, False)
    assert row.measured == "worst 1.50× (1.50–1.50) (tiny, binary, 1 clients, mlserver)"


def test_ceiling_binds() -> None:
    """Where twice the best peer is beyond the ceiling, to be as fast as it is enough."""
    cells = [cell("sluice", 150), cell("fastapi", 100)]
    assert find("against the best of", *cells, cell("onnxruntime", 250)).holds is False
    assert find("against the best of", *cells, cell("onnxruntime", 190)).holds is True


def test_each_in_its_best_encoding() -> None:
    """mosec's faster encoding is set against our faster one, whichever they are."""
    cells = [cell("sluice", 90, encoding="json"), cell("sluice", 80), cell("mosec", 50, encoding="json")]
    assert find("against mosec", *cells, cell("mosec", 100)).holds is True
    assert find("against mosec", *cells, cell("mosec", 101)).holds is False


def test_share_of_the_ceiling() -> None:
    """The share is of what ONNX Runtime did in process in the same rounds."""
    ceiling = cell("onnxruntime", 100, 100, 100, model="residual")
    row = find("64 clients: share", cell("sluice", 70, 85, 95, model="residual"), ceiling)
    assert (row.measured, row.holds, row.reaches_aim) == ("0.85 (0.70–0.95)", True, False)


def test_more_than_the_ceiling_is_not_believed() -> None:
    """A server above the ceiling shows that the ceiling was measured wrongly, so the promise stays open."""
    ceiling = cell("onnxruntime", 100, model="residual")
    row = find("64 clients: share", cell("sluice", 120, model="residual"), ceiling)
    assert (row.holds, row.reaches_aim) == (None, None)
    assert "not credible" in row.measured


def test_paths() -> None:
    """The fast path is set against the same server without it."""
    assert find("fast path", cell("sluice", 180), cell("sluice-asgi", 100)).holds is True


def test_latency_is_what_the_server_adds() -> None:
    """The bare run of each round is taken off the p50 of that round; the median decides."""
    figures = Figures(latency=Latency("tiny", (200e-6, 230e-6, 400e-6), (100e-6, 100e-6, 100e-6)))
    row = find("p50 above", figures=figures)
    assert (row.measured, row.holds, row.reaches_aim) == ("130 µs (100–300)", True, False)


def test_overload_has_two_promises() -> None:
    """What is answered in time and how fast the rest is refused are judged apart."""
    figures = Figures(overload=Overload("residual", 0.25, (overload_round(92.0, 0.03), overload_round(94.0, 0.05))))
    assert find("answered within", figures=figures).holds is True
    row = find("refusals", figures=figures)
    assert (row.measured, row.holds) == ("40.0 ms (30.0–50.0)", False)


def test_overload_without_a_refusal_says_nothing_of_them() -> None:
    """A server that refuses nothing has no refusal that is slow."""
    figures = Figures(overload=Overload("residual", 0.25, (overload_round(50.0, None),)))
    row = find("refusals", figures=figures)
    assert (row.measured, row.holds) == ("nothing was refused", None)


@pytest.mark.parametrize(("failed", "holds"), [(0, True), (1, False)])
def test_one_failing_neighbour_is_one_too_many(failed: int, holds: bool) -> None:
    """The poisoned row's neighbours either all have their answers or the promise is broken."""
    assert find("poisoned", figures=Figures(poisoning=Poisoning(990, failed, 10, {"500": 10}))).holds is holds


def test_no_poisoned_request_proves_nothing() -> None:
    """If by chance no poisoned request was sent, nothing was measured."""
    assert find("poisoned", figures=Figures(poisoning=Poisoning(990, 0, 0, {}))).holds is None
