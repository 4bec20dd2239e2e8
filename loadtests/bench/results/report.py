"""The result as JSON, and as Markdown: the promises with what was measured, then every cell. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import median

from loadtests.bench.results.result import IN_PROCESS, Cell, Result, compare
from loadtests.bench.results.task_figures import Rate, TaskFigures
from loadtests.bench.results.verdict import judge


def write_json(result: Result) -> str:
    """Everything behind a figure: every round, the medians, the verdict."""
    cells = [
        {
            **asdict(cell),
            "rows_per_s": cell.rows_per_s,
            "p50_s": cell.p50_s,
            "p99_s": cell.p99_s,
            "errors": cell.errors,
        }
        for cell in result.cells
    ]
    ceilings = [{**asdict(ceiling), "best": asdict(ceiling.best)} for ceiling in result.ceilings]
    document = {
        **asdict(result),
        "ceilings": ceilings,
        "cells": cells,
        "figures": result.figures.as_document(),
        "tasks": result.tasks.as_document(),
        "verdict": [asdict(row) for row in judge(result)],
    }
    return json.dumps(document, indent=2)


def write_markdown(result: Result) -> str:
    """The machine, the promises, and one line for each model, encoding and number of clients.

    Each peer's column has its median rows/s and p99; the first peer is set against every other one; ``onnxruntime`` is
    the ceiling, ONNX Runtime in process.
    """
    first, *others = result.peers or [""]
    headings = ["model", "encoding", "clients"]
    headings += [f"{peer}, rows/s (p99)" for peer in result.peers]
    headings += [f"{first} / {other}" for other in others]
    lines = [_write_line(headings), _write_line(["---"] * 3 + ["---:"] * (len(headings) - 3))]
    lines += [_write_line(row) for row in _rows(result, first, others)]
    return "\n".join([_describe(result), "", *_verdict(result), "", *lines, "", *_notes(result)]).rstrip() + "\n"


def _verdict(result: Result) -> Iterator[str]:
    signs = {True: "yes", False: "**no**", None: "–"}
    yield _write_line(["figure", "at least", "aim", "measured", "holds", "aim reached"])
    yield _write_line(["---"] * 6)
    for row in judge(result):
        holds, aim = signs[row.holds], signs[row.reaches_aim]
        yield _write_line([row.figure, row.at_least, row.aim, row.measured, holds, aim])


def _rows(result: Result, first: str, others: Sequence[str]) -> Iterator[list[str]]:
    cells = {(cell.model, cell.encoding, cell.clients, cell.peer): cell for cell in result.cells}
    for key in dict.fromkeys((cell.model, cell.encoding, cell.clients) for cell in result.cells):
        mine = cells.get((*key, first))
        row = [key[0], key[1], str(key[2])]
        row += [_write_cell(cells.get((*key, peer))) for peer in result.peers]
        row += [_write_ratio(mine, cells.get((*key, other))) for other in others]
        yield row


def _write_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _write_cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    text = f"{cell.rows_per_s:,.0f} ±{cell.spread / 2:.0%}"
    text += f" ({cell.p99_s * 1000:.3g} ms)" if cell.peer != IN_PROCESS else ""
    return f"{text}, **{cell.errors} errors**" if cell.errors else text


def _write_ratio(one: Cell | None, other: Cell | None) -> str:
    ratio = compare(one, other) if one and other else None
    return f"{ratio.middle:.2f} ({ratio.least:.2f}–{ratio.most:.2f})" if ratio else "–"


def _describe(result: Result) -> str:
    machine, settings = result.machine, result.settings
    versions = "; ".join(
        f"{peer}: {', '.join(f'{name} {version}' for name, version in found.items())}"
        for peer, found in result.versions.items()
    )
    commit = f", commit {machine.commit}" if machine.commit else ""
    rounds = f"{settings['rounds']} interleaved rounds of {settings['round_s']} s" if settings else "interleaved rounds"
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.system}, Python {machine.python}{commit}, {machine.date}. "
        f"Load generator on the same cores, {rounds}, medians, ± half the spread of the rounds; ratios round by "
        f"round, with the interval of their median (of five rounds the least and the most). {versions}."
    )


def _notes(result: Result) -> Iterator[str]:
    for ceiling in result.ceilings:
        best = ceiling.best
        yield (
            f"Sweep in process before the rounds, {ceiling.model}: {best.rows_per_s:,.0f} rows/s, "
            f"batches of {best.batch_rows}, "
            f"{best.lanes} lanes of {best.threads} threads.\n"
        )
    if result.figures.overload:
        for one in result.figures.overload.rounds:
            refused = "–" if one.refusal_p50_s is None else f"{one.refusal_p50_s * 1e3:.1f} ms"
            yield (
                f"Overload: capacity {one.capacity_per_s:,.0f}/s, offered {one.offered_per_s:,.0f}/s, answers by "
                f"status {one.statuses}, {one.late} late, {one.unanswered} unanswered, {one.not_sent} not sent for "
                f"want of a connection, p50 of refusals {refused}, generator on {one.generator_cores:.2f} cores.\n"
            )
    if result.figures.poisoning:
        yield f"Poisoned requests were answered with {result.figures.poisoning.poisoned_statuses}.\n"
    yield from _task_notes(result.tasks)
    for missing in (*result.figures.missing, *result.tasks.missing):
        yield f"**A figure was not measured**: {missing}\n"
    for absence in result.absences:
        yield f"**{absence.peer} was not measured on {absence.model}**: {absence.reason.splitlines()[0]}\n"


def _task_notes(tasks: TaskFigures) -> Iterator[str]:
    """What the ratios are made of."""
    for name, speedup in (tasks.speedups or {}).items():
        alone, together = (_write_rates(rates) for rates in (speedup.alone, speedup.together))
        yield f"{name}: {together} {speedup.unit}/s, alone {alone} {speedup.unit}/s.\n"
    if tasks.first_step:
        idle, busy = (_write_times(times_s) for times_s in (tasks.first_step.idle_s, tasks.first_step.busy_s))
        probes = tasks.first_step.probes
        yield f"First streamed step: {busy} ms beside 32 others, {idle} ms idle; medians of {probes} a round.\n"
    if tasks.pipeline:
        whole, steps = (_write_times(times_s) for times_s in (tasks.pipeline.pipeline_s, tasks.pipeline.steps_s))
        yield f"Pipeline of three steps: {whole} ms, its steps one by one {steps} ms; medians of the rounds.\n"


def _write_rates(rates: Sequence[Rate]) -> str:
    per_s = [rate.per_s for rate in rates]
    return f"{median(per_s):,.0f} ({min(per_s):,.0f}–{max(per_s):,.0f})"


def _write_times(times_s: Sequence[float]) -> str:
    return f"{median(times_s) * 1e3:.2f} ({min(times_s) * 1e3:.2f}–{max(times_s) * 1e3:.2f})"
