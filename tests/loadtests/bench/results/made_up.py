"""Results that are made up."""

from loadtests.bench.load.wrk import Sample
from loadtests.bench.machine import Machine
from loadtests.bench.results.result import Cell

MACHINE = Machine("A CPU", 2, "Linux 6", "3.11.7", "abc123", "2026-01-01T00:00:00+00:00")


def make_cell(
    peer: str, *answers: int, model: str = "tiny", encoding: str = "json", clients: int = 64, wrong_status: int = 0
) -> Cell:
    """A round of one second for each number of answers, of which so many are wrong."""
    samples = (Sample(count, 1.0, wrong_status, 0, 0, 0, 0.001, 0.002) for count in answers)
    return Cell(model, encoding, clients, peer, tuple(samples))
