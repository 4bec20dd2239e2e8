"""Measures the figures that are not a rate against a peer, each on a server of its own."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import TypeVar

import numpy as np

from loadtests.bench.comparison import Comparison, RunningServer
from loadtests.bench.environment import NotInstalled
from loadtests.bench.load.openloop import GeneratorFailed, Outcome, Plan, render_request
from loadtests.bench.load.wrk import Sample, WrkFailed
from loadtests.bench.models.model import INPUT, MODELS, POISON, POISONED, BenchModel, open_session
from loadtests.bench.peer import BINARY, Peer
from loadtests.bench.results.figures import (
    Figures,
    Latency,
    Overload,
    Poisoning,
    summarise_overload,
    summarise_poisoning,
)
from loadtests.bench.server import ServerFailed
from loadtests.http_client import Request, Unreachable
from loadtests.wire import HEADER_LENGTH, WrongAnswer

OVERLOAD = 5.0
DEADLINE_S = 0.25
OVERLOAD_CLIENTS = 64
OVERLOAD_CONNECTIONS = 1024
POISON_EVERY, POISON_RATE_PER_S, POISON_BURST, POISON_CONNECTIONS = 100, 2000.0, 32, 256

Generate = Callable[[Plan], Outcome]
Found = TypeVar("Found")


def time_bare_run(model: BenchModel, duration_s: float) -> float:
    """The median seconds of ``session.run`` of one row on one thread, with nothing around it."""
    session = open_session(model.build())
    rows = {INPUT: model.make_rows(1)}
    times_s = []
    end_s = perf_counter() + duration_s
    session.run(None, rows)
    while (began := perf_counter()) < end_s:
        session.run(None, rows)
        times_s.append(perf_counter() - began)
    return median(times_s)


def measure_latency(model: BenchModel, load: Callable[[int, int], Sample], rounds: int, round_s: int) -> Latency:
    """``load(clients, seconds)`` loads the server."""
    load(1, 1)
    p50_s, bare_s = [], []
    for _ in range(rounds):
        bare_s.append(time_bare_run(model, round_s / 2))
        p50_s.append(load(1, round_s).p50_s)
    return Latency(model.name, tuple(p50_s), tuple(bare_s))


def set_deadline(request: Request, deadline_s: float) -> Request:
    """A binary infer request with the protocol's ``timeout`` parameter."""
    length = int(request.headers[HEADER_LENGTH])
    document = json.loads(request.body[:length])
    document.setdefault("parameters", {})["timeout"] = int(deadline_s * 1e6)
    header = json.dumps(document).encode()
    headers = {**request.headers, HEADER_LENGTH: str(len(header))}
    return replace(request, headers=headers, body=header + request.body[length:])


def measure_overload(
    peer: Peer,
    model: BenchModel,
    address: str,
    load: Callable[[int, int], Sample],
    generate: Generate,
    rounds: int,
    round_s: int,
) -> Overload:
    """Offer five times what 64 clients of wrk had just before; each round measures both."""
    rows = model.make_rows(1)
    request = set_deadline(peer.request(model, BINARY, rows), DEADLINE_S)
    found = []
    load(OVERLOAD_CLIENTS, 1)
    for _ in range(rounds):
        capacity_per_s = load(OVERLOAD_CLIENTS, round_s).answers_per_s
        plan = Plan(
            address=address,
            usual=render_request(address, request),
            expected=b"",  # other rows may change the last bits; the answers were checked before
            rate_per_s=OVERLOAD * capacity_per_s,
            duration_s=round_s,
            connections=OVERLOAD_CONNECTIONS,
        )
        found.append(summarise_overload(plan, generate(plan), capacity_per_s, DEADLINE_S))
    return Overload(model.name, DEADLINE_S, tuple(found))


def measure_poisoning(peer: Peer, address: str, generate: Generate, duration_s: float) -> Poisoning:
    """One request in a hundred makes the model fail. The others are checked by status and bytes."""
    rows = POISONED.make_rows(1)
    poison = np.full_like(rows, POISON)
    plan = Plan(
        address=address,
        usual=render_request(address, peer.request(POISONED, BINARY, rows)),
        expected=POISONED.score(rows).astype("<f4").tobytes(),  # a table look-up gives the same bits in any batch
        rate_per_s=POISON_RATE_PER_S,
        duration_s=duration_s,
        connections=POISON_CONNECTIONS,
        burst=POISON_BURST,
        odd=render_request(address, peer.request(POISONED, BINARY, poison)),
        odd_every=POISON_EVERY,
    )
    return summarise_poisoning(generate(plan))


def measure_figures(comparison: Comparison, peer: Peer, rounds: int, round_s: int) -> Figures:
    """Measure all three figures. If a server fails, that is the reason why a figure is missing."""
    tiny, residual = MODELS["tiny"], MODELS["residual"]
    missing: list[str] = []

    def enter_and(model: BenchModel, measure: Callable[[RunningServer], Found]) -> Found | None:
        try:
            with ExitStack() as stack:
                return measure(comparison.enter(stack, model, peer, (BINARY,)))
        except (NotInstalled, ServerFailed, Unreachable, WrongAnswer, WrkFailed, GeneratorFailed, OSError) as failure:
            comparison.say(f"{peer.name}: a figure on {model.name} is missing: {failure}")
            missing.append(f"{model.name}: {str(failure).splitlines()[0]}")
            return None

    def loader(server: RunningServer) -> Callable[[int, int], Sample]:
        return partial(server.load, BINARY)

    return Figures(
        enter_and(tiny, lambda one: measure_latency(tiny, loader(one), rounds, round_s)),
        enter_and(
            residual,
            lambda one: measure_overload(peer, residual, one.site.address, loader(one), one.generate, rounds, round_s),
        ),
        enter_and(POISONED, lambda one: measure_poisoning(peer, one.site.address, one.generate, rounds * round_s)),
        tuple(missing),
    )
