"""What holds and what does not: the promises against cells and figures that are made up."""

from collections.abc import Callable
from functools import partial

import pytest

from loadtests.bench.models.classifier import CLASSIFIER as PHOTOGRAPH_CLASSIFIER
from loadtests.bench.models.detector import DETECTOR
from loadtests.bench.models.photograph import JPEG
from loadtests.bench.models.picture import PNG, make_classifier
from loadtests.bench.peers.sluice import STORE
from loadtests.bench.results.figures import Figures, Latency, Overload, OverloadRound, Poisoning
from loadtests.bench.results.result import PICTURES, TASKS, Cell, Result
from loadtests.bench.results.task_figures import FirstStep, Rate, Sameness, Speedup, TaskFigures
from loadtests.bench.results.task_verdict import AGAIN, ARRIVING, AT_ONCE, FIRST_STEP, FORECASTS, SAMENESS
from loadtests.bench.results.verdict import PHOTOGRAPH_PEERS, judge
from tests.loadtests.bench.results.made_up import MACHINE, make_cell

CLASSIFIER = make_classifier(STORE).name
binary = partial(make_cell, encoding="binary")
residual = partial(binary, model="residual")
picture = partial(make_cell, model=CLASSIFIER, encoding=PNG)
jpeg = partial(make_cell, encoding=JPEG)
classified, detected = (partial(jpeg, model=model.name) for model in (PHOTOGRAPH_CLASSIFIER, DETECTOR))


def overload(*rounds: tuple[float, float | None]) -> Figures:
    """Rounds of 100 requests a second that could be answered: how many were in time, and the p99 of refusals."""
    made = (OverloadRound(100.0, 500.0, within, 0, {}, p99_s, p99_s, 0, 0, 0.1) for within, p99_s in rounds)
    return Figures(overload=Overload("residual", 0.25, tuple(made)))


def speedup(
    name: str, together: float, alone: float = 10.0, failed: int = 0, most_per_s: float | None = None
) -> TaskFigures:
    rates = (Rate(alone, 0),) * 3, (Rate(together, failed),) * 3
    return TaskFigures({name: Speedup("samples", *rates, most_per_s=most_per_s)})


def first_step(idle_s: float, busy_s: float, failed: int = 0) -> TaskFigures:
    return TaskFigures(first_step=FirstStep((idle_s,) * 3, (busy_s,) * 3, 40, failed))


def theirs(make: Callable[..., Cell], *answers: int) -> list[Cell]:
    """BentoML's cells: each picture alone, and in batches."""
    return [make(peer, count) for peer, count in zip(PHOTOGRAPH_PEERS, answers, strict=False)]


def check(result: Result, figure: str, holds: object, aim: object, text: str) -> None:
    """Whether a promise holds and reaches its aim, and what is shown as measured; ... is not looked at."""
    (row,) = (row for row in judge(result) if figure in row.figure)
    assert row.holds is holds
    assert aim is ... or row.reaches_aim is aim
    assert text in row.measured


def test_nothing_measured_neither_holds_nor_fails() -> None:
    """Without a measurement a promise is open, and says so."""
    rows = judge(Result(MACHINE, {}, {}, (), (), ()))
    assert len(rows) == 33
    assert {(row.measured, row.holds, row.reaches_aim) for row in rows} == {("not measured", None, None)}


BENTOML = "tiny, binary, 64 clients: against BentoML"
BEST = "against the best of"
WORST = (
    *(binary("sluice", 1000), binary("litserve", 100), binary("ray", 50)),
    *(binary("sluice", 150, clients=1), binary("litserve", 90, clients=1), binary("mlserver", 100, clients=1)),
)
MINE = (make_cell("sluice", 90), binary("sluice", 80), make_cell("mosec", 50))
LATENCY = Figures(latency=Latency("tiny", (200e-6, 230e-6, 400e-6), (100e-6, 100e-6, 100e-6)))


@pytest.mark.parametrize(
    ("figure", "measured", "holds", "aim", "text"),
    [
        # BentoML has JSON only; the promise holds from its least value on.
        (BENTOML, (binary("sluice", 4100), make_cell("bentoml", 100)), False, False, ""),
        (BENTOML, (binary("sluice", 4200), make_cell("bentoml", 100)), True, False, ""),
        (BENTOML, (binary("sluice", 6000), make_cell("bentoml", 100)), True, True, ""),
        # One bad cell fails the promise, and it is the one that is shown.
        (BEST, WORST, False, False, "worst 1.50× (1.50–1.50) (tiny, binary, 1 clients, mlserver)"),
        # Where twice the best peer is beyond the ceiling, to be as fast as it is enough.
        (BEST, (binary("sluice", 150), binary("fastapi", 100), binary("onnxruntime", 250)), False, False, ""),
        (BEST, (binary("sluice", 150), binary("fastapi", 100), binary("onnxruntime", 190)), True, ..., ""),
        # mosec's faster encoding is set against our faster one, whichever they are.
        ("against mosec", (*MINE, binary("mosec", 100)), True, ..., ""),
        ("against mosec", (*MINE, binary("mosec", 101)), False, ..., ""),
        # The share is of what ONNX Runtime did in process in the same rounds; above it, it was measured wrongly.
        (
            "64 clients: share",
            (residual("sluice", 70, 85, 95), residual("onnxruntime", 100, 100, 100)),
            *(True, False, "0.85 (0.70–0.95)"),
        ),
        ("64 clients: share", (residual("sluice", 120), residual("onnxruntime", 100)), None, None, "not credible"),
        ("fast path", (binary("sluice", 180), binary("sluice-asgi", 100)), True, ..., ""),
        # The bare run of each round is taken off the p50 of that round; the median decides.
        ("p50 above", LATENCY, True, False, "130 µs (100–300)"),
        # What is answered in time and how fast the rest is refused are judged apart; refusing nothing is not slow.
        ("answered within", overload((92.0, 0.03), (94.0, 0.05)), True, ..., ""),
        ("refusals", overload((92.0, 0.03), (94.0, 0.05)), False, ..., "40.0 ms (30.0–50.0)"),
        ("refusals", overload((50.0, None)), None, ..., "nothing was refused"),
        # All neighbours of a poisoned row have their answers; without such a row nothing was measured.
        ("poisoned", Figures(poisoning=Poisoning(990, 0, 10, {"500": 10})), True, ..., ""),
        ("poisoned", Figures(poisoning=Poisoning(990, 1, 10, {"500": 10})), False, ..., ""),
        ("poisoned", Figures(poisoning=Poisoning(990, 0, 0, {})), None, ..., ""),
    ],
)
def test_promises(figure: str, measured: tuple[Cell, ...] | Figures, holds: object, aim: object, text: str) -> None:
    """The promises about servers, latency, overload and poisoned rows."""
    cells, figures = ((), measured) if isinstance(measured, Figures) else (measured, Figures())
    check(Result(MACHINE, {}, {}, (), cells, (), figures), figure, holds, aim, text)


@pytest.mark.parametrize(
    ("figure", "measured", "holds", "aim", "text"),
    [
        # One answer but 200 fails a promise, however good the ratio is.
        (AT_ONCE, speedup(AT_ONCE, 1000.0, failed=1), False, False, "3 answers failed"),
        (FIRST_STEP, first_step(1.0, 1.0, failed=1), False, ..., ""),
        (SAMENESS, TaskFigures(sameness=Sameness(64, 10, 0, 1)), False, ..., ""),
        # Where all answers failed there is no ratio.
        (FORECASTS, speedup(FORECASTS, 0.0, alone=0.0, failed=64), False, ..., "192 answers failed"),
        # Diffusion holds from 3 times on and aims at 5, forecasts hold from 10 times on.
        (AT_ONCE, speedup(AT_ONCE, 29.0), False, False, ""),
        (AT_ONCE, speedup(AT_ONCE, 30.0), True, False, ""),
        (AGAIN, speedup(AGAIN, 50.0), True, True, ""),
        (FORECASTS, speedup(FORECASTS, 99.0), False, False, ""),
        (FORECASTS, speedup(FORECASTS, 100.0), True, True, ""),
        # Where a server that answers in no time would miss the ratio too, it neither holds nor fails.
        (
            ARRIVING,
            speedup(ARRIVING, 11.0, most_per_s=20.0),
            *(None, None, "1.10× (1.10–1.10); arriving takes so long that 2.00× is the most"),
        ),
        (ARRIVING, speedup(ARRIVING, 11.0, most_per_s=30.0), False, ..., ""),
        # Five times the idle service's time is too much.
        (FIRST_STEP, first_step(0.001, 0.0049), True, ..., ""),
        (FIRST_STEP, first_step(0.001, 0.005), False, ..., ""),
        # Both numbers of clients have a row; with errors on either side the ratio says nothing.
        ("PNG, 64 clients", (picture("sluice", 400), picture("bentoml-picture", 100)), True, ..., ""),
        ("PNG, 64 clients", (picture("sluice", 399), picture("bentoml-picture", 100)), False, ..., ""),
        ("PNG, 64 clients", (picture("sluice", 900), picture("bentoml-picture", 100, wrong_status=9)), None, ..., ""),
        ("PNG, 16 clients", (picture("sluice", 400), picture("bentoml-picture", 100)), None, ..., ""),
        # A service for photographs is written in two ways, and the faster one counts.
        ("/classify, a JPEG, 64", (classified("sluice", 200), *theirs(classified, 90, 100)), True, True, "2.00×"),
        ("/classify, a JPEG, 64", (classified("sluice", 199), *theirs(classified, 100, 90)), False, False, "1.99×"),
        ("/detect, a JPEG, 64", (detected("sluice", 200), *theirs(detected, 100)), True, ..., ""),
        ("/detect, a JPEG, 16", (detected("sluice", 200), *theirs(detected, 100)), None, ..., ""),
        ("/detect, a JPEG, 64", (detected("sluice", 200, wrong_status=1), *theirs(detected, 10)), None, ..., ""),
        # One that answers with errors is no peer; the other one is.
        (
            "/detect, a JPEG, 64",
            (detected("sluice", 200), *theirs(detected, 50), detected(PHOTOGRAPH_PEERS[1], 150, wrong_status=1)),
            *(True, ..., "4.00×"),
        ),
    ],
)
def test_promises_of_tasks(
    figure: str, measured: tuple[Cell, ...] | TaskFigures, holds: object, aim: object, text: str
) -> None:
    """The promises about diffusion, forecasts and pictures."""
    cells, tasks = ((), measured) if isinstance(measured, TaskFigures) else (measured, TaskFigures())
    check(Result(MACHINE, {}, {}, (), cells, (), tasks=tasks, only=TASKS), figure, holds, aim, text)


def test_only_pictures_have_rows() -> None:
    """Where nothing else was to be measured, nothing else is said to be missing."""
    rows = judge(Result(MACHINE, {}, {}, (), (), (), only=PICTURES))
    assert len(rows) == 6
    assert all(row.figure.startswith(("/classify", "/detect")) for row in rows)
