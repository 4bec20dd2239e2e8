"""Measures the tasks and the loop: what running together gains for step-by-step requests, and what it costs them.

The requests are the same alone and together, and each round measures both.
"""

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from loadtests.bench.comparison import FAILURES, Comparison
from loadtests.bench.load.closedloop import Client, Reply, ask_together
from loadtests.bench.load.openloop import render_request
from loadtests.bench.models.model import BenchModel
from loadtests.bench.peer import Peer
from loadtests.bench.results.task_figures import (
    FirstStep,
    Rate,
    Speedup,
    TaskFigures,
    compare_outputs,
    count_failed,
    measure_rate,
)
from loadtests.bench.results.task_verdict import AGAIN, ARRIVING, ARRIVING_LONG, AT_ONCE, FORECASTS
from loadtests.http_client import Request

SAMPLERS, FORECASTERS, SEEDS = 32, 64, 64
STEPS, MANY_STEPS, HORIZON = 50, 200, 100
ARRIVAL_S = 1.0
HISTORY, SUNSPOT_CYCLE = 60, 11
PROBE_PAUSE_S, PROBES_START_S = 0.01, 0.5
"""Probes start at random moments of a step, not when the last stream has just ended."""


@dataclass(frozen=True)
class Effort:
    """How long and how often to measure. ``passes`` of work that takes less than a second are measured together."""

    rounds: int = 5
    passes: int = 4
    again_s: float = 4.0
    probes: int = 40


QUICK = Effort(rounds=1, passes=1, again_s=1.0, probes=5)


def sample_request(address: str, seed: int, steps: int, **more: Any) -> bytes:
    """One row of the diffusion model."""
    return _render(address, "/generate", model="digits-diffusion", count=1, seed=seed, steps=steps, **more)


def forecast_request(address: str, number: int) -> bytes:
    """A series like the yearly numbers of sunspots, with different years and height for each ``number``."""
    angles = (2 * math.pi * (year + number) / SUNSPOT_CYCLE for year in range(HISTORY))
    series = [round((60 + number) * (1 + 0.9 * math.sin(angle)), 1) for angle in angles]
    return _render(address, "/predict_sequence", model="sunspots-forecaster", inputs=[series], horizon=HORIZON)


def _render(address: str, path: str, **document: Any) -> bytes:
    headers = {"Content-Type": "application/json"}
    return render_request(address, Request(path, "POST", headers, json.dumps(document).encode()))


def spread_arrivals(requests: Sequence[bytes], arrival_s: float, is_endless: bool = False) -> list[Client]:
    """A client for each request. They arrive evenly over ``arrival_s``."""
    gap_s = arrival_s / len(requests)
    return [Client([request], i * gap_s, is_endless=is_endless) for i, request in enumerate(requests)]


class Trials:
    """The runs on one server, and the rates of each speedup so far."""

    def __init__(self, address: str, effort: Effort) -> None:
        self._address = address
        self._effort = effort
        self._short = [sample_request(address, seed, STEPS) for seed in range(SAMPLERS)]
        self._long = [sample_request(address, seed, MANY_STEPS) for seed in range(SAMPLERS)]
        self._forecasts = [forecast_request(address, number) for number in range(FORECASTERS)]
        self._probes = [sample_request(address, 1000 + i, STEPS, stream=True) for i in range(effort.probes)]
        self._alone: dict[str, list[Rate]] = {}
        self._together: dict[str, list[Rate]] = {}
        self._idle_s: list[float] = []
        self._busy_s: list[float] = []
        self._failed_probes = 0

    def warm_up(self) -> None:
        """Run once alone and once together, so that the server has seen the sizes of its batches."""
        for requests in (self._short, self._forecasts):
            self._run([Client(requests)])
            self._run(spread_arrivals(requests, 0.0))

    def play_round(self) -> None:
        passes = self._effort.passes
        alone = self._measure_rate([Client(self._short)], passes)
        self._note(ARRIVING, alone, self._measure_rate(spread_arrivals(self._short, ARRIVAL_S)))
        self._note(AT_ONCE, alone, self._measure_rate(spread_arrivals(self._short, 0.0), passes))
        again = spread_arrivals(self._short, ARRIVAL_S, is_endless=True)
        self._note(AGAIN, alone, measure_rate([self._run(again, self._effort.again_s)]))
        alone = self._measure_rate([Client(self._long)])
        self._note(ARRIVING_LONG, alone, self._measure_rate(spread_arrivals(self._long, ARRIVAL_S)))
        alone = self._measure_rate([Client(self._forecasts)], units=HORIZON)
        self._note(FORECASTS, alone, self._measure_rate(spread_arrivals(self._forecasts, 0.0), passes, HORIZON))
        self._probe_first_step()

    def collect(self) -> tuple[dict[str, Speedup], FirstStep]:
        speedups = {name: self._speedup(name) for name in self._alone}
        probes = self._effort.probes
        return speedups, FirstStep(tuple(self._idle_s), tuple(self._busy_s), probes, self._failed_probes)

    def _run(self, clients: Sequence[Client], for_s: float = 0.0) -> list[Reply]:
        return ask_together(self._address, clients, for_s)

    def _measure_rate(self, clients: Sequence[Client], passes: int = 1, units: int = 1) -> Rate:
        return measure_rate([self._run(clients) for _ in range(passes)], units)

    def _note(self, name: str, alone: Rate, together: Rate) -> None:
        self._alone.setdefault(name, []).append(alone)
        self._together.setdefault(name, []).append(together)

    def _speedup(self, name: str) -> Speedup:
        alone, together = tuple(self._alone[name]), tuple(self._together[name])
        if name not in (ARRIVING, ARRIVING_LONG):
            return Speedup("steps" if name == FORECASTS else "samples", alone, together)
        last_s = ARRIVAL_S * (SAMPLERS - 1) / SAMPLERS
        return Speedup("samples", alone, together, ARRIVAL_S, SAMPLERS / last_s)

    def _probe_first_step(self) -> None:
        idle = self._run([Client(self._probes, pause_s=PROBE_PAUSE_S)])
        others = spread_arrivals(self._short, PROBES_START_S / 2, is_endless=True)
        replies = self._run([*others, Client(self._probes, PROBES_START_S, PROBE_PAUSE_S)])
        busy = [reply for reply in replies if reply.client == len(others)]
        self._failed_probes += count_failed(idle) + count_failed(replies)
        for times_s, probes in ((self._idle_s, idle), (self._busy_s, busy)):
            times_s.append(median(probe.first_s - probe.asked_s for probe in probes))


def seeded_requests(address: str) -> list[bytes]:
    """Requests for ``SEEDS`` seeds, with and without noise in each step, and with different numbers of steps."""
    return [sample_request(address, seed, STEPS // 2 + seed % STEPS, eta=seed % 2) for seed in range(SEEDS)]


def answer_alone(address: str) -> dict[int, Reply]:
    """Replies by seed, one request after the other."""
    return {reply.number: reply for reply in ask_together(address, [Client(seeded_requests(address))])}


def answer_together(address: str, is_reversed: bool = False) -> dict[int, Reply]:
    """Replies by seed, all at once. ``is_reversed``: the last seed first, so that other rows share batches."""
    order = range(SEEDS)[::-1] if is_reversed else range(SEEDS)
    requests = seeded_requests(address)
    replies = ask_together(address, [Client([requests[seed]]) for seed in order])
    return {order[reply.client]: reply for reply in replies}


def measure_tasks(comparison: Comparison, peer: Peer, model: BenchModel, effort: Effort) -> TaskFigures:
    """All figures of the loop, on two servers: the second is the first one restarted."""
    figures = TaskFigures()
    try:
        with ExitStack() as stack:
            address = comparison.enter(stack, model, peer, peer.encodings).site.address
            trials = Trials(address, effort)
            trials.warm_up()
            for number in range(effort.rounds):
                comparison.say(f"tasks: round {number + 1} of {effort.rounds}")
                trials.play_round()
            speedups, first_step = trials.collect()
            figures = TaskFigures(speedups, first_step)
            ways = [answer_alone(address), answer_together(address)]
        with ExitStack() as stack:
            address = comparison.enter(stack, model, peer, peer.encodings).site.address
            ways.append(answer_together(address, is_reversed=True))
            ways.append(answer_alone(address))
        return replace(figures, sameness=compare_outputs(ways))
    except FAILURES as failure:
        comparison.say(f"{peer.name}: a figure of the tasks is missing: {failure}")
        return replace(figures, missing=(f"tasks: {str(failure).splitlines()[0]}",))
