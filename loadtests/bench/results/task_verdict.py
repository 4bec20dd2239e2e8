"""Whether the promises about the tasks and the loop hold. Pure."""

from collections.abc import Iterator

from loadtests.bench.results.promise import NOT_MEASURED, Row, write_ratio
from loadtests.bench.results.task_figures import Speedup, TaskFigures

DIFFUSION = "32 diffusion requests against one after the other: "
ARRIVING = DIFFUSION + "50 steps, over the first second"
ARRIVING_LONG = DIFFUSION + "200 steps, over the first second"
AT_ONCE = DIFFUSION + "50 steps, all at once"
AGAIN = DIFFUSION + "50 steps, each client asks again"
FORECASTS = "64 forecasts of 100 steps against one after the other"
FIRST_STEP = "first streamed step while 32 others run, against an idle service"
SAMENESS = "the same seeds alone, together and across a restart: differing answers"

PIPELINE = "a pipeline of three steps, one client: against the sum of its steps"

SPEECH_CLIENTS = 16
SPEECH = f"speech, {SPEECH_CLIENTS} clients: against one after the other"
READING_CLIENTS = 16
READING = f"a pipeline that reads pages, {READING_CLIENTS} clients: against RapidOCR, one after the other"

SPEEDUPS = ((ARRIVING, 3.0, 5.0), (ARRIVING_LONG, 3.0, 5.0), (AT_ONCE, 3.0, 5.0), (AGAIN, 3.0, 5.0))
FORECASTS_LEAST = 10.0
FIRST_STEP_MOST = 5.0
PIPELINE_MOST = 1.15
SPEECH_LEAST = READING_LEAST = 1.5


def judge_tasks(figures: TaskFigures) -> Iterator[Row]:
    """A row fails if an answer is not 200. If arrivals limit a ratio, it shows nothing."""
    speedups = figures.speedups or {}
    for name, least, aim in (*SPEEDUPS, (FORECASTS, FORECASTS_LEAST, FORECASTS_LEAST)):
        yield _judge_speedup(name, least, aim, speedups.get(name))
    yield _judge_first_step(figures)
    yield _judge_sameness(figures)


def judge_pipeline(figures: TaskFigures) -> Row:
    promise = f"under {PIPELINE_MOST:g}×", f"under {PIPELINE_MOST:g}×"
    found = figures.pipeline
    if found is None:
        return Row(PIPELINE, *promise, NOT_MEASURED, None, None)
    if found.ratio is None or found.failed:
        return Row(PIPELINE, *promise, f"{found.failed} answers failed", False, False)
    holds = found.ratio.middle < PIPELINE_MOST
    return Row(PIPELINE, *promise, write_ratio(found.ratio), holds, holds)


def judge_speech(figures: TaskFigures) -> Row:
    return _judge_speedup(SPEECH, SPEECH_LEAST, SPEECH_LEAST, (figures.speedups or {}).get(SPEECH))


def judge_reading(figures: TaskFigures) -> Row:
    return _judge_speedup(READING, READING_LEAST, READING_LEAST, (figures.speedups or {}).get(READING))


def _judge_speedup(name: str, least: float, aim: float, speedup: Speedup | None) -> Row:
    promise = f"{least:g}×", f"{aim:g}×"
    ratio = speedup.ratio if speedup else None
    if speedup is None or (ratio is None and not speedup.failed):
        return Row(name, *promise, NOT_MEASURED, None, None)
    if ratio is None or speedup.failed:
        return Row(name, *promise, f"{speedup.failed} answers failed", False, False)
    text, most = write_ratio(ratio), speedup.most_ratio
    if most is not None and most < least:
        return Row(name, *promise, f"{text}; arriving takes so long that {most:.2f}× is the most", None, None)
    return Row(name, *promise, text, ratio.middle >= least, ratio.middle >= aim)


def _judge_first_step(figures: TaskFigures) -> Row:
    promise = f"under {FIRST_STEP_MOST:g}×", f"under {FIRST_STEP_MOST:g}×"
    found = figures.first_step
    if found is None:
        return Row(FIRST_STEP, *promise, NOT_MEASURED, None, None)
    ratio = found.ratio
    if ratio is None or found.failed:
        return Row(FIRST_STEP, *promise, f"{found.failed} answers failed", False, False)
    holds = ratio.middle < FIRST_STEP_MOST
    return Row(FIRST_STEP, *promise, write_ratio(ratio), holds, holds)


def _judge_sameness(figures: TaskFigures) -> Row:
    found = figures.sameness
    if found is None or not (found.compared or found.failed):
        return Row(SAMENESS, "0", "0", NOT_MEASURED, None, None)
    text = f"{found.differing} of {found.compared}, from {found.seeds} seeds"
    if found.failed:
        text += f", {found.failed} answers failed"
    holds = not found.differing and not found.failed
    return Row(SAMENESS, "0", "0", text, holds, holds)
