"""Measures how tensors reach the same server, in interleaved rounds: gRPC and shared memory against a body of HTTP."""

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack

from loadtests.bench.comparison import FAILURES, Comparison
from loadtests.bench.load.wrk import Sample
from loadtests.bench.models.model import CLASSES, INPUT, MODELS, OUTPUT, BenchModel, Graph
from loadtests.bench.peer import BINARY, Site
from loadtests.bench.peers.sluice import PEER
from loadtests.bench.results.result import Absence, Cell
from loadtests.bench.results.transport_verdict import CLIENTS, GRPC, MODEL_NAMES, PICTURE, PICTURE_FORMS
from loadtests.bench.transports.analyzer import ANALYZER, REGIONS, Analyzer


def _grow_picture(graph: Graph) -> None:
    """The mean of each colour and a small layer: what is measured is the way of the picture."""
    means = graph.add("Flatten", graph.add("GlobalAveragePool", INPUT))
    graph.add_dense(means, 3, CLASSES, output=OUTPUT)


LARGE_PICTURE = BenchModel(PICTURE, (3, 1024, 1024), 2, _grow_picture)
"""A row is 12 MiB."""


def _environment(site: Site) -> Mapping[str, str]:
    return {
        **PEER.environment(site),
        "SLUICE_GRPC_PORT": str(site.spare_ports[0]),
        "SLUICE_SHARED_MEMORY": REGIONS,
        "SLUICE_MAX_ROWS": str(site.model.max_rows),
    }


TRANSPORT_PEER = dataclasses.replace(PEER, encodings=(BINARY,), environment=_environment)


@dataclasses.dataclass(frozen=True)
class Effort:
    rounds: int = 7
    window_s: float = 1.0


def measure_transports(comparison: Comparison, is_quick: bool) -> list[Cell]:
    """All cells. Where the analyzer or the server fails, the reason is among the absences."""
    effort = Effort(rounds=1, window_s=0.5) if is_quick else Effort()
    plan: list[tuple[BenchModel, tuple[str, ...], tuple[int, ...]]] = [(LARGE_PICTURE, PICTURE_FORMS, (1,))]
    plan += [(MODELS[name], (BINARY, GRPC), CLIENTS) for name in MODEL_NAMES]
    cells: list[Cell] = []
    for model, forms, clients in plan:
        try:
            cells += _measure_model(comparison, model, forms, clients, effort)
        except FAILURES as failure:
            comparison.say(f"{model.name}: the transports are missing: {failure}")
            comparison.absences.append(Absence(TRANSPORT_PEER.name, model.name, str(failure)))
    return cells


def _measure_model(
    comparison: Comparison, model: BenchModel, forms: tuple[str, ...], clients: tuple[int, ...], effort: Effort
) -> list[Cell]:
    cells = []
    analyzer = Analyzer(comparison.find_python(ANALYZER), comparison.folder)
    with ExitStack() as stack:
        site = comparison.enter(stack, model, TRANSPORT_PEER, TRANSPORT_PEER.encodings).site
        for count in clients:
            comparison.say(f"{model.name}, {count} clients: {', '.join(forms)}")
            samples: dict[str, list[Sample]] = {form: [] for form in forms}
            for number in range(-1, effort.rounds):
                for form in forms if number % 2 == 0 else reversed(forms):
                    port = site.spare_ports[0] if form.startswith(GRPC) else site.port
                    sample = analyzer.run(model, form, count, f"127.0.0.1:{port}", effort.window_s)
                    if number >= 0:  # before that it warms up
                        samples[form].append(sample)
            cells += [Cell(model.name, form, count, TRANSPORT_PEER.name, tuple(samples[form])) for form in forms]
    return cells
