"""Measures gRPC and shared memory against HTTP on one server, or gRPC against another checkout, round by round."""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from loadtests.bench.comparison import FAILURES, Comparison
from loadtests.bench.load.wrk import Sample
from loadtests.bench.models.model import CLASSES, INPUT, MODELS, OUTPUT, BenchModel, Graph
from loadtests.bench.peer import BINARY, Peer, Site
from loadtests.bench.peers.sluice import PEER
from loadtests.bench.results.result import Absence, Cell
from loadtests.bench.results.transport_verdict import (
    CLIENTS,
    GRPC,
    MODEL_NAMES,
    PICTURE,
    PICTURE_FORMS,
    STREAM_CLIENTS,
    STREAMS,
)
from loadtests.bench.transports.analyzer import ANALYZER, REGIONS, Analyzer
from loadtests.server_times import Counts, read_counts, subtract


def _grow_picture(graph: Graph) -> None:
    """The mean of each colour and a small layer: what is measured is the way of the picture."""
    means = graph.add("Flatten", graph.add("GlobalAveragePool", INPUT))
    graph.add_dense(means, 3, CLASSES, output=OUTPUT)


LARGE_PICTURE = BenchModel(PICTURE, (3, 1024, 1024), 2, _grow_picture)
"""A row is 12 MiB."""


def add_settings(peer: Peer, **settings: str) -> Peer:
    """``peer``, a checkout of Sluice, with a port for gRPC, the model's limit of rows, and ``settings``."""

    def environment(site: Site) -> Mapping[str, str]:
        return {
            **peer.environment(site),
            "SLUICE_GRPC_PORT": str(site.spare_ports[0]),
            "SLUICE_MAX_ROWS": str(site.model.max_rows),
            **settings,
        }

    return dataclasses.replace(peer, encodings=(BINARY,), environment=environment)


TRANSPORT_PEER = add_settings(PEER, SLUICE_SHARED_MEMORY=REGIONS)


@dataclasses.dataclass(frozen=True)
class Effort:
    rounds: int = 7
    window_s: float = 1.0


@dataclasses.dataclass(frozen=True)
class TransportRun:
    """What is measured in the same rounds: each form, of each server."""

    model: BenchModel
    clients: int
    forms: tuple[str, ...]
    peers: tuple[Peer, ...] = (TRANSPORT_PEER,)


def plan_runs(before: Peer | None) -> Iterator[TransportRun]:
    """What to measure. With ``before``, another checkout, this is only unary gRPC: it may have nothing else."""
    if before is not None:
        peers = (TRANSPORT_PEER, add_settings(before))
        for name in MODEL_NAMES:
            yield from (TransportRun(MODELS[name], clients, (GRPC,), peers) for clients in CLIENTS)
        return
    yield TransportRun(LARGE_PICTURE, 1, PICTURE_FORMS)
    for name in MODEL_NAMES:
        for clients in CLIENTS:
            forms = (BINARY, GRPC, STREAMS) if clients == STREAM_CLIENTS else (BINARY, GRPC)
            yield TransportRun(MODELS[name], clients, forms)


def measure_transports(comparison: Comparison, before: Peer | None, is_quick: bool) -> list[Cell]:
    """All cells. If the analyzer or a server fails, the reason is among the absences."""
    effort = Effort(rounds=1, window_s=0.5) if is_quick else Effort()
    cells: list[Cell] = []
    for run in plan_runs(before):
        try:
            cells += _measure_run(comparison, run, effort)
        except FAILURES as failure:
            comparison.say(f"{run.model.name}: the transports are missing: {failure}")
            comparison.absences.append(Absence(TRANSPORT_PEER.name, run.model.name, str(failure)))
    return cells


def _measure_run(comparison: Comparison, run: TransportRun, effort: Effort) -> list[Cell]:
    model, clients = run.model, run.clients
    analyzer = Analyzer(comparison.find_python(ANALYZER), comparison.folder)
    with ExitStack() as stack:
        sites = {peer.name: comparison.enter(stack, model, peer, peer.encodings).site for peer in run.peers}
        comparison.say(f"{model.name}, {clients} clients: {', '.join(run.forms)}; {', '.join(sites)}")
        ways = [(form, name) for form in run.forms for name in sites]
        samples: dict[tuple[str, str], list[Sample]] = {way: [] for way in ways}
        rows_per_run: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for number in range(-1, effort.rounds):
            for form, name in ways if number % 2 == 0 else reversed(ways):
                site = sites[name]
                port = site.spare_ports[0] if form.startswith(GRPC) else site.port
                early = read_counts(site.address, model.name)
                sample = analyzer.run(model, form, clients, f"127.0.0.1:{port}", effort.window_s)
                if number >= 0:  # before that it warms up
                    samples[form, name].append(sample)
                    rows_per_run[form, name] += _rows_per_run(early, read_counts(site.address, model.name))
        return [
            Cell(model.name, form, clients, name, tuple(samples[form, name]), _median(rows_per_run[form, name]))
            for form, name in ways
        ]


def _rows_per_run(early: Counts | None, late: Counts | None) -> list[float]:
    times = subtract(late, early)
    return [times.rows_per_run] if times and math.isfinite(times.rows_per_run) else []


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
