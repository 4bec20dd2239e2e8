"""Measures ``/embed`` of texts of many lengths: each padded to its own next length, against all padded to the longest.

Every client sends texts of its own, of 8 to 128 tokens, one after the other; both servers get the same ones.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

import numpy as np

from loadtests.bench.comparison import START_FAILURES, Comparison, RunningServer
from loadtests.bench.load.closedloop import Client, Reply, ask_together
from loadtests.bench.load.openloop import render_request
from loadtests.bench.load.wrk import Sample, WrkFailed
from loadtests.bench.models.text_encoder import ENCODER, LEAST_TOKENS, MOST_TOKENS, TEXTS, make_text
from loadtests.bench.peers.sluice_texts import FIXED_PEER, TEXTS_PEER, make_request
from loadtests.bench.results.result import Absence, Cell

CLIENTS, TEXTS_A_CLIENT = 64, 16
ROUNDS, ROUND_S, QUICK_ROUND_S = 5, 3.0, 1.0


def measure_texts(comparison: Comparison, is_quick: bool) -> list[Cell]:
    """A cell for each of the two servers. What cannot be measured is noted as an absence."""
    samples: dict[str, list[Sample]] = {TEXTS_PEER.name: [], FIXED_PEER.name: []}
    with ExitStack() as stack:
        servers = []
        for peer in (TEXTS_PEER, FIXED_PEER):
            try:
                servers.append(comparison.enter(stack, ENCODER, peer, (TEXTS,)))
            except START_FAILURES as failure:
                comparison.absences.append(Absence(peer.name, ENCODER.name, str(failure)))
                return []
        comparison.say(f"{ENCODER.name}, {TEXTS}, {CLIENTS} clients: {', '.join(samples)}")
        for number in range(-1, 1 if is_quick else ROUNDS):
            for server in servers if number % 2 == 0 else reversed(servers):
                try:
                    sample = _measure(server, QUICK_ROUND_S if is_quick or number < 0 else ROUND_S)
                except (WrkFailed, OSError) as failure:
                    comparison.absences.append(Absence(server.peer.name, ENCODER.name, str(failure)))
                    return []
                if number >= 0:
                    samples[server.peer.name].append(sample)
    return [Cell(ENCODER.name, TEXTS, CLIENTS, name, tuple(found)) for name, found in samples.items()]


def _measure(server: RunningServer, duration_s: float) -> Sample:
    clients = [Client(texts, is_endless=True) for texts in make_requests(server.site.address)]
    with server.awake():
        return summarise(ask_together(server.site.address, clients, duration_s))


def make_requests(address: str) -> list[list[bytes]]:
    """The requests of each client, with texts of lengths that are spread evenly."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(LEAST_TOKENS, MOST_TOKENS, (CLIENTS, TEXTS_A_CLIENT), endpoint=True)
    return [
        [
            render_request(address, make_request(ENCODER, TEXTS, make_text(int(tokens), client * 100 + number)[None]))
            for number, tokens in enumerate(of_client)
        ]
        for client, of_client in enumerate(lengths)
    ]


def summarise(replies: Sequence[Reply]) -> Sample:
    """The replies of a run as a sample. It lasts until the last answer."""
    times_s = sorted(reply.ended_s - reply.asked_s for reply in replies) or [0.0]
    wrong = sum(reply.status not in (0, 200) for reply in replies)
    lost = sum(reply.status == 0 for reply in replies)
    return Sample(
        requests=len(replies) - lost,
        duration_s=max((reply.ended_s for reply in replies), default=0.0),
        wrong_status=wrong,
        wrong_length=0,
        socket_errors=lost,
        timeouts=0,
        p50_s=median(times_s),
        p99_s=times_s[int(0.99 * (len(times_s) - 1))],
    )
