"""Whether telling of each request costs little enough. Pure."""

from collections.abc import Iterator, Mapping

from loadtests.bench.peer import ENCODINGS
from loadtests.bench.results.promise import Row, ratio_row
from loadtests.bench.results.result import Cell, compare

ON, OFF, TRACED = "sluice-told", "sluice-quiet", "sluice-traced"
"""Access log, metrics and the usual share of traces; nothing of them; and as the first, with all traces."""
MODEL_NAMES = ("tiny", "mlp")
CLIENTS = (16, 64)
LEAST, AIM = 0.95, 0.98


def judge_telemetry(cells: Mapping[tuple[str, str, int, str], Cell]) -> Iterator[Row]:
    """A row for each cell, for which the promise must hold. That with all traces promises nothing."""
    for model in MODEL_NAMES:
        for encoding in ENCODINGS:
            for clients in CLIENTS:
                on, off = (cells.get((model, encoding, clients, name)) for name in (ON, OFF))
                has_failed = any(cell is not None and cell.errors > 0 for cell in (on, off))
                ratio = compare(on, off) if on and off and not has_failed else None
                name = f"{model}, {encoding}, {clients} clients: access log, metrics and traces on against off"
                yield ratio_row(name, LEAST, AIM, ratio)
